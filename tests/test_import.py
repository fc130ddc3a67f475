"""POST /v1/import: the same fields, answers, limits and headers as an upload, for an image that is fetched."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image
from origins import ORIGIN_ADDRESS, PICTURE, FakeInternet, Origin, answer, origin, redirect
from shared import serve
from wire import ENDS, HANGS_UP, check_refusal, nothing_is_stored, send_raw, stored_blobs

from imgpro_lite import __version__

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><script/></svg>'
MB = 1024 * 1024


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(site: Origin) -> None:
    site.requests.clear()
    site.pages.clear()


def settings(site: Origin, **more: Any) -> dict[str, Any]:
    """What a server needs to fetch from the site."""
    return {
        "internet": FakeInternet().internet,
        "import": {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port], **more},
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, site: Origin) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("import") / "data", limits={"svg_file_mb": 1}, **settings(site)) as api:
        yield api


def import_(
    api: Api, site: Origin, path: str = "/photo.png", headers: dict[str, str] | None = None, **body: Any
) -> Any:
    """Import what a path of the site has."""
    return api.client.post("/v1/import", headers=headers, json={"url": site.url(path), **body})


# ── the contract ──


def test_the_contracts_example(shared: Api, site: Origin) -> None:
    site.pages["/photo.png"] = answer()
    headers = shared.new_key()
    body = {
        "name": "Imported Photo",
        "tags": "landscape,nature",
        "namespace": "my-project",
        "public": True,
        "external_id": "ext-123",
        "metadata": {"source": "unsplash", "author": "Jane Doe"},
    }
    imported = import_(shared, site, headers=headers, **body)
    assert imported.status_code == 201, imported.text
    shown = imported.json()
    assert {
        name: shown[name] for name in ("name", "tags", "namespace", "public", "external_id", "source", "author")
    } == {
        "name": "Imported Photo",
        "tags": ["landscape", "nature"],
        "namespace": "my-project",
        "public": True,
        "external_id": "ext-123",
        "source": "unsplash",
        "author": "Jane Doe",
    }
    assert (shown["width"], shown["height"], shown["filesize"], shown["extension"]) == (8, 6, len(PICTURE), "png")
    assert shared.fetch(shown["src"]).content == PICTURE
    assert imported.headers["x-monthly-uploads-used"] == "1"
    assert imported.headers["x-storage-used"] == str(len(PICTURE))
    again = import_(shared, site, headers=headers, **body)
    assert check_refusal(again, 409, "duplicate")["media"]["id"] == shown["id"]
    assert len(site.requests) == 1  # a duplicate is not fetched


def test_the_request_says_who_asks_and_nothing_more(shared: Api, site: Origin) -> None:
    site.pages |= {"/a.png?size=1": redirect("/b.png"), "/b.png": answer(PICTURE, "Set-Cookie: a=b")}
    for _ in range(2):
        assert import_(shared, site, "/a.png?size=1#part").status_code == 201
    first, second, third, _ = site.requests
    assert first == third
    assert first.split("\r\n") == [
        "GET /a.png?size=1 HTTP/1.1",
        f"Host: images.example:{site.port}",
        f"User-Agent: imgpro-lite/{__version__}",
        "Accept: image/*",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    ]
    assert second == first.replace("/a.png?size=1", "/b.png")


def test_an_import_is_answered_like_an_upload(start: ApiFactory, site: Origin) -> None:
    api = start(**settings(site))
    site.pages["/photo.jpg"] = answer()
    imported, uploaded = import_(api, site, "/photo.jpg"), api.upload(PICTURE)
    assert imported.status_code == uploaded.status_code == 201
    assert list(imported.json()) == list(uploaded.json())
    same = ("name", "filesize", "extension", "editable", "expires_at", "upgrade")
    assert {name: imported.json()[name] for name in same} == {name: uploaded.json()[name] for name in same}
    assert list(imported.headers) == list(uploaded.headers)
    # One window for both.
    left = [answer.headers["x-ratelimit-remaining"] for answer in (imported, uploaded)]
    assert left == ["19", "18"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/photo.jpg", "photo.jpg"),
        ("/a/b/summer%20day.jpg?w=1&x=/y.png", "summer day.jpg"),
        ("/%E6%97%A5.png", "日.png"),
        ("/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("/a%0D%0Ab%E2%80%AEc.png", "abc.png"),
        ("/%FF.png", "�.png"),
        ("/folder/", "image.png"),
        ("/" + "n" * 300, "n" * 255),
    ],
)
def test_the_name_is_the_last_part_of_the_path(shared: Api, site: Origin, path: str, name: str) -> None:
    site.pages[path] = answer()
    assert import_(shared, site, path).json()["name"] == name


def test_a_url_without_path_or_with_a_redirect(shared: Api, site: Origin) -> None:
    site.pages |= {"/": answer(), "/short": redirect("/hidden/secret.png"), "/hidden/secret.png": answer()}
    assert import_(shared, site, "").json()["name"] == "image.png"
    assert import_(shared, site, "/short").json()["name"] == "short"  # what the caller knows already


# ── what is wrong with the request ──


@pytest.mark.parametrize("body", [{}, {"url": None}, {"name": "a", "url": None, "namespace": "Wrong"}])
def test_a_missing_url(shared: Api, body: dict[str, Any]) -> None:
    check_refusal(shared.client.post("/v1/import", json=body), 400, "missing_url")


@pytest.mark.parametrize("url", [1, 1.5, True, [], {}, ["http://a/"], "http://a/\0", "http://a/\ud800"])
def test_a_url_that_is_no_text(shared: Api, url: Any) -> None:
    body = '{"url": "http://a/\\ud800"}' if url == "http://a/\ud800" else None
    sent = {"content": body} if body else {"json": {"url": url}}
    refused = check_refusal(shared.client.post("/v1/import", **sent), 422, "validation_error")
    assert list(refused["errors"]) == ["url"]


def test_every_wrong_field_at_once(shared: Api, site: Origin) -> None:
    body = {"url": 1, "namespace": "Wrong", "ttl": 3600, "tags": 5, "public": "x", "file": "y", "width": 1}
    refused = check_refusal(shared.client.post("/v1/import", json=body), 422, "validation_error")
    assert set(refused["errors"]) == set(body)
    assert site.requests == []


@pytest.mark.parametrize("content", ["", "[]", "no json", '{"url": "a", "url": "b"}', "[" * 100_000])
def test_what_is_no_json_object(shared: Api, content: str) -> None:
    check_refusal(shared.client.post("/v1/import", content=content), 400, "bad_request")


def test_fields_as_json(shared: Api, site: Origin) -> None:
    """Arrays, numbers, null and empty text; unknown names are metadata and win over `metadata`."""
    site.pages["/photo.png"] = answer()
    headers = shared.new_key()
    body = {
        "tags": ["B", "a"],
        "public": 0,
        "date": 86_400,
        "ttl": "2h",
        "namespace": None,
        "external_id": "",
        "name": "",
        "metadata": {"author": "A", "n": 1},
        "author": "B",
        "deep": {"list": [1, None]},
    }
    shown = import_(shared, site, headers=headers, **body).json()
    expected = {"tags": ["b", "a"], "public": False, "date": 86_400, "namespace": None, "name": "photo.png"}
    expected |= {"author": "B", "n": 1, "deep": {"list": [1, None]}, "expires_at": shown["created_at"] + 7200}
    assert {name: shown[name] for name in expected} == expected


def test_null_is_left_out(shared: Api, site: Origin) -> None:
    """Also of what only a key may say."""
    site.pages["/photo.png"] = answer()
    nothing = dict.fromkeys(["name", "tags", "namespace", "public", "external_id", "date", "ttl", "metadata"])
    assert import_(shared, site, **nothing).json()["name"] == "photo.png"
    check_refusal(import_(shared, site, ttl=3600), 422, "validation_error")


def test_the_order_of_refusals(start: ApiFactory, site: Origin) -> None:
    """Decision 21; what a file is like is only known when it was fetched, so its size comes after the fields."""
    plans = {"free": {"label": "Free", "uploads_per_month": 9, "storage_mb": 1}}
    api = start(limits={"file_mb": 1}, plans=plans, **settings(site))
    site.pages["/photo.png"] = answer()
    site.pages["/large.png"] = answer(bytes(MB + 1))
    site.pages["/text.png"] = answer(b"no picture")
    site.pages["/full.png"] = answer(PICTURE + bytes(MB - 600))
    headers = authorization(make_key(api.data_dir, "--verified", "--plan", "free"))
    assert import_(api, site, headers=headers, external_id="taken").status_code == 201
    reader = authorization(make_key(api.data_dir, "--read-only"))
    check_refusal(api.client.post("/v1/import", headers=reader, content="x"), 403, "forbidden")
    check_refusal(api.client.post("/v1/import", headers={"Authorization": "Bearer x"}), 401, "unauthorized")
    wrong: dict[str, Any] = {"namespace": "Wrong", "external_id": "taken"}
    check_refusal(api.client.post("/v1/import", headers=headers, json=wrong), 400, "missing_url")
    check_refusal(import_(api, site, "/large.png", headers, **wrong), 422, "validation_error")
    check_refusal(import_(api, site, "/large.png", headers, external_id="taken"), 409, "duplicate")
    assert len(site.requests) == 1
    check_refusal(import_(api, site, "/nothing.png", headers), 400, "fetch_failed")
    check_refusal(import_(api, site, "/large.png", headers), 400, "file_too_large")
    check_refusal(import_(api, site, "/text.png", headers), 400, "unsupported_format")
    refused = import_(api, site, "/full.png", headers)
    check_refusal(refused, 413, "quota_exceeded")
    assert refused.headers["x-monthly-uploads-used"] == "1"
    assert len(stored_blobs(api)) == 1
    assert not list((api.data_dir / "tmp").iterdir())


# ── limits ──


def test_without_a_key_imports_can_be_switched_off(start: ApiFactory, site: Origin) -> None:
    site.pages["/photo.png"] = answer()
    api = start(anonymous={"import": False}, **settings(site))
    refused = import_(api, site)
    check_refusal(refused, 401, "unauthorized")
    assert "x-ratelimit-remaining" in refused.headers
    assert api.upload(PICTURE).status_code == 201
    assert import_(api, site, headers=api.new_key()).status_code == 201
    api = start(anonymous={"enabled": False}, **settings(site))
    check_refusal(import_(api, site), 401, "unauthorized")
    assert len(site.requests) == 1


def test_imports_and_uploads_share_the_windows(start: ApiFactory, site: Origin) -> None:
    site.pages["/photo.png"] = answer()
    api = start(limits={"anonymous_uploads_per_hour": 3}, **settings(site))
    assert import_(api, site).status_code == 201
    check_refusal(import_(api, site, "/nothing"), 400, "fetch_failed")  # refused attempts count
    assert api.upload(PICTURE).headers["x-ratelimit-remaining"] == "0"
    refused = import_(api, site)
    assert check_refusal(refused, 429, "rate_limited")["action"]["type"] == "wait"
    assert len(site.requests) == 2


@pytest.mark.slow
def test_a_month_that_is_used_up(start: ApiFactory, site: Origin) -> None:
    site.pages["/photo.png"] = answer()
    api = start(plans={"free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 1}}, **settings(site))
    headers = api.new_key()
    assert import_(api, site, headers=headers).headers["x-monthly-uploads-remaining"] == "0"
    check_refusal(import_(api, site, headers=headers), 413, "quota_exceeded")
    assert len(site.requests) == 1


@pytest.mark.slow
def test_a_full_disk_is_told_before_anything_is_fetched(start: ApiFactory, site: Origin) -> None:
    api = start(storage={"min_free_mb": 2**40}, **settings(site))
    check_refusal(import_(api, site), 503, "storage_full")
    assert site.requests == []


def test_the_largest_file_without_a_key(start: ApiFactory, site: Origin) -> None:
    """Also of one whose length is not told; then it is fetched up to the limit and no further."""
    api = start(limits={"anonymous_file_mb": 1, "svg_file_mb": 1}, **settings(site))
    for more in ([], ["X-No-Length: 1"]):
        site.pages["/fits.png"] = answer(PICTURE + bytes(MB - len(PICTURE)), *more)
        site.pages["/large.png"] = answer(PICTURE + bytes(MB - len(PICTURE) + 1), *more)
        assert import_(api, site, "/fits.png").json()["filesize"] == MB
        check_refusal(import_(api, site, "/large.png"), 400, "file_too_large")
        assert not list((api.data_dir / "tmp").iterdir())


def test_an_svg_has_a_limit_of_its_own_and_is_sanitised(shared: Api, site: Origin) -> None:
    site.pages["/large.svg"] = answer(SVG + b" " * MB, content_type="image/svg+xml")
    check_refusal(import_(shared, site, "/large.svg"), 400, "file_too_large")
    site.pages["/small.svg"] = answer(SVG, content_type="image/svg+xml")
    shown = import_(shared, site, "/small.svg").json()
    assert (shown["extension"], shown["editable"]) == ("svg", False)
    assert b"script" not in shared.fetch(shown["src"]).content


def test_the_type_is_decided_by_content(shared: Api, site: Origin) -> None:
    site.pages["/photo.gif"] = answer(make_image("jpeg", 8, 6), content_type="image/gif")
    assert import_(shared, site, "/photo.gif").json()["extension"] == "jpeg"


# ── ends before the end ──


def test_a_client_that_goes_away_ends_its_import(start: ApiFactory, site: Origin) -> None:
    api = start(**settings(site, max_concurrent=1, queue_seconds=30))
    asked, hung_up = threading.Event(), threading.Event()

    def endless(sock: Any) -> None:
        """A part of a picture, and then nothing until the server hangs up."""
        sock.sendall(answer(PICTURE[:20], "Content-Length: 5000"))
        asked.set()
        assert sock.recv(1) == b""
        hung_up.set()

    site.pages |= {"/endless.png": endless, "/photo.png": answer()}
    body = f'{{"url": "{site.url("/endless.png")}"}}'.encode()
    gone = send_raw(api, "/v1/import", [body, ENDS, asked.wait, HANGS_UP], [(b"content-length", b"%d" % len(body))])
    assert gone.status_code == 0  # there is nobody to answer
    assert hung_up.wait(30)
    assert nothing_is_stored(api)
    assert import_(api, site).status_code == 201  # its turn is free
