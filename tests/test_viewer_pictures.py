"""The picture on the page of an image: all that it may load is there, in the format and size that it announces."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvips
from conftest import Api
from images import REAL_IMAGES, encode, make_animation, make_dots_gif, make_image, make_pixels, make_svg
from library import picture
from pages import OWN_URL
from shared import serve
from viewing import Candidate, check_pixels, open_page, put


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def turned(width: int, height: int) -> bytes:
    """A JPEG that its EXIF orientation lays on its side."""
    pixels = make_pixels(width, height)
    pixels.set_type(pyvips.GValue.gint_type, "orientation", 6)
    return encode(pixels, "jpeg")


# A picture, and the formats that its page lets a browser choose from.
PICTURES = {
    "photograph": (make_image("jpeg", 501, 371), ["avif", "webp", "jpeg"]),
    "turned by EXIF": (turned(330, 500), ["avif", "webp", "jpeg"]),
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
    check_pixels(shared, [Candidate(str(page.img["src"]), int(str(page.img["width"])), int(str(page.img["height"])))])


def test_every_size_and_format_that_is_offered_is_there(shared: Api) -> None:
    page = open_page(shared, put(shared, make_image("png", 701, 702)))
    offered = page.offered()
    assert len(offered) == len({one.address for one in offered}) == 12  # s, m and full in four formats
    check_pixels(shared, offered)


@pytest.mark.parametrize(("width", "height"), [(17_000, 12), pytest.param(5, 16_500, marks=pytest.mark.slow)])
def test_what_a_format_cannot_hold_is_announced_smaller(shared: Api, width: int, height: int) -> None:
    page = open_page(shared, put(shared, make_image("png", width, height)))
    widest = {one.address.rpartition(".")[2]: one.width for one in page.offered()}
    assert widest["png"] == width
    assert widest["webp"] == widest["avif"] != width or height > width
    check_pixels(shared, page.offered())
    check_pixels(shared, page.shown())


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(REAL_IMAGES.glob("*.*")), ids=lambda path: path.name)
def test_what_is_announced_of_a_real_picture_is_there(shared: Api, path: Path) -> None:
    answer = shared.upload(path.read_bytes())
    if answer.status_code != 201:
        pytest.skip("it is not taken")
    page = open_page(shared, answer.json())
    check_pixels(shared, page.shown())
    check_pixels(shared, [one for one in page.offered() if ".svg" not in one.address])


def test_a_drawing_is_shown_as_itself_and_offered_in_every_size(shared: Api) -> None:
    page = open_page(shared, put(shared, make_svg(30, 20)))
    assert page.kinds == [(None, ["svg"])]
    assert (page.img["width"], page.img["height"]) == ("960", "640")  # size m: an icon is enlarged
    offered = {one.address.rpartition(".")[2]: one for one in page.offered()}
    assert len(offered) == 20
    check_pixels(shared, [offered[one] for one in ("png?size=s", "png")])
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
    media = put(shared, make_image("png", 3600, 2700))
    page = open_page(shared, media)
    assert [extensions[-1] for _, extensions in page.kinds] == ["avif?size=l", "webp?size=l", "jpeg?size=l"]
    assert (page.img["width"], page.img["height"]) == ("3600", "2700")
    assert media["src"].removeprefix(OWN_URL) in page.links  # behind the picture, as uploaded
