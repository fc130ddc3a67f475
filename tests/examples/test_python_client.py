"""How a suite in Python tests a client of the img.pro API: the fixture `imgpro` is a server of its own."""

import base64
from collections.abc import Iterator

import httpx2
import pytest

from imgpro_lite.testing.server_process import ServerProcess
from imgpro_lite.testing.stand_in import StandIn

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def upload(imgpro: StandIn, key: str) -> httpx2.Response:
    """What is tested. Your suite has its own client, told `imgpro.base_url` in the place of https://api.img.pro."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{imgpro.base_url}/v1/upload", headers=headers, files={"file": ("pixel.gif", PIXEL)})


def test_quota_exceeded(imgpro: StandIn) -> None:
    imgpro.change_team("dev@example.com", uploads_used=100)
    answer = upload(imgpro, imgpro.key)
    assert answer.status_code == 413
    assert answer.json()["action"]["type"] == "upgrade"
    imgpro.change_team("dev@example.com", plan="pro")
    assert upload(imgpro, imgpro.key).status_code == 201


def test_an_unverified_upload_expires(imgpro: StandIn) -> None:
    image = upload(imgpro, imgpro.new_key("new@example.com")["key"]).json()
    imgpro.advance(days=31)
    assert httpx2.get(image["src"]).status_code == 404


def test_verification_by_mail(imgpro: StandIn) -> None:
    new = httpx2.post(f"{imgpro.base_url}/v1/keys", json={"email": "new@example.com"}).json()
    mail = imgpro.outbox.wait_for(to="new@example.com")
    httpx2.get(mail.links[0])
    usage = httpx2.get(f"{imgpro.base_url}/v1/usage", headers={"Authorization": f"Bearer {new['key']}"})
    assert usage.json()["verified"]


def test_a_rate_limit(imgpro: StandIn) -> None:
    imgpro.fail_next("/v1/upload", status=429, retry_after_seconds=30)
    refused = upload(imgpro, imgpro.key)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "30"
    assert upload(imgpro, imgpro.key).status_code == 201


@pytest.fixture(scope="session")
def client(imgpro_server: ServerProcess) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {imgpro_server.key}"}
    with httpx2.Client(base_url=imgpro_server.base_url, headers=headers) as client:
        yield client


def test_a_client_that_is_configured_once(client: httpx2.Client, imgpro: StandIn) -> None:
    imgpro.change_team("dev@example.com", plan="pro")
    assert client.get("/v1/usage").json()["plan"] == "pro"
