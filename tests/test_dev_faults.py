"""Faults on demand: what is asked for is what the next requests get, in the shape of the server's own errors."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from conftest import Api
from images import make_image
from running import Running, servers, until
from shared import serve

from imgpro_lite.dev.fault_answers import CODES
from imgpro_lite.dev.fault_table import MAX_FAULTS, FaultTable
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import ImgProError

DELAYED_MS = 60_000  # longer than any test waits


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    limits = {"anonymous_uploads_per_hour": 20, "anonymous_uploads_per_day": 100}
    with serve(tmp_path_factory.mktemp("dev"), limits=limits, dev=DevMode()) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    assert server.client.delete("/_dev/faults").status_code == 204
    return server


@pytest.fixture(scope="module")
def key(server: Api) -> dict[str, str]:
    return server.new_key("owner@example.com")


def fail(dev: Api, path: str = "/v1/upload", **fields: Any) -> Any:
    answer = dev.client.post("/_dev/faults", json={"path": path, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def used(dev: Api) -> list[int]:
    return [fault["used"] for fault in dev.client.get("/_dev/faults").json()["faults"]]


def send(dev: Api, method: str, path: str, headers: dict[str, str] | None = None) -> Any:
    return dev.client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("pattern", "path", "is_meant"),
    [
        ("/v1/media/*", "/v1/media/abc", True),
        ("/v1/media/*", "/v1/media", False),
        ("/*", "/healthz", True),
        ("/*a*b", "/xaxbxb", True),
        ("/*a*b", "/xaxbxc", False),
        ("/ab*ba", "/aba", False),
        ("/v1", "/v1/", False),
        ("/" + "*a" * 12 + "*b", "/" + "a" * 300, False),  # a regular expression would not come to an end
    ],
)
def test_paths(dev: Api, pattern: str, path: str, is_meant: bool) -> None:
    fail(dev, pattern, method="GET", status=502)
    send(dev, "GET", path)
    assert used(dev) == [int(is_meant)]


def test_it_is_told_as_it_was_made(dev: Api) -> None:
    made = fail(dev, method="post", status=429, times=2, retry_after_seconds=7)
    assert made == {
        "id": made["id"],
        "method": "POST",
        "path": "/v1/upload",
        "status": 429,
        "code": "rate_limited",
        "times": 2,
        "delay_ms": 0,
        "drop": False,
        "retry_after_seconds": 7,
        "used": 0,
    }
    assert dev.client.get("/_dev/faults").json() == {"faults": [made]}


def test_so_often_and_no_more(dev: Api, key: dict[str, str]) -> None:
    fail(dev, "/v1/usage", status=500, times=2)
    statuses = [send(dev, "GET", "/v1/usage", key).status_code for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert used(dev) == [2]


def test_until_it_is_removed(dev: Api, key: dict[str, str]) -> None:
    made = fail(dev, "/v1/usage", status=503, times=None)
    assert [send(dev, "GET", "/v1/usage", key).status_code for _ in range(3)] == [503] * 3
    address = f"/_dev/faults/{made['id']}"
    assert dev.client.delete(address).status_code == 204
    assert dev.client.delete(address).status_code == 404
    assert send(dev, "GET", "/v1/usage", key).status_code == 200


def test_the_first_made_comes_first(dev: Api, key: dict[str, str]) -> None:
    fail(dev, "/v1/usage", status=429, times=2)
    fail(dev, "/v1/*", status=503)
    statuses = [send(dev, "GET", "/v1/usage", key).status_code for _ in range(4)]
    assert statuses == [429, 429, 503, 200]


@pytest.mark.parametrize(
    ("method", "path", "request_line", "meant"),
    [
        ("*", "/v1/usage", "GET /v1/usage", True),
        ("*", "/v1/usage", "GET /v1/usage?a=/v1/usage", True),
        ("*", "/v1/usage", "GET /v1/usage/", False),
        ("*", "/v1/usag.", "GET /v1/usage", False),
        ("*", "/v1/media/*", "GET /v1/media/abcdefgh123456", True),
        ("*", "/v1/media/*", "GET /v1/media", False),
        ("*", "/*", "GET /healthz", True),
        ("*", "/*", "GET /_dev/clock", False),
        ("*", "/*", "OPTIONS /v1/upload", False),
        ("OPTIONS", "/*", "OPTIONS /v1/upload", True),
        ("GET", "/*", "HEAD /healthz", False),
        (["GET", "HEAD"], "/*", "HEAD /healthz", True),
        ("POST", "/v1/usage", "GET /v1/usage", False),
        ("*", "/*.webp", "GET /abcd1/abcdefgh123456.webp?size=s", True),
        ("*", "/*.webp", "GET /abcd1/abcdefgh123456.png", False),
    ],
)
def test_what_it_is_meant_for(dev: Api, method: Any, path: str, request_line: str, meant: bool) -> None:
    fail(dev, path, method=method, status=502)
    answer = send(dev, *request_line.split())
    assert (answer.status_code == 502) == meant
    assert used(dev) == [int(meant)]


@pytest.mark.parametrize(("code", "status"), [(code, status) for code in CODES for status in CODES[code]])
def test_every_code(dev: Api, key: dict[str, str], code: str, status: int) -> None:
    fail(dev, code=code, status=status)
    answer = dev.upload(make_image("jpeg", 8, 8), key)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["message"]
    assert answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    assert ("x-storage-limit" in answer.headers) == (code != "unauthorized")


def codes_of(error: type[ImgProError]) -> set[str]:
    return {error.code}.union(*map(codes_of, error.__subclasses__()))


def test_no_code_is_forgotten() -> None:
    """Those left out are had for real by any client at once."""
    known = set().union(*map(codes_of, ImgProError.__subclasses__()))
    easy = {"method_not_allowed", "duplicate", "uri_too_long", "range_not_satisfiable", "header_too_large"}
    assert known - set(CODES) == easy
    assert set(CODES) <= known


@pytest.mark.parametrize("status", sorted({status for statuses in CODES.values() for status in statuses}))
def test_a_status_is_enough(dev: Api, key: dict[str, str], status: int) -> None:
    made = fail(dev, "/v1/usage", status=status)
    answer = send(dev, "GET", "/v1/usage", key)
    assert (answer.status_code, answer.json()["error"]) == (status, made["code"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"path"}),
        ({"path": "/v1/upload"}, {"body"}),
        ({"path": "/v1/upload", "times": 2}, {"body"}),
        ({"path": "v1/upload", "status": 429}, {"path"}),
        ({"path": "/v1/upload?a", "status": 429}, {"path"}),
        ({"path": "/_dev/clock", "status": 429}, {"path"}),
        ({"path": "/" + 2000 * "a", "status": 429}, {"path"}),
        ({"path": None, "status": True, "code": 1, "method": []}, {"path", "status", "code", "method"}),
        ({"path": "/", "status": 200, "code": "teapot", "method": "BREW"}, {"status", "code", "method"}),
        ({"path": "/", "status": "429", "delay_ms": -1, "times": 0}, {"status", "delay_ms", "times"}),
        ({"path": "/", "delay_ms": 60_001, "times": "2", "drop": "head"}, {"delay_ms", "times", "drop"}),
        ({"path": "/", "status": 400, "code": "rate_limited"}, {"code"}),
        ({"path": "/", "code": "duplicate"}, {"code"}),
        ({"path": "/", "status": 429, "drop": True}, {"drop"}),
        ({"path": "/", "status": 500, "retry_after_seconds": 5}, {"retry_after_seconds"}),
        ({"path": "/", "status": 429, "retry_after_seconds": -1}, {"retry_after_seconds"}),
        ({"path": "/", "method": ["GET", "*"], "status": 429, "repeat": 1}, {"method", "repeat"}),
    ],
)
def test_wrong_faults(dev: Api, body: dict[str, Any], fields: set[str]) -> None:
    answer = dev.client.post("/_dev/faults", json=body)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()["errors"]) == fields
    assert dev.client.get("/_dev/faults").json() == {"faults": []}


def test_used_up_faults_make_room() -> None:
    values = {"methods": ("GET",), "path": "/", "status": 500, "code": "internal_error", "delay_ms": 0, "drop": False}
    table = FaultTable()
    for _ in range(MAX_FAULTS + 1):
        table.add(**values, times=1, retry_after_seconds=None)
        assert table.take("GET", "/") is not None
    assert 0 < len(table.list()) < MAX_FAULTS


def test_rate_limited_without_a_key(dev: Api) -> None:
    fail(dev, status=429)
    answer = dev.upload(make_image("jpeg", 8, 8))
    body = answer.json()
    seconds = body["action"]["seconds"]
    assert body["action"] == {"type": "wait", "seconds": seconds}
    assert answer.headers["retry-after"] == str(seconds)
    assert answer.headers["x-ratelimit-limit"] == "20"
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert int(answer.headers["x-ratelimit-reset"]) == dev.clock.now() + seconds
    assert int(answer.headers["x-ratelimit-reset"]) % 3600 == 0
    assert int(answer.headers["x-ratelimit-remaining-daily"]) > 0


def test_faults_count_for_no_limit(dev: Api) -> None:
    fail(dev, status=503, times=30)
    for _ in range(30):
        assert dev.upload(make_image("jpeg", 8, 8)).status_code == 503
    before = dev.upload(make_image("jpeg", 8, 8))
    assert before.status_code == 201
    fail(dev, status=503)
    assert (
        dev.upload(make_image("jpeg", 8, 8)).headers["x-ratelimit-remaining"]
        == (before.headers["x-ratelimit-remaining"])
    )


@pytest.mark.parametrize(("status", "seconds"), [(429, 0), (429, 11), (503, 0), (503, 12)])
@pytest.mark.parametrize("path", ["/v1/upload", "/v1/keys", "/v1/import"])
def test_a_chosen_wait(dev: Api, path: str, status: int, seconds: int) -> None:
    fail(dev, path, status=status, retry_after_seconds=seconds)
    answer = send(dev, "POST", path)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == str(seconds)
    if status == 429:
        assert answer.json()["action"]["seconds"] == seconds


def test_quota_exceeded(dev: Api) -> None:
    headers = dev.new_key("full@example.com")
    fail(dev, status=413)
    answer = dev.upload(make_image("jpeg", 8, 8), headers)
    body = answer.json()
    assert (answer.status_code, body["error"]) == (413, "quota_exceeded")
    assert body["usage"]["uploads_used"] == body["usage"]["uploads_limit"] == 100
    assert answer.headers["x-monthly-uploads-remaining"] == "0"
    assert body["action"]["type"] == "upgrade"
    link = body["action"]["url"].removeprefix("http://localhost:4647")
    assert dev.client.get(link).status_code == 200
    assert dev.upload(make_image("jpeg", 8, 8), headers).status_code == 201


def test_quota_exceeded_without_a_key(dev: Api) -> None:
    fail(dev, status=413)
    body = dev.upload(make_image("jpeg", 8, 8)).json()
    assert (body["error"], body["usage"]["plan"]) == ("quota_exceeded", "anonymous")


def test_key_limit_reached(dev: Api) -> None:
    headers = dev.new_key("limit@example.com")
    fail(dev, "/v1/keys", code="key_limit_reached")
    answer = dev.client.post("/v1/keys", json={"email": "Limit@example.com"})
    action = answer.json()["action"]
    assert (answer.status_code, action["type"]) == (403, "verify")
    assert dev.client.get(action["url"].removeprefix("http://localhost:4647")).status_code == 200
    assert dev.client.get("/v1/usage", headers=headers).json()["verified"]


def test_key_limit_reached_for_nobody(dev: Api) -> None:
    fail(dev, "/v1/keys", code="key_limit_reached", times=2)
    for content in (b'{"email": 1}', b"\xff"):
        action = dev.client.post("/v1/keys", content=content).json()["action"]
        assert dev.client.get(action["url"].removeprefix("http://localhost:4647")).status_code == 200


def test_faults_come_before_keys(dev: Api) -> None:
    wrong = {"Authorization": "Bearer img_live_wrong"}
    fail(dev, "/v1/upload", status=503)
    assert dev.upload(make_image("jpeg", 8, 8), wrong).status_code == 503
    assert dev.upload(make_image("jpeg", 8, 8), wrong).status_code == 401


def test_a_failing_import(dev: Api, key: dict[str, str]) -> None:
    fail(dev, "/v1/import", method="POST", code="fetch_failed")
    answer = dev.client.post("/v1/import", json={"url": "https://example.com/a.jpg"}, headers=key)
    assert (answer.status_code, answer.json()["error"]) == (400, "fetch_failed")


def test_pages_and_image_bytes(dev: Api, key: dict[str, str]) -> None:
    uploaded = dev.upload(make_image("jpeg", 8, 8), key).json()
    page, src = uploaded["url"], uploaded["src"]
    fail(dev, "/*", status=503, times=2)
    assert dev.fetch(page).headers["content-type"].startswith("text/html")
    answer = dev.fetch(src)
    assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
    assert dev.fetch(src).content == make_image("jpeg", 8, 8)


def test_a_delay_goes_on(dev: Api, key: dict[str, str]) -> None:
    fail(dev, delay_ms=1)
    fail(dev, delay_ms=1, status=500)
    content = make_image("jpeg", 10, 10)
    uploaded = dev.upload(content, key)
    assert uploaded.status_code == 201
    assert dev.fetch(uploaded.json()["src"]).content == content
    assert dev.upload(content, key).status_code == 500
    assert used(dev) == [1, 1]


@pytest.mark.parametrize("size_bytes", [10, 3 * 1024 * 1024])
def test_bodies_of_refused_requests_are_taken(dev: Api, size_bytes: int) -> None:
    fail(dev, status=429)
    assert dev.upload(b"a" * size_bytes).status_code == 429


# ── real connections ──


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("real")) as start:
        server = start(args=("--dev",))
        yield server
        assert server.end() == 0
        assert "Traceback" not in server.stderr
        assert "ASGI" not in server.stderr  # uvicorn takes a missing answer for a fault of the application


def ask(real: Running, **fields: Any) -> None:
    answer = httpx2.post(f"{real.url}/_dev/faults", json=fields, trust_env=False)
    assert answer.status_code == 201, answer.text


def test_a_dropped_connection(real: Running) -> None:
    ask(real, path="/healthz", drop=True)
    with pytest.raises(httpx2.TransportError):
        real.get("/healthz")
    assert real.get("/healthz").status_code == 200


def test_nothing_of_a_dropped_upload_is_done(real: Running) -> None:
    ask(real, path="/v1/upload", drop=True)
    with pytest.raises(httpx2.TransportError):
        real.upload(make_image("jpeg", 300, 300))
    answer = real.upload(make_image("jpeg", 300, 300))
    assert answer.headers["x-ratelimit-remaining"] == "19"


def test_an_answer_that_breaks_off(real: Running) -> None:
    uploaded = real.upload(make_image("jpeg", 300, 300)).json()
    ask(real, path="/*.jpeg", drop="body")
    with pytest.raises(httpx2.RemoteProtocolError):
        real.get(uploaded["src"])
    assert real.get(uploaded["src"]).content == make_image("jpeg", 300, 300)


def test_the_work_of_an_answer_that_breaks_off_is_done(real: Running) -> None:
    keys = httpx2.post(f"{real.url}/v1/keys", json={"email": "dev@example.com"}, trust_env=False).json()
    headers = {"Authorization": f"Bearer {keys['key']}"}
    ask(real, path="/v1/upload", drop="body")
    with pytest.raises(httpx2.RemoteProtocolError):
        real.upload(make_image("jpeg", 8, 8), headers=headers)
    assert real.get("/v1/usage", headers=headers).json()["uploads_used"] == 1


def test_errors_break_off_too(real: Running) -> None:
    ask(real, path="/v1/usage", status=500, drop="body")
    connection = real.connect()
    connection.send(b"GET /v1/usage HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status, headers = connection.read_head()
    assert status == 500
    assert 0 < len(connection.read_to_end()) < int(headers["content-length"])


def test_a_client_that_does_not_wait(real: Running) -> None:
    ask(real, path="/v1/upload", delay_ms=DELAYED_MS)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{real.url}/v1/upload", files={"file": b"a"}, timeout=0.2, trust_env=False)
    until(lambda: " 499 " in real.stderr)  # and not after a minute
