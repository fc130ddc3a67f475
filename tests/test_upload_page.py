"""The page that uploads, as it arrives, and its form, which works without a script."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization
from conftest import Api, ApiFactory
from images import make_image
from library import new_email
from pages import OWN_URL, Page
from shared import serve
from signing_in import Shown, signed_in
from wire import stored_blobs

IMPORT = re.compile(rb'\bimport [^;]* from "\./([^"]+)"')


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


def open_upload_page(api: Api, address: str = "/", images: str = "'self'") -> tuple[Page, dict[str, str]]:
    """The page with the headers that it must have, and what its script is told."""
    answer = api.client.get(address)
    assert answer.status_code == 200, answer.text
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["img-src"] == f"{images} blob:"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    page = Page(answer.text)
    assert [name for _, values in page.tags for name in values if name.startswith("on") or name == "style"] == []
    told = {name.removeprefix("data-"): value for name, value in _box(page).items() if name.startswith("data-")}
    return page, told


def _box(page: Page) -> dict[str, str]:
    (box,) = [values for values in page.attributes("section") if values.get("id") == "upload"]
    return {name: str(value) for name, value in box.items()}


def send(api: Api, content: bytes, path: str = "/", **options: Any) -> Any:
    """Send the form of the page, and follow nothing."""
    return api.client.post(path, files={"file": ("photo.jpg", content)}, follow_redirects=False, **options)


def test_it_says_what_the_settings_say(shared: Api) -> None:
    page, told = open_upload_page(shared)
    assert page.heading == "Upload pictures"
    for words in (
        "JPEG, PNG, WebP, GIF, SVG, HEIC, AVIF, TIFF and BMP, up to 20 MB, or 70 MB with an API key (SVG 10 MB)",
        "Without an API key: 30 days, and nobody can change or delete it. With a key",
        "the place and the time",
    ):
        assert words in page.text
    assert "an hour" not in page.text  # this server has no such limit
    assert (told["anonymous"], told["anonymous-file-mb"], told["file-mb"], told["svg-file-mb"]) == (
        "true",
        "20",
        "70",
        "10",
    )
    assert (told["api"], told["base"], told["src-url"], told["src-base"]) == ("/v1", "", OWN_URL, "")


def test_other_settings(start: ApiFactory) -> None:
    limits = {"anonymous_uploads_per_hour": 1, "anonymous_file_mb": 3, "file_mb": 5, "svg_file_mb": 5}
    page, told = open_upload_page(start(limits=limits))
    assert "Without an API key: 1 upload an hour, 100 uploads a day." in page.text
    assert "up to 3 MB, or 5 MB with an API key." in page.text
    api = start(anonymous={"enabled": False}, limits={"retention_days": 3})
    page, told = open_upload_page(api)
    assert told["anonymous"] == "false"
    assert "Uploads need an API key" in page.text
    assert "3 days" not in page.text
    refused = send(api, make_image("png", 9, 9))
    assert refused.status_code == 401
    assert "switched off here" in Page(refused.text).text


def test_its_scripts_are_there_with_all_that_they_import(shared: Api) -> None:
    page, _ = open_upload_page(shared)
    (script,) = page.attributes("script")
    assert script["type"] == "module"
    waiting, seen = [str(script["src"])], set[str]()
    while waiting:
        path = waiting.pop()
        answer = shared.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert "immutable" in answer.headers["cache-control"]
        seen.add(path.split("/")[-1].partition(".")[0])
        waiting += [f"/static/{name.decode()}" for name in IMPORT.findall(answer.content)]
    assert seen == {
        "upload",
        "upload_row",
        "intake",
        "clipboard",
        "kept_key",
        "words",
        "allowance",
        "finished",
        "total",
        "upload_key",
    }


@pytest.mark.parametrize("prefix", ["/img", "/a/b"])
def test_with_a_path_prefix_and_a_host_for_images(start: ApiFactory, prefix: str) -> None:
    src_url = "https://src.example/cdn"
    api = start(server={"public_url": f"https://img.example{prefix}", "src_url": src_url})
    for address in (f"https://img.example{prefix}/", f"https://img.example{prefix}", "https://10.0.0.1/"):
        page, told = open_upload_page(api, address, "'self' https://src.example")
        assert (told["api"], told["base"]) == (f"{prefix}/v1", prefix)
        assert (told["src-url"], told["src-base"]) == (src_url, src_url)
        assert page.forms[0].action == f"{prefix}/"
    assert api.client.get("https://src.example/").status_code == 404
    sent = send(api, make_image("png", 9, 9), f"https://img.example{prefix}/")
    assert re.fullmatch(prefix + "/[a-z0-9]{14}", sent.headers["location"])


def test_the_form_uploads_and_leads_to_the_page_of_the_picture(shared: Api) -> None:
    page, _ = open_upload_page(shared)
    assert (page.forms[0].method, page.forms[0].action) == ("post", "/")
    content = make_image("jpeg", 40, 30)
    sent = send(shared, content)
    assert sent.status_code == 303
    assert sent.headers["cache-control"] == "no-store"
    path = sent.headers["location"]
    assert shared.client.get(path).status_code == 200
    shown = shared.client.get(f"/v1/media{path}").json()
    assert (shown["name"], shown["editable"]) == ("photo.jpg", False)
    assert shared.fetch(shown["src"]).content == content


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"no picture", 400, "not an image of a supported type"),
        (b"\xff\xd8\xff" * 7_100_000, 400, "exceeds the limit of 20 MB"),
    ],
)
def test_a_refusal_is_a_page(shared: Api, content: bytes, status: int, words: str) -> None:
    refused = send(shared, content)
    assert refused.status_code == status
    page = Page(refused.text)
    assert page.heading == "That did not work"
    assert words in page.text


def test_no_file_is_chosen(shared: Api) -> None:
    refused = shared.client.post("/", files={"file": ("", b"")})
    assert refused.status_code == 400
    assert "No picture was chosen." in Page(refused.text).text


def test_the_forms_uploads_count_as_any(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 2})
    assert send(api, make_image("png", 9, 9)).status_code == 303
    answer = api.upload(make_image("png", 9, 9))
    assert answer.headers["x-ratelimit-remaining"] == "0"
    refused = send(api, make_image("png", 9, 9))
    assert refused.status_code == 429
    assert "Try again in 47 minutes" in Page(refused.text).text
    assert refused.headers["retry-after"] == "2800"


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 303), ("none", 303), ("same-site", 403), ("cross-site", 403)]
)
def test_another_site_cannot_send_the_form(shared: Api, site: str, status: int) -> None:
    sent = send(shared, make_image("png", 9, 9), headers={"Sec-Fetch-Site": site, "Origin": "null"})
    assert sent.status_code == status


def test_other_methods(shared: Api) -> None:
    answer = shared.client.delete("/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert Page(answer.text).heading == "Not possible here"
    assert shared.client.head("/").content == b""


def test_the_form_uploads_as_the_one_who_is_signed_in(shared: Api) -> None:
    browser, key = signed_in(shared, email=new_email())
    (form,) = [form for form in browser.open("/dashboard").forms if form.action == "/"]
    assert form.hidden == Shown(browser.get("/")).form("/")
    files = {"file": ("mine.png", make_image("png", 9, 9))}
    answer = browser.client.post("/", data=form.hidden, files=files, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 303, answer.text
    (item,) = shared.client.get("/v1/media", headers=authorization(key)).json()["items"]
    media = shared.client.get(f"/v1/media/{item['id']}").json()
    assert (answer.headers["location"], media["name"]) == (f"/{item['id']}", "mine.png")
    assert "csrf" not in media
    assert "expires_at" not in media


def test_the_form_of_a_session_is_its_own(shared: Api) -> None:
    """Without the token of the page nothing is stored, in nobody's name; neither with that of another session."""
    browser, key = signed_in(shared, email=new_email())
    other, _ = signed_in(shared, email=new_email())
    files = {"file": ("mine.png", make_image("png", 9, 9))}
    stored = stored_blobs(shared)
    for sent in ({}, {"csrf": ""}, {"csrf": other.open("/dashboard").csrf}):
        answer = browser.client.post("/", data=sent, files=files, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 403
        assert "load the page again" in Page(answer.text).text
    assert stored_blobs(shared) == stored
    assert shared.client.get("/v1/usage", headers=authorization(key)).json()["uploads_used"] == 0
