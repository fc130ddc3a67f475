"""The clock of dev mode: what is read, set and advanced, and that everything follows."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from images import make_image
from mailing import read_outbox, tokens
from shared import serve

from imgpro_lite.dev.clock import LATEST_UNIX_SECONDS
from imgpro_lite.dev.mode import DevMode

DAY_SECONDS = 86_400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("dev"), dev=DevMode()) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    server.client.put("/_dev/clock", json={"now": server.clock.now()})
    return server


def advance(dev: Api, **step: int) -> Any:
    answer = dev.client.post("/_dev/clock/advance", json=step)
    assert answer.status_code == 200, answer.text
    return answer.json()


def token_for(dev: Api, email: str) -> str:
    """That of the link which was mailed to an address."""
    (message,) = [message for message in read_outbox(dev) if message["To"] == email]
    (token,) = tokens(message)
    return token


def test_read(dev: Api) -> None:
    shown = dev.client.get("/_dev/clock").json()
    assert shown == {"now": 1_700_000_000, "iso": "2023-11-14T22:13:20Z", "offset_seconds": 0}


def test_steps_add_up(dev: Api) -> None:
    shown = advance(dev, days=31, hours=1, minutes=2, seconds=3)
    assert shown["offset_seconds"] == 31 * DAY_SECONDS + 3600 + 120 + 3
    assert shown["now"] == dev.clock.now() + shown["offset_seconds"]


def test_it_goes_on_from_where_it_is_set(dev: Api) -> None:
    shown = dev.client.put("/_dev/clock", json={"now": "2030-01-01"}).json()
    assert shown["iso"] == "2030-01-01T00:00:00Z"
    dev.clock.advance(seconds=5)
    assert dev.client.get("/_dev/clock").json()["iso"] == "2030-01-01T00:00:05Z"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", {}),
        ("PUT", "", {"now": None}),
        ("PUT", "", {"now": "tomorrow"}),
        ("PUT", "", {"now": -1}),
        ("PUT", "", {"now": "9000-01-02"}),
        ("PUT", "", {"now": 0, "frozen": True}),
        ("POST", "/advance", {"days": -1}),
        ("POST", "/advance", {"days": "1"}),
        ("POST", "/advance", {"days": 1.5}),
        ("POST", "/advance", {"weeks": 1}),
        ("POST", "/advance", {"days": 10**9}),
        ("POST", "/advance", {"days": 10**30}),
    ],
)
def test_wrong_moves(dev: Api, method: str, path: str, body: dict[str, Any]) -> None:
    answer = dev.client.request(method, f"/_dev/clock{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 0


def test_the_latest_date_works(dev: Api) -> None:
    assert dev.client.put("/_dev/clock", json={"now": LATEST_UNIX_SECONDS}).json()["iso"] == "9000-01-01T00:00:00Z"
    dev.new_key()
    assert dev.upload(make_image("jpeg", 8, 8)).status_code == 201


def test_images_end_when_they_are_due(dev: Api) -> None:
    key = dev.new_key()
    kept = dev.upload(make_image("jpeg", 8, 8), key).json()
    short = dev.upload(make_image("jpeg", 9, 9), key, ttl="1h").json()
    dev.fetch(short["src"])
    advance(dev, hours=1)
    assert dev.fetch(short["src"]).status_code == 404
    assert dev.fetch(kept["src"]).status_code == 200
    used = dev.client.get("/v1/usage", headers=key).json()["storage_used_bytes"]
    assert used == kept["filesize"]
    advance(dev, days=30)
    assert dev.fetch(kept["src"]).status_code == 404
    assert dev.client.get("/v1/usage", headers=key).json()["storage_used_bytes"] == 0


def test_months_roll_over(dev: Api) -> None:
    key = dev.new_key()
    dev.upload(make_image("jpeg", 8, 8), key)
    assert dev.client.get("/v1/usage", headers=key).json()["uploads_used"] == 1
    advance(dev, days=17)
    assert dev.client.get("/v1/usage", headers=key).json()["uploads_used"] == 0


def test_a_verification_link_acts_when_it_is_fetched(dev: Api) -> None:
    key = dev.new_key("verify@example.com")
    token = token_for(dev, "verify@example.com")
    assert dev.client.get(f"/verify?t={token}").status_code == 200
    assert dev.client.get("/v1/usage", headers=key).json()["verified"]


def test_links_grow_old(dev: Api) -> None:
    key = dev.new_key("late@example.com")
    token = token_for(dev, "late@example.com")
    advance(dev, days=8)
    assert dev.client.get(f"/verify?t={token}").status_code == 410
    assert not dev.client.get("/v1/usage", headers=key).json()["verified"]
