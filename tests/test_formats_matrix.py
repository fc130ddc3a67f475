"""Every format into every other, at full size and reduced, of a picture like a photograph.

The tolerances are what lossy encoders do at quality 90, with a little room: SSIM 0.956, colour difference 1.2 at
worst. What is wrong in earnest lies beyond: colours decoded by the matrix of another standard differ by 2.0, a lost
Display P3 profile by 2.6, television's range of values by 3.3; a shift by one pixel has an SSIM of 0.92.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import pyvips
from images import BlockingPool, encode, make_image, make_photo, make_svg, to_sixteen_bits
from similarity import colour_difference, reduced, similarity, to_rgb

from imgpro_lite.errors import TransformFailed
from imgpro_lite.formats import CONVERTIBLE_TO, Format

LEAST_SIMILARITY = 0.95
MOST_COLOUR_DIFFERENCE = 1.5

TARGETS = sorted(CONVERTIBLE_TO)
SOURCES: dict[str, tuple[Format, dict[str, Any]]] = {
    "jpeg": (Format.JPEG, {"Q": 95}),
    "progressive jpeg": (Format.JPEG, {"Q": 95, "interlace": True}),
    "progressive jpeg 4:4:4": (Format.JPEG, {"Q": 95, "interlace": True, "subsample_mode": "off"}),
    "png": (Format.PNG, {}),
    "interlaced png": (Format.PNG, {"interlace": True}),
    "webp": (Format.WEBP, {"Q": 95}),
    "lossless webp": (Format.WEBP, {"lossless": True}),
    "gif": (Format.GIF, {}),
    "heic": (Format.HEIC, {"quality": 95}),
    "avif": (Format.AVIF, {}),
    "avif 4:4:4": (Format.AVIF, {"subsample_mode": "off"}),
    "avif of 10 bits": (Format.AVIF, {"bitdepth": 10}),
    "avif of 12 bits": (Format.AVIF, {"bitdepth": 12}),
    "tiff": (Format.TIFF, {}),
    "tiled tiff": (Format.TIFF, {"tile": True, "tile_width": 64, "tile_height": 64}),
    "jpeg in tiff": (Format.TIFF, {"compression": "jpeg", "Q": 95}),
    "big tiff": (Format.TIFF, {"bigtiff": True}),
    "bmp": (Format.BMP, {}),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("matrix")) as pool:
        yield pool


@pytest.fixture(scope="module")
def photo() -> pyvips.Image:
    return make_photo()


@pytest.mark.parametrize("short_edge_px", [None, 80])
@pytest.mark.parametrize("name", SOURCES)
def test_every_format_into_every_other(
    pool: BlockingPool, photo: pyvips.Image, name: str, short_edge_px: int | None
) -> None:
    format_, options = SOURCES[name]
    data = encode(to_sixteen_bits(photo) if "bitdepth" in options else photo, format_, **options)
    for target in [*TARGETS, Format.GIF] if format_ == Format.GIF else TARGETS:
        variant = to_rgb(pool.transform(data, target, short_edge_px, 90))
        expected = photo if short_edge_px is None else reduced(photo, variant)
        assert (variant.width, variant.height) == ((240, 160) if short_edge_px is None else (120, 80))
        assert similarity(variant, expected) > LEAST_SIMILARITY, target
        assert colour_difference(variant, expected) < MOST_COLOUR_DIFFERENCE, target


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("short_edge_px", [None, 80, 320])
def test_svg_into_every_other(pool: BlockingPool, target: Format, short_edge_px: int | None) -> None:
    """Drawn at the size that was asked for, so as sharp as one that is that large."""
    drawing = '<circle cx="60" cy="80" r="50" fill="#3a7"/><path d="M10 10L230 150" stroke="#fc4" stroke-width="9"/>'
    data = make_svg(240, 160, drawing)
    factor = (short_edge_px or 160) / 160
    expected = pyvips.Image.svgload_buffer(data, scale=factor).flatten(background=255)
    variant = to_rgb(pool.transform(data, target, short_edge_px, 90))
    assert (variant.width, variant.height) == (expected.width, expected.height)
    assert similarity(variant, expected) > LEAST_SIMILARITY
    assert colour_difference(variant, expected) < MOST_COLOUR_DIFFERENCE


@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif", "tiff", "heic", "bmp"])
def test_gif_is_made_of_gif_alone(pool: BlockingPool, source: str) -> None:
    with pytest.raises(TransformFailed):
        pool.transform(make_image(source, 9, 9), "gif")


def test_the_measures_see_what_is_wrong(photo: pyvips.Image) -> None:
    """What the tolerances are for."""
    lost_profile = photo.icc_transform("p3", input_profile="srgb")
    video_range = (photo * (219 / 255) + 16).cast("uchar").copy(interpretation="srgb")
    assert colour_difference(photo, lost_profile) > MOST_COLOUR_DIFFERENCE
    assert colour_difference(photo, video_range) > MOST_COLOUR_DIFFERENCE
    assert similarity(photo, photo.wrap(x=1, y=0)) < LEAST_SIMILARITY
    assert similarity(photo, photo) == pytest.approx(1)
    assert colour_difference(photo, photo) == 0
