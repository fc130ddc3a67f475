"""Pages of any origin may use the API (decision 49), and HEAD and OPTIONS work where they belong."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api, ApiFactory
from library import Headers, add, owner
from shared import serve
from wire import check_refusal

ORIGIN = {"Origin": "https://app.example.com"}
EXPOSED = {
    *("x-monthly-uploads-used", "x-monthly-uploads-limit", "x-monthly-uploads-remaining"),
    *("x-storage-used", "x-storage-limit", "x-storage-remaining"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    *("x-ratelimit-limit-daily", "x-ratelimit-remaining-daily", "retry-after", "x-request-id"),
}
METHODS = {
    "/v1/keys": {"POST", "OPTIONS"},
    "/v1/upload": {"POST", "OPTIONS"},
    "/v1/media": {"GET", "HEAD", "OPTIONS"},
    "/v1/media/batch": {"PATCH", "DELETE", "OPTIONS"},
    "/v1/media/abcdefghijkl12": {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"},
    "/v1/usage": {"GET", "HEAD", "OPTIONS"},
    "/v1/namespaces": {"GET", "HEAD", "OPTIONS"},
}
IMAGE_PATH = "/abcd1/abcdefghijkl12.png"
UNKNOWN = ["/v1/nothing", "/v1/", "/v1/media/", "/v1/media/x", "/v1/upload/x", "/v1/usage/", "/v1/Media"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all of this."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


@pytest.fixture(scope="module")
def headers(shared: Api) -> Headers:
    return owner(shared)


def words(header: str) -> set[str]:
    return {word.strip() for word in header.split(",")}


def preflight(api: Api, path: str, method: str = "POST", asked_for: str | None = None) -> Any:
    wanted = {} if asked_for is None else {"Access-Control-Request-Headers": asked_for}
    return api.client.options(path, headers={**ORIGIN, "Access-Control-Request-Method": method, **wanted})


def told_headers(answer: Any) -> set[str]:
    """The headers that tell a program something."""
    told = {name for name in answer.headers if name.startswith("x-") or name == "retry-after"}
    return told - {"x-content-type-options"}  # which is for browsers


def check_readable(answer: Any) -> None:
    """A page of any origin may read the answer, but its browser may not add anything by itself."""
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {word.lower() for word in words(answer.headers["access-control-expose-headers"])} == EXPOSED
    assert "access-control-allow-credentials" not in answer.headers


# ── preflights ──


@pytest.mark.parametrize("path", METHODS)
def test_a_preflight(shared: Api, path: str) -> None:
    for method in METHODS[path]:
        answer = preflight(shared, path, method, "authorization")
        assert (answer.status_code, answer.content) == (204, b"")
        check_readable(answer)
        assert words(answer.headers["access-control-allow-methods"]) >= {"GET", "POST", "PATCH", "DELETE", "OPTIONS"}
        assert int(answer.headers["access-control-max-age"]) > 0
        assert words(answer.headers["allow"]) == METHODS[path]


@pytest.mark.parametrize("key", [None, "Bearer x", "Bearer img_live_" + "a" * 32])
def test_a_preflight_needs_no_key(shared: Api, key: str | None) -> None:
    """A browser sends none with it, and a wrong one changes nothing."""
    sent = {"Access-Control-Request-Method": "PATCH", **ORIGIN, **({"Authorization": key} if key else {})}
    assert shared.client.options("/v1/media/batch", headers=sent).status_code == 204


@pytest.mark.parametrize(
    "asked_for",
    ["authorization", "Authorization, Content-Type", "x-requested-with,content-type , X-Custom-1", "traceparent"],
)
def test_headers_that_are_asked_for_are_allowed(shared: Api, asked_for: str) -> None:
    answer = preflight(shared, "/v1/upload", asked_for=asked_for)
    assert words(answer.headers["access-control-allow-headers"]) >= words(asked_for)
    assert "access-control-request-headers" in answer.headers["vary"].lower()


@pytest.mark.parametrize("asked_for", [None, "", "*", "<script>", "a b", "a;b", "x" * 10 + '"', "a,,b", ",", "a: b"])
def test_what_is_no_header_name_is_not_echoed(shared: Api, asked_for: str | None) -> None:
    answer = preflight(shared, "/v1/upload", asked_for=asked_for)
    assert answer.status_code == 204
    assert words(answer.headers["access-control-allow-headers"]) == {"Authorization", "Content-Type"}


def test_a_preflight_counts_nothing(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 1})
    for _ in range(5):
        assert preflight(api, "/v1/upload").status_code == 204
    add(api, {})
    assert preflight(api, "/v1/upload").status_code == 204


@pytest.mark.parametrize("path", METHODS)
def test_options_without_a_preflight(shared: Api, path: str) -> None:
    answer = shared.client.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert words(answer.headers["allow"]) == METHODS[path]
    assert "access-control-allow-methods" not in answer.headers
    check_readable(answer)


@pytest.mark.parametrize("path", UNKNOWN)
def test_options_where_nothing_is(shared: Api, path: str) -> None:
    for answer in (shared.client.options(path), preflight(shared, path)):
        check_refusal(answer, 404, "not_found")
        check_readable(answer)


def test_no_image_is_there_to_preflight(shared: Api) -> None:
    """The bytes are for GET and HEAD, and need no header that a browser would ask about."""
    for answer in (shared.client.options(IMAGE_PATH), preflight(shared, IMAGE_PATH, "GET", "x-anything")):
        assert (answer.status_code, answer.content) == (204, b"")
        assert words(answer.headers["allow"]) == {"GET", "HEAD", "OPTIONS"}
        assert answer.headers["access-control-allow-origin"] == "*"


# ── answers ──


def test_every_answer_can_be_read_by_a_page(shared: Api, headers: Headers) -> None:
    client, media_id = shared.client, add(shared, headers)["id"]
    for answer, status in [
        (client.get("/v1/media", headers=headers | ORIGIN), 200),
        (client.get("/v1/media", headers=headers), 200),  # without Origin too, so that caches may keep one answer
        (client.get(f"/v1/media/{media_id}", headers=ORIGIN), 200),
        (client.get("/v1/usage", headers=headers), 200),
        (client.post("/v1/keys", json={"email": "dev@example.com"}), 201),
        (shared.upload(b"no picture", headers), 400),
        (client.post("/v1/keys", content=b"{"), 400),
        (client.get("/v1/media"), 401),
        (client.delete(f"/v1/media/{media_id}", headers=owner(shared, "--read-only")), 403),
        (client.get("/v1/media/abcdefghijkl12"), 404),
        (client.get("/v1/nothing"), 404),
        (client.put("/v1/media", headers=headers), 405),
        (client.get("/v1/media?limit=x", headers=headers), 422),
        (client.delete(f"/v1/media/{media_id}", headers=headers), 200),
    ]:
        assert answer.status_code == status, answer.text
        check_readable(answer)


def test_what_monitors_and_other_sites_ask_can_be_read_by_a_page(shared: Api, headers: Headers) -> None:
    url = add(shared, headers)["url"]
    for path, status in [
        ("/healthz", 200),
        (f"/oembed?url={url}", 200),
        ("/oembed", 422),
        (f"/oembed?url={url}1", 404),
    ]:
        answer = shared.client.get(path, headers=ORIGIN)
        assert answer.status_code == status, answer.text
        check_readable(answer)


@pytest.mark.parametrize("path", ["/v1/media/%00", "/v1/%0a", "/v1/media/abcdefghijkl12%07"])
def test_a_path_that_can_be_nothing(shared: Api, path: str) -> None:
    for method in ("GET", "OPTIONS", "DELETE"):
        answer = shared.client.request(method, path)
        check_refusal(answer, 404, "not_found")
        check_readable(answer)


def test_a_limit_can_be_read_by_a_page(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 1})
    add(api, {})
    answer = api.upload(b"")
    check_refusal(answer, 429, "rate_limited")
    check_readable(answer)
    shown = told_headers(answer)
    assert "x-ratelimit-reset" in shown
    assert shown <= EXPOSED


def test_quota_headers_can_be_read_by_a_page(api: Api) -> None:
    answer = api.upload(b"", api.new_key())
    shown = told_headers(answer)
    assert "x-storage-remaining" in shown
    assert shown <= EXPOSED


def test_below_a_path(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://example.com/img"})
    for path in ("/img/v1/media", "/v1/media"):
        assert preflight(api, path, "GET").status_code == 204
        check_readable(preflight(api, path, "GET"))
        check_readable(api.client.get(path))


def test_image_bytes(shared: Api, headers: Headers) -> None:
    shown = add(shared, headers)
    for address in (shown["src"], shown["src"] + "?size=s", shown["src"].replace(".png", ".webp")):
        answer = shared.fetch(address, headers=ORIGIN)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


PAGES_BELOW = ["/api/v1/media", "/dashboard/v1/keys", "/img/v1/media", "/api/abcd1/abcdefghijkl12.png"]


@pytest.mark.parametrize("path", ["/pricing", "/nothing", "/", *PAGES_BELOW])
def test_what_is_no_api_is_for_its_own_origin(shared: Api, path: str) -> None:
    assert "access-control-allow-origin" not in shared.client.get(path, headers=ORIGIN).headers


def test_paths_below_the_configured_ones_only(start: ApiFactory) -> None:
    urls = {"public_url": "https://example.com/img", "api_url": "https://example.com/api"}
    api = start(server={**urls, "src_url": "https://example.com/pics"})
    for path in ("/api/v1/media", "/pics/abcd1/abcdefghijkl12.png"):
        check_readable(api.client.get(path, headers={**ORIGIN, "Host": "example.com"}))
    for path in ("/img/api/v1/media", "/img/dashboard/v1/media", "/other/v1/media"):
        answer = api.client.get(path, headers={**ORIGIN, "Host": "example.com"})
        assert "access-control-allow-origin" not in answer.headers


# ── HEAD ──


def test_head_is_get_without_a_body(shared: Api, headers: Headers) -> None:
    shown = add(shared, headers)
    src = shown["src"].removeprefix("http://localhost:4647")
    paths = ["/v1/media", "/v1/media?limit=x", f"/v1/media/{shown['id']}", "/v1/media/abcdefghijkl12", "/v1/usage"]
    for path in [*paths, "/v1/namespaces", "/v1/nothing", "/healthz", src, src + "?size=s", IMAGE_PATH]:
        for key in (headers, {}):
            get, head = shared.client.get(path, headers=key), shared.client.head(path, headers=key)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            ours = {name: value for name, value in head.headers.items() if name != "x-request-id"}
            assert ours == {name: value for name, value in get.headers.items() if name != "x-request-id"}, path


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/upload", "/v1/media/batch"])
def test_no_head_where_there_is_no_get(shared: Api, path: str) -> None:
    for method in ("HEAD", "GET", "PUT"):
        answer = shared.client.request(method, path)
        assert answer.status_code == 405
        assert words(answer.headers["allow"]) == METHODS[path]
        check_readable(answer)
