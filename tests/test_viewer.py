"""GET /{id}: what the page of an image says, what strangers typed in it, who gets it, and for how long."""

import html
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from conftest import Api, ApiFactory
from images import make_image
from library import picture, somebody
from pages import OWN_URL, check_page, policy_elsewhere
from shared import serve
from viewing import POLICY, ImagePage, check_format, open_page, put

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
    media = put(shared, picture(), name=text, tags=json.dumps([tag]), metadata=metadata)
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


def test_lines_of_what_was_typed_stay_lines(shared: Api) -> None:
    page = open_page(shared, put(shared, picture(), metadata=json.dumps({"poem": "one\ntwo"})))
    assert '<dd class="typed"><bdi>one\ntwo</bdi></dd>' in page.html


# ── what is read from top to bottom ──


@pytest.mark.parametrize(("size", "is_cut"), [((300, 1200), True), ((300, 900), False), ((600, 1200), False)])
def test_a_long_picture_is_a_click_away(shared: Api, size: tuple[int, int], is_cut: bool) -> None:
    page = open_page(shared, put(shared, make_image("png", *size)))
    assert ("#whole" in page.links) is ('id="whole"' in page.html) is is_cut


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
    elsewhere = api.client.get(media["url"].replace("img.example", "src.example"))
    check_page(elsewhere, 404, policy_elsewhere("https://img.example"))


def test_with_a_path_prefix(start: ApiFactory) -> None:
    """Pictures are found also under a name of the server that the settings do not know; what is copied is whole."""
    base = "http://[::1]:8000/a/b"
    api = start(server={"public_url": base})
    media = put(api, picture())
    prefix = "/" + base.split("/", 3)[3]
    page = ImagePage(api.client.get(f"http://10.0.0.1{prefix}/{media['id']}"))
    assert all(one.address.startswith(f"{prefix}/") for one in page.shown())
    assert api.client.get(f"http://10.0.0.1{page.shown()[0].address}").status_code == 200
    assert page.forms[0].action.startswith(f"{prefix}/{media['id']}#")
    assert all(base in text for text in page.copied().values())
    assert page.link("canonical") == media["url"] == f"{base}/{media['id']}"
    assert html.unescape(page.link("alternate", "application/json+oembed")).startswith(f"{base}/oembed?url=")
