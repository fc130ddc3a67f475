"""Errors: one shape and fixed codes everywhere, the framework's own included, and nothing of the inside in them."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from shared import serve
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from imgpro_lite import errors
from imgpro_lite.app import create_app
from imgpro_lite.settings import Settings

# The contract's codes with their statuses, and those that decision 47 adds.
CODES = {
    "validation_error": 422,
    "key_limit_reached": 403,
    "rate_limited": 429,
    "registration_closed": 403,
    "missing_file": 400,
    "file_too_large": 400,
    "unsupported_format": 400,
    "duplicate": 409,
    "quota_exceeded": 413,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "uri_too_long": 414,
    "header_too_large": 431,
    "bad_request": 400,
    "overloaded": 503,
    "storage_full": 503,
    "transform_failed": 422,
    "internal_error": 500,
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "PROPFIND"]
MEDIA_ID = "abcdefghijkl12"

HOSTILE_PATHS = [
    "//",
    "///",
    "/v1",
    "/v1/",
    "/v1/nothing",
    "/v1/upload/",
    "//v1/upload",
    "/v1//upload",
    "/V1/upload",
    "/v1/upload%00",
    "/v1/upload%0a",
    "/v1/upload%0d%0aX-Injected:%201",
    "/v1/upload;x=1",
    "/v1/media/",
    f"/v1/media/{MEDIA_ID}%0a",
    f"/v1/media/{MEDIA_ID}%00",
    f"/v1/media/{MEDIA_ID}/",
    "/healthz/",
    "/healthz%0a",
    "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/..%2f..%2fimgpro.db",
    "/../imgpro.db",
    "/v1/../../imgpro.db",
    f"/ab1cd/{MEDIA_ID}.jpeg%0a",
    f"/ab1cd/{MEDIA_ID}.jpeg%00",
    f"/ab1cd/%2e%2e%2f{MEDIA_ID}.jpeg",
    "/ab1cd/..%2f..%2f..%2fimgpro.db",
    "/imgpro.db",
    "/secret",
    "/%F0%9F%8E%89",
    "/%ff%fe",
    "/%E2%80%AE",
    "/<script>alert(1)</script>",
    "/" + "a" * 5000,
]


def assert_refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    """An error as the contract shapes it; its body."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert body["error"] == code
    assert body["message"]
    assert set(body) <= {"error", "message", "action", "errors", "usage", "media"}
    return body


def every_error(base: type[errors.ImgProError] = errors.ImgProError) -> Iterator[type[errors.ImgProError]]:
    for error in base.__subclasses__():
        yield error
        yield from every_error(error)


def test_every_error_has_the_code_and_status_of_the_contract() -> None:
    classes = list(every_error())
    by_code = {error.code: error.status for error in classes}
    assert len(by_code) == len(classes)  # no two share a code
    assert {code: status for code, status in CODES.items() if by_code.get(code) != status} == {}
    assert set(by_code) - set(CODES) <= {"missing_url", "fetch_failed", "range_not_satisfiable"}


def test_the_tree_in_the_docstring_is_complete() -> None:
    for error in every_error():
        assert error.__name__ in str(errors.__doc__)
        assert error.code in str(errors.__doc__)


def test_fixed_fields_of_a_body_cannot_be_replaced() -> None:
    error = errors.NotFound()
    error.extra = {"error": "forged", "message": "forged", "usage": {"plan": "free"}}
    assert error.body() == {"error": "not_found", "message": "Not found", "usage": {"plan": "free"}}


def test_an_action_shows_what_is_set() -> None:
    wait = errors.RateLimited("Too many.", 90)
    assert wait.body()["action"] == {"type": "wait", "seconds": 90}
    assert wait.headers["Retry-After"] == "90"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One server for the tests that only knock on its doors."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api.client


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_paths_that_lead_nowhere(shared: TestClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        body = assert_refusal(shared.request(method, "http://localhost:4647" + path), 404, "not_found")
        assert "alert(1)" not in str(body)


@pytest.mark.parametrize("method", METHODS)
def test_no_method_is_answered_where_there_is_nothing(shared: TestClient, method: str) -> None:
    for path in ("/v1/nothing", "/nothing", "/ab1cd/nothing.jpeg"):
        answer = shared.request(method, path)
        assert answer.status_code == 404
        assert method == "HEAD" or assert_refusal(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", {"GET", "HEAD"}),
        ("/v1/keys", {"POST"}),
        ("/v1/upload", {"POST"}),
        ("/v1/media", {"GET", "HEAD"}),
        ("/v1/media/batch", {"PATCH", "DELETE"}),
        (f"/v1/media/{MEDIA_ID}", {"GET", "HEAD", "PATCH", "DELETE"}),
        (f"/ab1cd/{MEDIA_ID}.jpeg", {"GET", "HEAD"}),
    ],
)
def test_methods_that_are_not_possible(shared: TestClient, path: str, allowed: set[str]) -> None:
    for method in sorted(set(METHODS) - allowed):
        answer = shared.request(method, path)
        if method == "OPTIONS" and answer.status_code < 300:
            continue  # a preflight's business
        assert answer.status_code == 405, method
        named = set(answer.headers["allow"].split(", "))
        assert named >= allowed, method
        assert method not in named
        if method != "HEAD":
            assert_refusal(answer, 405, "method_not_allowed")


