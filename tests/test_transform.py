"""Variants: of real files, in the right size, upright, with their transparency, and of drawings.

Pictures are compared by their mean absolute difference in steps of 0 to 255, never by bytes: encoders change.
"""

import io
from collections.abc import Iterator

import pytest
import pyvips
from images import (
    REAL_IMAGES,
    BlockingPool,
    difference,
    make_animation,
    make_image,
    make_pixels,
    make_svg,
    open_image,
    to_pillow,
)
from PIL import Image, ImageOps
from similarity import to_rgb

from imgpro_lite.formats import CONVERTIBLE_TO

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
TARGETS = sorted(CONVERTIBLE_TO)

# What lossy encoders at these qualities may change; a wrong colour space or a picture on its side is 20 and more.
TOLERANCE = 6.0


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("transform")) as pool:
        yield pool


# --- formats


@pytest.mark.slow
@needs_real_images
@pytest.mark.parametrize(
    "name",
    [
        *("iphone.heic", "ten-bit.heif", "three-images.heic", "avif-yuv444.avif", "tifftag-photoshop.tiff"),
        *("bmp-1-bpp.bmp", "bmp-4-bpp.bmp", "bmp-16-bpp.bmp", "bmp-8-bpp-rle-small.bmp"),
        *("16-bit-grey-alpha.png", "sixteen-bit-linear.png", "lzw.tiff"),
    ],
)
def test_real_files(pool: BlockingPool, name: str) -> None:
    data = (REAL_IMAGES / name).read_bytes()
    full = to_rgb(pool.transform(data, "png"))
    small = to_rgb(pool.transform(data, "png", 64))
    assert min(small.width, small.height) == min(64, full.width, full.height)
    expected = full.thumbnail_image(small.width, height=small.height, size="force")
    assert difference(small, expected) < TOLERANCE
    assert full.deviate() > 5


# --- size


@pytest.mark.parametrize(
    ("width", "height", "short_edge_px", "expected"),
    [
        (2725, 2225, 320, (392, 320)),
        (2225, 2725, 320, (320, 392)),
        (1000, 1000, 320, (320, 320)),
        (640, 320, 320, (640, 320)),
        (641, 321, 320, (639, 320)),
        (200, 100, 320, (200, 100)),
        (3, 1000, 320, (3, 1000)),
        (1, 1, 1080, (1, 1)),
        (999, 2, 1, (500, 1)),
    ],
)
def test_the_short_edge_decides(
    pool: BlockingPool, width: int, height: int, short_edge_px: int, expected: tuple[int, int]
) -> None:
    variant = open_image(pool.transform(make_image("jpeg", width, height), "png", short_edge_px))
    assert (variant.width, variant.height) == expected


@pytest.mark.parametrize(("target", "size"), [("webp", (16_383, 328)), ("avif", (16_383, 328)), ("png", (20_000, 400))])
def test_too_long_for_the_format(pool: BlockingPool, target: str, size: tuple[int, int]) -> None:
    variant = open_image(pool.transform(make_image("png", 20_000, 400), target))
    assert (variant.width, variant.height) == size


@pytest.mark.parametrize("target", ["webp", "avif"])
@pytest.mark.parametrize(("width", "size"), [(16_383, (16_383, 40)), (16_384, (16_383, 40)), (17_000, (16_383, 39))])
def test_the_longest_side_itself(pool: BlockingPool, target: str, width: int, size: tuple[int, int]) -> None:
    data = make_image("png", width, 40)
    for turned in (data, open_image(data).rot90().write_to_buffer(".png")):
        variant = open_image(pool.transform(turned, target))
        assert (variant.width, variant.height) == (size if turned is data else size[::-1])


@pytest.mark.parametrize(("width", "height"), [pytest.param(4000, 4000, marks=pytest.mark.slow), (4001, 4000)])
def test_16_megapixels_themselves(pool: BlockingPool, width: int, height: int) -> None:
    variant = open_image(pool.transform(make_image("png", width, height), "avif"))
    assert (variant.width, variant.height) == (4000, 4000)


