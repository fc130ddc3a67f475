"""What all pages have in common: their files, their addresses, errors as pages, forms from strangers, and the log."""

import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Api, ApiFactory
from pages import MAIL, NAVIGATION, OWN_URL, Page, ask, check_page, everything, path_links, policy_elsewhere, sign
from shared import serve
from wire import check_refusal, send_raw

from imgpro_lite import links
from imgpro_lite.logs import TextFormatter

PATHS = ["/verify", "/verify/resend", "/upgrade/pro"]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared"), mail=MAIL, server={"contact": "ops@example.com"}) as api:
        yield api


@pytest.mark.parametrize("path", PATHS)
def test_other_methods(shared: Api, path: str) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        refused = shared.client.request(method, path)
        page = check_page(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        assert page.heading == "Not possible here"
    options = shared.client.options(path, headers={"Origin": "https://evil.example"})
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert "access-control-allow-origin" not in options.headers


@pytest.mark.parametrize(
    "path", ["/verify/", "/verify/x", "/verify/resend/", "/upgrade", "/upgrade/", "/upgrade/pro/x"]
)
def test_there_is_nothing_beside_the_pages(shared: Api, path: str) -> None:
    for method in ("GET", "POST"):
        assert "There is nothing at this address." in check_page(shared.client.request(method, path), 404).text


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/upgrade/pro", "/verifyx", "/static/nothing.css", "/static/"])
def test_errors_elsewhere_are_json(shared: Api, path: str) -> None:
    check_refusal(shared.client.get(path, headers={"Accept": "text/html"}), 404, "not_found")


def test_head_is_as_get(shared: Api) -> None:
    key = ask(shared)
    got, head = shared.client.get(key.url), shared.client.head(key.url)
    assert head.status_code == 200
    for name in set(got.headers) - {"x-request-id"}:
        assert head.headers[name] == got.headers[name], name


def test_files_of_pages_may_be_kept_for_good(shared: Api) -> None:
    page = check_page(shared.client.get("/verify"), 404)
    files = {str(values["href"]) for values in page.attributes("link")}
    files |= {str(values["src"]) for values in page.attributes("img")}
    kinds = {}
    for path in files:
        got = shared.client.get(path)
        assert got.status_code == 200
        assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch(r"/static/[a-z]+\.[0-9a-f]{12}\.(css|svg)", path)
        kinds[path.rpartition(".")[2]] = got.headers["content-type"]
        check_refusal(shared.client.get(re.sub(r"\.[0-9a-f]{12}\.", ".000000000000.", path)), 404, "not_found")
    assert kinds == {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json", "multipart/form-data; boundary=x", FORM + "x"]
)
def test_a_form_of_another_kind(shared: Api, content_type: str) -> None:
    token = ask(shared).token
    before = everything(shared)
    sent = shared.client.post("/verify", content=f"t={token}&answer=confirm", headers={"Content-Type": content_type})
    check_page(sent, 400)
    assert everything(shared) == before


@pytest.mark.parametrize(
    "end",
    [
        b"&x=" + b"x" * 4096,
        b"&t=again",
        b"&answer=disown",
        b"&" + b"&".join(b"a%d=1" % number for number in range(8)),
        b"\xff",
        "é".encode(),
    ],
)
def test_a_form_that_no_page_has(shared: Api, end: bytes) -> None:
    token = ask(shared).token.encode()
    before = everything(shared)
    sent = shared.client.post(
        "/verify", content=b"t=" + token + b"&answer=confirm" + end, headers={"Content-Type": FORM}
    )
    check_page(sent, 400)
    assert everything(shared) == before


@pytest.mark.parametrize("body", [b"", b"&", b"=", b"t", b"t=", b"t=%00", b"t=%ff%fe", b"t=%ED%A0%80", b"t=%", b";;;"])
@pytest.mark.parametrize("path", PATHS[1:])
def test_a_form_without_a_token(shared: Api, path: str, body: bytes) -> None:
    check_page(shared.client.post(path, content=body, headers={"Content-Type": f"{FORM}; charset=utf-8"}), 404)


def test_a_long_form_is_not_read_to_its_end(shared: Api) -> None:
    chunks = iter([b"t=" + b"x" * 1000] * 10_000)
    sent = send_raw(shared, "/verify", chunks, [(b"content-type", FORM.encode()), (b"transfer-encoding", b"chunked")])
    assert sent.status_code == 400
    assert sent.chunks_taken < 10


def test_files_of_pages_are_sent_as_gzip_to_those_who_take_it(shared: Api) -> None:
    style = str(check_page(shared.client.get("/verify"), 404).attributes("link")[1]["href"])

    def get(accepted: str, **headers: str) -> Any:
        return shared.client.get(style, headers={"Accept-Encoding": accepted, **headers})

    plain, packed = get(""), get("br;q=1.0, GZIP;q=0.5")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # the client has unpacked it
    assert int(packed.headers["content-length"]) * 2 < len(plain.content)
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]
    for accepted, is_packed in {"*": True, "identity": False, "gzip;q=0.0": False, "*, gzip;q=0": False}.items():
        assert ("content-encoding" in get(accepted).headers) is is_packed, accepted
    known = get("gzip", **{"If-None-Match": packed.headers["etag"]})
    assert (known.status_code, known.content, known.headers["vary"]) == (304, b"", "Accept-Encoding")
    assert get("", **{"If-None-Match": packed.headers["etag"]}).status_code == 200


def test_what_is_small_or_has_secrets_is_not_compressed(shared: Api) -> None:
    page = check_page(shared.client.get("/verify"), 404)
    icon = str(page.attributes("img")[0]["src"])
    for path in (icon, "/", "/verify", "/dashboard/sign-in"):
        answer = shared.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers
        assert "Accept-Encoding" not in answer.headers.get("vary", "")