def test_every_answer_has_an_id_of_its_own(shared: TestClient) -> None:
    answers = [shared.get(path) for path in ("/healthz", "/nothing", "/v1/media/x", "/healthz", "/v1/keys")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    forged = shared.get("/nothing", headers={"X-Request-Id": "mine"})
    assert forged.headers["x-request-id"] != "mine"


async def broken(request: Request) -> None:
    raise RuntimeError(f"the inside: {request.url.path} /work/secret SELECT * FROM api_keys")


@contextlib.contextmanager
def server_with_a_bug(data_dir: Path) -> Iterator[TestClient]:
    app = create_app(Settings.model_validate({"data_dir": data_dir, "imaging": {"workers": 1}}), FakeClock())
    app.router.routes.append(Route("/v1/broken", broken, methods=["GET", "POST"]))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_bug_is_told_to_the_operator_and_not_to_the_client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "imgpro_lite")
    with server_with_a_bug(tmp_path) as client:
        for answer in (client.get("/v1/broken"), client.post("/v1/broken", content=b"x" * 1000)):
            body = assert_refusal(answer, 500, "internal_error")
            assert set(body) == {"error", "message"}
            for secret in ("inside", "RuntimeError", "SELECT", "/work", "Traceback", "broken"):
                assert secret not in answer.text
            request_id = answer.headers["x-request-id"]
            records = [record for record in caplog.records if getattr(record, "request_id", None) == request_id]
            (failure,) = (record for record in records if record.exc_info)
            assert failure.levelno >= logging.ERROR
            assert "the inside" in str(failure.exc_info[1])
            (line,) = (record for record in records if record.name == "imgpro_lite.access")
            assert line.status == 500
        assert client.get("/healthz").status_code == 200


def test_a_bug_in_the_outermost_layer_is_told_the_same_way(tmp_path: Path) -> None:
    with server_with_a_bug(tmp_path) as client:
        client.app.state.runtime = None  # type: ignore[attr-defined]
        answer = client.get(f"/ab1cd/{MEDIA_ID}.jpeg")
    assert_refusal(answer, 500, "internal_error")
    assert "NoneType" not in answer.text


def test_no_header_of_a_request_changes_an_address(api: Api) -> None:
    forged = {
        "Host": "evil.com",
        "X-Forwarded-Host": "evil.com",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "host=evil.com;proto=gopher",
        "X-Original-URL": "https://evil.com/",
        "X-Forwarded-Prefix": "/evil.com",
        "Origin": "https://evil.com",
        "Referer": "https://evil.com/",
    }
    key = api.new_key()
    uploaded = api.upload(make_image("png", 4, 3), key | forged, external_id="e")
    shown = uploaded.json()
    assert shown["src"].startswith("http://localhost:4647/")
    answers = [
        uploaded,
        api.upload(make_image("png", 4, 3), forged),
        api.upload(make_image("png", 4, 3), key | forged, external_id="e"),
        api.upload(b"", forged),
        api.fetch(shown["src"], headers=forged),
        *(
            api.client.request(method, path, headers=forged)
            for method, path in [
                ("GET", f"/v1/media/{shown['id']}"),
                ("GET", f"/v1/media/{shown['id']}/"),
                ("POST", "/v1/keys"),
                ("GET", "/v1/keys"),
                ("GET", "//evil.com/v1"),
                ("GET", "/nothing"),
            ]
        ),
    ]
    assert [answer.status_code for answer in answers[:5]] == [201, 201, 409, 400, 200]
    for answer in answers:
        told = answer.text if "image" not in answer.headers["content-type"] else ""
        assert "evil.com" not in told + json.dumps(dict(answer.headers))
        assert "location" not in answer.headers


