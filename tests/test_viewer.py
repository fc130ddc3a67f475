"""GET /{id}: what the page of an image shows, and that what it announces is there."""

import html
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_animation, make_dots_gif, make_image, make_svg, open_image
from library import picture, somebody
from pages import OWN_URL, check_page
from shared import serve
from viewing import POLICY, Candidate, ImagePage, check_format, open_page

NOBODYS = "/abcdefghijkl12"
BEFORE_THE_IMAGE_BYTES = 30_000

HOSTILE = [
    '"><script>alert(1)</script>',
    "</title><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "](javascript:alert(1)) ![x](y",
    "[/img][url=javascript:alert(1)]",
    "<!-- --> ]]> &lt;b&gt; &#34;",
    "a\\`*_[]<>& 例え مثال 🎉",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def utc(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%-d %B %Y, %H:%M UTC")


def put(api: Api, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> dict[str, Any]:
    answer = api.upload(content, headers, **fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def check_pixels(api: Api, announced: list[Candidate]) -> None:
    """Every picture is there, in the format of its extension, and of the size that was announced."""
    assert announced
    for one in announced:
        got = api.client.get(one.address)
        assert got.status_code == 200, one
        check_format(one.address, got.content)
        made = open_image(got.content)
        assert one.width in (0, made.width), one
        assert one.height in (None, made.get_page_height()), one


# ── the picture ──

SIZES = ["?size=s", ""]
# A picture, then what its page lets a browser choose from: media types with extensions and sizes.
PICTURES = {
    "photograph": (make_image("jpeg", 501, 371), ["avif", "webp", "jpeg"]),
    "turned by EXIF": (make_image("jpeg", 330, 500, keep="none"), ["avif", "webp", "jpeg"]),
    "transparent": (make_image("png", 340, 350, alpha=True), ["avif", "webp", "png"]),
    "not a browser's": (make_image("tiff", 401, 333), ["avif", "webp", "jpeg"]),
    "animation": (make_animation("gif", 350, 330, 3), ["webp", "gif"]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_that_is_announced_is_there(shared: Api, name: str) -> None:
    content, formats = PICTURES[name]
    page = open_page(shared, put(shared, content))
    kinds = page.kinds
    assert [extensions[-1] for _, extensions in kinds] == formats
    assert [kind for kind, _ in kinds] == [*(f"image/{one}" for one in formats[:-1]), None]
    for _, extensions in kinds:
        only_full = extensions[-1] == "gif"  # as it was uploaded: a browser without WebP is hardly a phone's
        assert [one.rpartition("?")[2] for one in extensions] == (["gif"] if only_full else ["size=s", extensions[-1]])
    check_pixels(shared, page.shown())
    check_pixels(shared, [Candidate(str(page.img["src"]), 0)])


def test_every_size_and_format_that_is_offered_is_there(shared: Api) -> None:
    page = open_page(shared, put(shared, make_image("png", 701, 702)))
    offered = page.offered()
    assert len(offered) == len({one.address for one in offered}) == 12  # s, m and full in four formats
    check_pixels(shared, offered)


@pytest.mark.parametrize(("width", "height"), [(17_000, 12), (5, 16_500)])
def test_what_a_format_cannot_hold_is_announced_smaller(shared: Api, width: int, height: int) -> None:
    page = open_page(shared, put(shared, make_image("png", width, height)))
    widest = {one.address.rpartition(".")[2]: one.width for one in page.offered()}
    assert widest["png"] == width
    assert widest["webp"] == widest["avif"] != width or height > width
    check_pixels(shared, page.offered())
    check_pixels(shared, page.shown())


def test_a_drawing_is_shown_as_itself_and_offered_in_every_size(shared: Api) -> None:
    page = open_page(shared, put(shared, make_svg(30, 20)))
    assert page.kinds == [(None, ["svg"])]
    assert (page.img["width"], page.img["height"]) == ("960", "640")  # size m: an icon is enlarged
    offered = {one.address.rpartition(".")[2]: one for one in page.offered()}
    assert len(offered) == 20
    check_pixels(shared, [offered[one] for one in ("png?size=s", "webp?size=m", "png")])
    assert shared.client.get(offered["svg?size=m"].address).headers["content-type"] == "image/svg+xml"


def test_a_small_picture_is_never_enlarged(shared: Api) -> None:
    page = open_page(shared, put(shared, picture()))
    assert (page.img["width"], page.img["height"]) == ("4", "3")
    assert {one.address.rpartition(".")[2] for one in page.shown()} == {"avif", "webp", "jpeg"}
    assert "Small" not in page.text


def test_a_long_animation_is_shown_as_it_was_uploaded(shared: Api) -> None:
    """It would take a first visitor seconds until all of it is WebP."""
    page = open_page(shared, put(shared, make_dots_gif(1500, 1500, 5)))
    assert page.kinds == [(None, ["gif"])]


def test_a_very_large_picture_is_not_made_in_full_for_a_page(shared: Api) -> None:
    page = open_page(shared, put(shared, make_image("png", 3600, 2700)))
    assert [extensions[-1] for _, extensions in page.kinds] == ["avif?size=l", "webp?size=l", "jpeg?size=l"]
    assert (page.img["width"], page.img["height"]) == ("3600", "2700")
    assert page.links[2].endswith(".png")  # behind the picture, as uploaded


# ── what is known about it ──


def test_the_facts(shared: Api) -> None:
    headers = somebody(shared)
    metadata = {"author": "Jane Doe", "camera": {"iso": 200}, "keep": True, "none": None, "list": [1, "b"]}
    media = put(
        shared,
        make_image("jpeg", 40, 30),
        headers,
        name="Dawn over the bay",
        tags="hero,homepage",
        namespace="my-project",
        date="2020-05-06",
        external_id="secret-id",
        ttl="3d",
        metadata=json.dumps(metadata),
    )
    page = open_page(shared, media)
    assert page.heading == "Dawn over the bay"
    assert page.title == f"Dawn over the bay · {OWN_URL.removeprefix('http://')}"
    assert page.facts == {
        "Picture": "40 × 30 pixels",
        "File": f"JPEG, {round(media['filesize'] / 1024)} KB",
        "Date": "6 May 2020, 00:00 UTC",
        "Uploaded": utc(media["created_at"]),
        "Expires": f"{utc(media['created_at'] + 3 * 86_400)} in 3 days",
        "Namespace": "my-project",
        "author": "Jane Doe",
        "camera": '{"iso": 200}',
        "keep": "true",
        "none": "null",
        "list": '[1, "b"]',
    }
    assert "hero homepage" in page.text
    assert "secret-id" not in page.html


def test_what_is_not_set_is_not_mentioned(shared: Api) -> None:
    page = open_page(shared, put(shared, picture(), somebody(shared)))
    for word in ("Tags", "Namespace", "Expires", "Details", "None", "null"):
        assert word not in page.html


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (30 * 86_400, "in 30 days"),
        (3 * 86_400 - 60, "in 3 days"),
        (86_400, "in 24 hours"),
        (5000, "in 83 minutes"),
        (5400, "in 2 hours"),
    ],
)
def test_when_it_expires(shared: Api, seconds: int, told: str) -> None:
    page = open_page(shared, put(shared, picture(), somebody(shared), ttl=str(seconds)))
    assert told in page.text


# ── what strangers typed ──


@pytest.mark.parametrize("text", HOSTILE)
def test_what_strangers_typed_stays_text(shared: Api, text: str) -> None:
    metadata = json.dumps({text: text, "nested": {text: [text]}})
    tag = text.replace(",", "").lower()[:50]
    media = put(shared, picture(), somebody(shared), name=text, tags=json.dumps([tag]), metadata=metadata)
    page = open_page(shared, media)  # which looks for elements and attributes that nobody put there
    assert page.heading == " ".join(media["name"].split())
    assert page.facts[text] == " ".join(text.split())
    assert json.loads(page.facts["nested"]) == {text: [text]}
    assert " ".join(tag.split()) in page.text
    assert page.meta("og:title") == page.img["alt"] == media["name"]
    assert page.title.startswith(media["name"])
    harmless = ("/", "#", OWN_URL)
    assert [one for one in page.links if not one.startswith(harmless)] == []


class _Copied(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        raise AssertionError(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_copied_is_harmless_where_it_is_pasted(shared: Api, text: str) -> None:
    media = put(shared, picture(), name=text)
    copied = open_page(shared, media).copied()
    assert copied["page"] == media["url"]
    assert copied["link"] == media["src"]
    expected = {"alt": media["name"], "src": media["src"], "width": "4", "height": "3"}
    assert _Copied(copied["html"]).elements == [("img", expected)]
    assert copied["bbcode"] == f"[img]{media['src']}[/img]"
    alt = copied["markdown"].removeprefix("![").removesuffix(f"]({media['src']})")
    unescaped = alt
    for char in "`*_[]<>&\\":
        unescaped = unescaped.replace(f"\\{char}", "" if char == "\\" else "\0")
    assert set(unescaped).isdisjoint("`*_[]<>&\\")


# ── the choice of size and format, without scripts ──


@pytest.mark.parametrize(
    ("query", "ending", "pixels"),
    [
        ("", ".png", "700 × 660 PNG"),
        ("?size=s&format=webp", ".webp?size=s", "339 × 320 WebP"),
        ("?size=m", ".png?size=m", "679 × 640 PNG"),
        ("?format=jpg", ".jpeg", "700 × 660 JPEG"),
        ("?size=l&format=gif", ".png", "700 × 660 PNG"),
        ("?size=xxl&format=exe&size=s", ".png?size=s", "339 × 320 PNG"),
        ("?size=%22%3E%3Cb%3E&format=%00", ".png", "700 × 660 PNG"),
    ],
)
def test_the_choice(shared: Api, query: str, ending: str, pixels: str) -> None:
    media = put(shared, make_image("png", 700, 660))
    page = open_page(shared, media, query)
    stem = media["src"].removesuffix(".png")
    assert page.copied()["link"] == stem + ending
    assert f"Download {pixels}" in page.text
    checked = [str(one["value"]) for one in page.attributes("input") if "checked" in one]
    assert checked[1] == ending[1:].partition("?")[0]
    assert page.forms[0].method == "get"


def test_a_download_is_saved_under_the_name_of_the_image(shared: Api) -> None:
    media = put(shared, make_image("tiff", 400, 330), name="Dawn über.tiff")
    page = open_page(shared, media, "?size=s&format=webp")
    chosen, original = (one for one in page.links if "download" in one)
    for address, ending in ((chosen, "webp"), (original, "tiff")):
        saved = shared.client.get(address)
        disposition = saved.headers["content-disposition"]
        assert disposition == f"attachment; filename*=UTF-8''Dawn%20%C3%BCber.{ending}"
        check_format(address, saved.content)
        shown = shared.client.get(address.replace("?download", "").replace("&download", ""))
        assert shown.headers["content-disposition"] == disposition.replace("attachment", "inline")
        assert (shown.content, shown.headers["etag"]) == (saved.content, saved.headers["etag"])


# ── images that nobody may see ──


def test_one_page_for_all_that_nobody_may_see(shared: Api) -> None:
    headers = somebody(shared)
    shown = put(shared, picture(), headers)
    etag = shared.fetch(shown["url"]).headers["etag"]
    private = put(shared, picture(1), headers, public="false")
    expired = put(shared, picture(2), headers, ttl="3600")
    shared.clock.advance(seconds=3600)
    shared.client.delete(f"/v1/media/{shown['id']}", headers=headers)
    unknown = shared.client.get(NOBODYS)
    assert "It may be private, or deleted" in check_page(unknown, 404).text
    for media in (private, expired, shown):
        for conditions in ({}, {"If-None-Match": etag}, {"If-None-Match": "*"}, headers):
            for method in ("GET", "HEAD"):
                answer = shared.client.request(method, f"/{media['id']}", headers=conditions)
                assert answer.status_code == 404
                assert answer.text == (unknown.text if method == "GET" else "")
                assert dict(answer.headers) | {"x-request-id": ""} == dict(unknown.headers) | {"x-request-id": ""}


@pytest.mark.parametrize("path", [f"{NOBODYS}/", f"{NOBODYS}/x", f"{NOBODYS}%0a", NOBODYS.upper(), "/abcdefghijklm123"])
def test_there_is_nothing_beside_it(shared: Api, path: str) -> None:
    assert shared.client.get(path).status_code == 404


def test_other_methods(shared: Api) -> None:
    media = put(shared, picture())
    for method in ("POST", "PUT", "DELETE", "BREW"):
        refused = shared.client.request(method, f"/{media['id']}")
        check_page(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"


# ── caches ──


def test_a_page_is_asked_for_anew_and_sent_when_it_has_changed(shared: Api) -> None:
    headers = somebody(shared)
    path = f"/{put(shared, picture(), headers)['id']}"
    first = shared.client.get(path)
    again = shared.client.get(path, headers={"If-None-Match": f'W/"x", {first.headers["etag"]}'})
    assert (again.status_code, again.text) == (304, "")
    for name in ("etag", "cache-control", "content-security-policy"):
        assert again.headers[name] == first.headers[name]
    assert shared.client.head(path).headers["etag"] == first.headers["etag"]
    shared.client.patch(f"/v1/media{path}", headers=headers, json={"name": "another"})
    changed = shared.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert "another" in changed.text


def test_little_is_sent_before_the_picture(shared: Api) -> None:
    media = put(shared, make_image("jpeg", 1400, 1100), somebody(shared), tags="a,b", author="x" * 200, ttl="7d")
    page = open_page(shared, media)
    files = [page.link("stylesheet"), page.link("icon"), str(page.attributes("script")[0]["src"])]
    sent = [page.html.encode(), *(shared.client.get(path).content for path in files)]
    assert sum(map(len, sent)) <= BEFORE_THE_IMAGE_BYTES


def test_much_that_is_known_comes_after_the_picture(shared: Api) -> None:
    metadata = json.dumps({str(number): "x" * 280 for number in range(50)})
    page = open_page(shared, put(shared, picture(), somebody(shared), metadata=metadata))
    assert len(page.html) > 15_000
    assert page.html.index("<picture>") < 5_000


# ── addresses ──


def test_with_hosts_of_their_own(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://img.example", "src_url": "https://src.example/cdn"})
    media = put(api, picture())
    answer = api.client.get(media["url"])
    page = ImagePage(answer, POLICY.replace("img-src 'self'", "img-src 'self' https://src.example"))
    assert all(one.address.startswith("https://src.example/cdn/") for one in page.shown())
    assert page.meta("og:image").startswith("https://src.example/cdn/")
    assert api.client.get(page.shown()[0].address).status_code == 200
    check_page(api.client.get(media["url"].replace("img.example", "src.example")), 404)


@pytest.mark.parametrize("base", ["https://example.com/img", "http://[::1]:8000/a/b"])
def test_with_a_path_prefix(start: ApiFactory, base: str) -> None:
    """Pictures are found also under a name of the server that the settings do not know; what is copied is whole."""
    api = start(server={"public_url": base})
    media = put(api, picture())
    prefix = "/" + base.split("/", 3)[3]
    page = ImagePage(api.client.get(f"http://10.0.0.1{prefix}/{media['id']}"))
    assert all(one.address.startswith(f"{prefix}/") for one in page.shown())
    assert api.client.get(f"http://10.0.0.1{page.shown()[0].address}").status_code == 200
    assert page.forms[0].action.startswith(f"{prefix}/{media['id']}#")
    assert all(base in text for text in page.copied().values())
    assert page.link("canonical") == media["url"] == f"{base}/{media['id']}"
    assert html.unescape(page.link("alternate")).startswith(f"{base}/oembed?url=")