def test_the_header_leads_everywhere(shared: Api, start: ApiFactory) -> None:
    for path, current in [("/", "/"), ("/dashboard/sign-in", "/dashboard")]:
        page = Page(shared.client.get(path).text)
        assert page.links[1:6] == NAVIGATION
        assert [one["href"] for one in page.attributes("a") if one.get("aria-current") == "page"] == [current]
        assert "Upload Sign in Documentation Pricing" in page.text
    # Who looks at the page of an error is not asked for: it is the same for everybody.
    assert "Upload Images Documentation Pricing" in check_page(shared.client.get("/verify"), 404).text
    only = {"free": {"label": "Free", "uploads_per_month": 9, "storage_mb": 9}}
    hidden = {"big": {"label": "Big", "uploads_per_month": 0, "storage_mb": 0, "offered": False}}
    api = start(server={"public_url": "https://pics.example/a"}, plans={**only, **hidden})
    page = Page(api.client.get("https://pics.example/a/").text)
    assert page.links[2:5] == ["/a/", "/a/dashboard", "/a/api/quick-start"]
    assert "/a/pricing" not in page.links


@pytest.mark.parametrize("base", ["https://example.com/img", "https://example.com", "http://[::1]:8000/a/b"])
def test_addresses_come_from_the_settings(start: ApiFactory, base: str) -> None:
    """With the prefix of the public address, and whatever the request says; a proxy may take the prefix off, or not."""
    api = start(server={"public_url": base}, mail=MAIL)
    url = base + ask(api).url
    prefix = "/" + base.partition("//")[2].partition("/")[2] if base.count("/") > 2 else ""
    for requested in (url, url.removeprefix(base), url.replace(base, f"http://10.0.0.1{prefix}")):
        forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "Referer": "https://evil.example/"}
        shown = api.client.get(requested, headers=forged)
        page = check_page(shown)
        assert "evil" not in shown.text
        parents = {f"{prefix}/static", f"{prefix}/api", prefix}
        assert {path.rpartition("/")[0] for path in path_links(shown.text)} == parents
        assert page.forms[0].action == f"{prefix}/verify"
    style = path_links(shown.text)[0]
    origin = base.removesuffix(prefix)
    assert api.client.get(origin + style).status_code == 200
    done = api.client.post(f"{origin}{page.forms[0].action}", data={**page.forms[0].hidden, "answer": "confirm"})
    assert check_page(done).heading == "The key is confirmed"


def test_only_the_host_of_the_pages_has_them(start: ApiFactory) -> None:
    pages, *others = hosts = ["https://img.example", "https://api.img.example", "https://src.img.example"]
    api = start(server=dict(zip(("public_url", "api_url", "src_url"), hosts, strict=True)), mail=MAIL)
    key = ask(api)
    shown = api.client.get(pages + key.url)
    style, fields = path_links(shown.text)[0], {"t": key.token, "answer": "confirm"}
    policy = policy_elsewhere(pages)
    for host in others:
        refused = api.client.get(host + key.url)
        # Only the pages' host has what its links and files lead to.
        assert check_page(refused, 404, policy).links == ["#content", *(pages + path for path in NAVIGATION)]
        assert {urlsplit(path).netloc for path in path_links(refused.text)} == {"img.example"}
        check_page(api.client.post(f"{host}/verify", data=fields), 404, policy)
        check_refusal(api.client.get(host + style), 404, "not_found")
    assert api.client.get(pages + style).status_code == 200
    assert check_page(api.client.get(pages + key.url)).heading == "Is this API key yours?"
    assert check_page(api.client.post(f"{pages}/verify", data=fields)).heading == "The key is confirmed"


def test_a_bug_is_told_as_a_page(api: Api) -> None:
    token = sign(api, links.VERIFY, {"what": "nobody expects"})
    broken = api.client.get(f"/verify?t={token}")
    page = check_page(broken, 500)
    assert broken.headers["x-request-id"] in page.text
    for secret in ("Traceback", "KeyError", "payload", token):
        assert secret not in broken.text


def test_the_log_has_no_token(shared: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "imgpro_lite")
    key = ask(shared, "log@example.com")
    answers: list[Any] = [
        shared.client.get(key.url),
        shared.client.post("/verify", data={"t": key.token, "answer": "confirm"}),
        shared.client.get(f"/upgrade/pro?t={key.token}"),
        shared.client.post("/verify/resend", data={"t": key.token}),
        shared.client.put(key.url),
    ]
    assert [one.status_code for one in answers] == [200, 200, 404, 404, 405]
    lines = [TextFormatter().format(record) for record in caplog.records]
    assert len([line for line in lines if "/verify" in line or "/upgrade" in line]) == 5
    for part in key.token.split("."):
        assert [line for line in lines if part in line] == []


def test_every_page_is_whole_without_the_other_settings(start: ApiFactory) -> None:
    """The least settings: nothing that is not set is mentioned."""
    api = start()
    page = check_page(api.client.get("/verify"), 404)
    assert page.links == ["#content", *NAVIGATION]
    assert "Questions?" not in page.text
    assert page.title == f"Not found · {OWN_URL.removeprefix('http://')}"


def test_purposes_have_salts_of_their_own() -> None:
    purposes = [
        value for name, value in vars(links).items() if name.isupper() and str(value).startswith("imgpro-lite.")
    ]
    assert {links.UPGRADE, links.VERIFY, links.SESSION, links.CSRF, links.SIGN_IN} <= set(purposes)
    assert len(set(purposes)) == len(purposes)