def test_frames_that_are_too_long(pool: BlockingPool) -> None:
    variant = open_image(pool.transform(make_animation("gif", 20_000, 100, 3), "webp"))
    assert (variant.width, variant.get_page_height(), variant.get("n-pages")) == (16_383, 82, 3)


def test_avif_has_at_most_16_megapixels(pool: BlockingPool) -> None:
    variant = open_image(pool.transform(make_image("png", 5000, 4000), "avif"))
    assert (variant.width, variant.height) == (4472, 3578)


# --- upright


@needs_real_images
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("short_edge_px", [None, 200])
def test_real_orientations(pool: BlockingPool, orientation: int, short_edge_px: int | None) -> None:
    upright = to_rgb(pool.transform((REAL_IMAGES / "Landscape_1.jpg").read_bytes(), "png", short_edge_px))
    turned = to_rgb(pool.transform((REAL_IMAGES / f"Landscape_{orientation}.jpg").read_bytes(), "png", short_edge_px))
    assert (turned.width, turned.height) == (upright.width, upright.height)
    # The eight were compressed one by one and have different profiles.
    assert difference(turned, upright) < 12


@pytest.mark.parametrize("format_", ["jpeg", "tiff", "webp", "png", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(pool: BlockingPool, format_: str, orientation: int) -> None:
    stored = to_pillow(make_pixels(90, 60))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, format=format_, exif=exif)
    variant = to_rgb(pool.transform(file.getvalue(), "png", 30))

    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored).resize((variant.width, variant.height), Image.Resampling.LANCZOS)
    assert variant.width == (45 if orientation < 5 else 30)
    assert difference(variant, pyvips.Image.new_from_array(upright)) < TOLERANCE


# --- transparency


@pytest.mark.parametrize("source", ["png", "webp", "gif", "heic", "avif", "tiff"])
def test_transparent_is_white_in_jpeg(pool: BlockingPool, source: str) -> None:
    variant = open_image(pool.transform(make_image(source, 90, 60, alpha=True), "jpeg"))
    assert all(value > 245 for value in variant.getpoint(45, 30))


@pytest.mark.parametrize("target", ["png", "webp", "avif"])
@pytest.mark.parametrize("source", ["png", "webp", "gif", "heic", "avif", "tiff"])
def test_transparent_stays_transparent(pool: BlockingPool, source: str, target: str) -> None:
    variant = open_image(pool.transform(make_image(source, 90, 60, alpha=True), target, 30))
    assert variant.getpoint(22, 15)[3] < 10
    assert variant.getpoint(2, 2)[3] > 245


def test_palette_with_transparency(pool: BlockingPool) -> None:
    data = make_image("png", 90, 60, alpha=True, palette=True)
    assert data[25] == 3  # the colour type in IHDR: palette
    variant = pool.transform(data, "png", 30)
    assert variant[25] == 3
    assert open_image(variant).getpoint(22, 15)[3] < 10


def test_true_colour_gets_no_palette(pool: BlockingPool) -> None:
    assert pool.transform(make_image("png", 90, 60), "png", 30)[25] == 2


# --- SVG


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("short_edge_px", "size"), [(None, (60, 40)), (20, (30, 20)), (320, (480, 320)), (1080, (1620, 1080))]
)
def test_svg_is_drawn_at_any_size(
    pool: BlockingPool, target: str, short_edge_px: int | None, size: tuple[int, int]
) -> None:
    variant = to_rgb(pool.transform(make_svg(60, 40), target, short_edge_px))
    assert (variant.width, variant.height) == size
    assert variant.getpoint(size[0] // 4, size[1] // 2) == pytest.approx([255, 0, 0], abs=12)
    assert variant.getpoint(size[0] * 3 // 4, size[1] // 2) == pytest.approx([0, 0, 255], abs=12)


def test_a_thin_svg_is_not_drawn_endlessly_long(pool: BlockingPool) -> None:
    variant = open_image(pool.transform(make_svg(16_000, 2), "png", 320))
    assert variant.width == 16_383
