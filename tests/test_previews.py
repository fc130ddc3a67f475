"""How a page is shown elsewhere: Open Graph, Twitter cards, and oEmbed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from conftest import Api, ApiFactory
from images import make_animation, make_image, make_svg, open_image
from library import picture, somebody
from pages import OWN_URL
from shared import serve
from viewing import open_page, put
from wire import check_refusal


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def ask(api: Api, url: str, **query: Any) -> Any:
    return api.client.get("/oembed", params={"url": url, **query})


def photo(api: Api, url: str, **query: Any) -> dict[str, Any]:
    """What oEmbed says of a page, after fetching the picture that it names."""
    answer = ask(api, url, **query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, Any] = answer.json()
    assert answer.headers["cache-control"] == f"public, max-age={said['cache_age']}"
    made = open_image(api.fetch(said["url"]).content)
    assert (made.width, made.height) == (said["width"], said["height"])
    return said


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (make_image("jpeg", 1500, 1200), "jpeg"),
        (make_image("webp", 300, 200), "jpeg"),
        (make_image("png", 300, 200, alpha=True), "png"),
        (make_image("heic", 300, 200), "jpeg"),
        (make_animation("webp", 60, 40, 3), "jpeg"),
        (make_animation("gif", 60, 40, 3), "gif"),
        (make_svg(30, 20), "png"),
    ],
)
def test_a_preview_is_a_picture_that_every_chat_shows(shared: Api, content: bytes, kind: str) -> None:
    media = put(shared, content, name='A "name" <b>')
    page = open_page(shared, media)
    assert page.meta("og:title") == page.meta("og:image:alt") == 'A "name" <b>'
    assert page.meta("og:url") == media["url"]
    assert page.meta("og:image:type") == f"image/{kind}"
    got = shared.fetch(page.meta("og:image"))
    assert got.headers["content-type"] == f"image/{kind}"
    made = open_image(got.content)
    assert (str(made.width), str(made.get_page_height())) == (page.meta("og:image:width"), page.meta("og:image:height"))
    assert min(made.width, made.get_page_height()) <= 1080


@pytest.mark.parametrize(
    ("size", "card"),
    [((300, 157), "summary_large_image"), ((299, 400), "summary"), ((400, 156), "summary"), ((1, 1), "summary")],
)
def test_only_a_picture_that_is_large_enough_fills_a_card(shared: Api, size: tuple[int, int], card: str) -> None:
    assert open_page(shared, put(shared, make_image("png", *size))).meta("twitter:card") == card


def test_a_page_tells_where_its_oembed_is(shared: Api) -> None:
    media = put(shared, make_image("jpeg", 1500, 1200), name="Dawn")
    page = open_page(shared, media)
    said = shared.fetch(page.link("alternate", "application/json+oembed")).json()
    same = ElementTree.fromstring(shared.fetch(page.link("alternate", "text/xml+oembed")).content)
    assert {field.tag: field.text for field in same} == {key: str(value) for key, value in said.items()}
    assert said == {
        "version": "1.0",
        "type": "photo",
        "title": "Dawn",
        "url": media["src"] + "?size=l",
        "width": 1350,
        "height": 1080,
        "cache_age": 86_400,
        "provider_name": OWN_URL.removeprefix("http://"),
        "provider_url": OWN_URL,
    }


def test_a_picture_fits_where_it_is_to_be_shown(shared: Api) -> None:
    url = put(shared, make_image("jpeg", 1500, 1200))["url"]
    for limits, size in (
        ({}, (1350, 1080)),
        ({"maxwidth": 1350}, (1350, 1080)),
        ({"maxwidth": 1349}, (800, 640)),
        ({"maxheight": 500}, (400, 320)),
        ({"maxwidth": 5000, "maxheight": 320}, (400, 320)),
        ({"maxwidth": "", "maxheight": ""}, (1350, 1080)),
    ):
        said = photo(shared, url, **limits)
        assert (said["width"], said["height"]) == size, limits
    for wrong in ("0", "-1", "1.5", "x", "9" * 30, "５"):
        refused = check_refusal(ask(shared, url, maxheight=wrong), 422, "validation_error")
        assert list(refused["errors"]) == ["maxheight"]


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        ({"maxwidth": 399}, (399, 319)),
        ({"maxwidth": 399, "maxheight": 160}, (200, 160)),
        ({"maxwidth": 1}, (1, 1)),
        ({"maxheight": 1}, (1, 1)),
    ],
)
def test_where_no_size_fits_the_smallest_is_to_be_shown_smaller(
    shared: Api, limits: dict[str, int], size: tuple[int, int]
) -> None:
    media = put(shared, make_image("jpeg", 1500, 1200))
    said = ask(shared, media["url"], **limits).json()
    assert said["url"] == f"{media['src']}?size=s"
    assert (said["width"], said["height"]) == size


def test_what_moves_is_told_to_move_wherever_it_is_shown(shared: Api) -> None:
    media = put(shared, make_animation("gif", 400, 350, 3))
    said = ask(shared, media["url"], maxwidth=200).json()
    assert (said["url"], said["width"], said["height"]) == (media["src"], 200, 175)


def test_nobody_is_to_keep_it_for_longer_than_the_image(shared: Api) -> None:
    url = put(shared, picture(), somebody(shared), ttl="2h")["url"]
    assert photo(shared, url)["cache_age"] == 7200


def test_only_pages_that_strangers_see_have_one(shared: Api) -> None:
    headers = somebody(shared)
    gone = put(shared, picture(), headers)
    shared.client.delete(f"/v1/media/{gone['id']}", headers=headers)
    private = put(shared, picture(1), headers, public="false")
    refusals = [ask(shared, one) for one in (gone["url"], private["url"], f"{OWN_URL}/abcdefghijkl12")]
    refusals.append(shared.client.get("/oembed", params={"url": private["url"]}, headers=headers))
    assert len({answer.text for answer in refusals}) == 1
    check_refusal(refusals[0], 404, "not_found")


def test_addresses_of_other_things_have_none(shared: Api) -> None:
    media = put(shared, picture())
    for url in (
        media["src"],
        f"{media['url']}/",
        f"{media['url']}.png",
        f"https://evil.example/{media['id']}",
        f"{OWN_URL}@evil.example/{media['id']}",
        f"/{media['id']}",
        media["id"],
        OWN_URL,
        "\0",
        "x" * 5000,
    ):
        check_refusal(ask(shared, url), 404, "not_found")
    for query in ("", "?url=", "?format=json"):
        refused = check_refusal(shared.client.get(f"/oembed{query}"), 422, "validation_error")
        assert list(refused["errors"]) == ["url"]
    assert ask(shared, f"{media['url']}?size=s&format=webp#share").status_code == 200


@pytest.mark.parametrize("name", ["Dawn", "</title>]]><x>&amp;\ufffe\uffff é 🎉"])
def test_the_same_as_xml(shared: Api, name: str) -> None:
    url = put(shared, picture(), name=name)["url"]
    answer = ask(shared, url, format="xml")
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(answer.content)
    assert root.tag == "oembed"
    said = {field.tag: field.text for field in root}
    expected = {key: str(value) for key, value in photo(shared, url, format="json").items()}
    assert said == expected | {"title": name.replace("\ufffe\uffff", "")}


@pytest.mark.parametrize("format_", ["yaml", "JSON", "%00"])
def test_no_other_formats(shared: Api, format_: str) -> None:
    media = put(shared, picture())
    path = f"/oembed?url={quote(media['url'], safe='')}&format={format_}"
    refused = check_refusal(shared.client.get(path), 422, "validation_error")
    assert list(refused["errors"]) == ["format"]


def test_with_a_path_prefix_and_hosts_of_their_own(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://img.example/i", "src_url": "https://src.example"})
    media = put(api, picture())
    said = api.client.get("https://img.example/i/oembed", params={"url": media["url"]}).json()
    assert said["url"].startswith("https://src.example/")
    assert said["provider_url"] == "https://img.example/i"
    assert api.client.get("https://src.example/oembed", params={"url": media["url"]}).status_code == 404