SPLIT = {
    "public_url": "https://img.example/pages",
    "api_url": "https://api.img.example/base",
    "src_url": "https://src.img.example:8443",
}


def test_each_host_serves_its_own_part(start: ApiFactory) -> None:
    api = start(server=SPLIT)
    uploaded = api.client.post(
        "https://api.img.example/base/v1/upload", files={"file": ("a.png", make_image("png", 4, 3))}
    )
    assert uploaded.status_code == 201, uploaded.text
    shown = uploaded.json()
    assert shown["url"] == f"https://img.example/pages/{shown['id']}"
    assert shown["src"].startswith("https://src.img.example:8443/")
    assert shown["upgrade"]["url"].startswith("https://img.example/pages/")
    image, media = shown["src"].removeprefix("https://src.img.example:8443"), f"/v1/media/{shown['id']}"
    api_host, src_host, pages_host = "https://api.img.example", "https://src.img.example:8443", "https://img.example"
    expected = {
        shown["src"]: 200,
        f"{api_host}/base{media}": 200,
        f"{pages_host}/pages{media}": 200,  # for the dashboard (decision 2)
        f"{api_host}/base{image}": 404,
        f"{api_host}{image}": 404,
        f"{pages_host}/pages{image}": 404,
        f"{src_host}{media}": 404,
        f"{src_host.upper().replace('HTTPS', 'https')}{media}": 404,
        **{f"{host}/healthz": 200 for host in (api_host, src_host, pages_host, "https://10.0.0.1")},
    }
    assert {address: api.client.get(address).status_code for address in expected} == expected


def test_no_port_and_no_spelling_makes_another_host(start: ApiFactory) -> None:
    api = start(server=SPLIT)
    shown = api.upload(make_image("png", 4, 3)).json()
    image, media = shown["src"].removeprefix(SPLIT["src_url"]), f"/v1/media/{shown['id']}"
    page = f"/pages/{shown['id']}"
    served = {"src.img.example": {image}, "api.img.example": {media}, "img.example": {page, media}}
    for host, paths in served.items():
        for spelling in ("{}", "{}:443", "{}:8443", "{}:999", "{}:", "{}.", "{}.:80", "{}..:8443"):
            for name in (spelling.format(host), spelling.format(host).upper()):
                answers = {
                    path for path in (image, media, page) if api.client.get(path, headers={"Host": name}).is_success
                }
                assert answers == paths, name
    for host in ("127.0.0.1:4647", "localhost", "[::1]:4647", "[::1]", "imgpro-lite:4647"):  # for health checks
        assert all(api.client.get(path, headers={"Host": host}).is_success for path in (image, media, page)), host


def test_ports_of_one_host_are_told_apart(start: ApiFactory) -> None:
    api = start(server={"public_url": "http://img.example:8000", "src_url": "http://img.example"})
    shown = api.upload(make_image("png", 4, 3)).json()
    paths = (shown["src"].removeprefix("http://img.example"), f"/{shown['id']}")
    for host, served in {"img.example": [0], "img.example.:80": [0], "img.example:8000": [1]}.items():
        answers = [api.client.get(path, headers={"Host": host}).status_code for path in paths]
        assert answers == [200 if number in served else 404 for number in (0, 1)], host


def test_one_host_with_different_prefixes(start: ApiFactory) -> None:
    base = "https://example.com"
    api = start(server={"public_url": f"{base}/img", "api_url": f"{base}/img/api", "src_url": f"{base}/cdn"})
    uploaded = api.client.post(f"{base}/img/api/v1/upload", files={"file": ("a.png", make_image("png", 4, 3))})
    assert uploaded.status_code == 201, uploaded.text
    shown = uploaded.json()
    assert shown["src"].startswith(f"{base}/cdn/")
    assert api.client.get(shown["src"]).content == make_image("png", 4, 3)
    assert api.client.get(f"{base}/img/api/v1/media/{shown['id']}").json()["id"] == shown["id"]
    for nothing in ("/cdn/", "/imgx/v1/media/" + shown["id"], "/cdn", "/cdn/v1/media/" + shown["id"], "/img/apix/"):
        assert_refusal(api.client.get(base + nothing), 404, "not_found")
    # The prefix of the API is also where the documentation is, below that of the pages.
    assert api.client.get(f"{base}/img/api").headers["content-type"].startswith("text/html")
