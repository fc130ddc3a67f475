"""Colours: ink, depths and kinds of numbers."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import pyvips
from images import (
    REAL_IMAGES,
    BlockingPool,
    add_png_chunks,
    difference,
    encode,
    make_photo,
    make_pixels,
    open_image,
    to_pillow,
    to_sixteen_bits,
)
from PIL import Image, ImageCms
from similarity import check_variants, to_rgb

from imgpro_lite.formats import CONVERTIBLE_TO
from imgpro_lite.imaging import icc
from imgpro_lite.imaging.colorants import Primaries

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
TARGETS = sorted(CONVERTIBLE_TO)

# What lossy encoders at these qualities may change; a wrong colour space or a picture on its side is 20 and more.
TOLERANCE = 6.0


PROFILE = "icc-profile-data"
ADOBE_RGB = Primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
LINEAR = icc.rgb_profile(ADOBE_RGB, icc.gamma_curve(1.0))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("colour")) as pool:
        yield pool


@pytest.fixture(scope="module")
def photo() -> pyvips.Image:
    return make_photo()


def save_by_pillow(picture: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


# --- ink


@pytest.mark.parametrize("target", TARGETS)
def test_cmyk(pool: BlockingPool, target: str) -> None:
    file = io.BytesIO()
    to_pillow(make_pixels(90, 60)).convert("CMYK").save(file, format="JPEG", quality=95)
    # Without a profile the ink is anybody's guess: libvips' is duller than Pillow's.
    assert difference(to_rgb(pool.transform(file.getvalue(), target)), make_pixels(90, 60)) < 40


@needs_real_images
def test_cmyk_with_a_profile(pool: BlockingPool) -> None:
    data = (REAL_IMAGES / "cmyk.jpg").read_bytes()
    ink = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(ink.info["icc_profile"]))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    light = ImageCms.profileToProfile(
        ink, profile, ImageCms.createProfile("sRGB"), renderingIntent=intent, outputMode="RGB", flags=flags
    )
    assert light is not None
    variant = pool.transform(data, "png")
    assert difference(to_rgb(variant), pyvips.Image.new_from_array(light)) < 3
    assert not open_image(variant).get_typeof("icc-profile-data")


@pytest.mark.parametrize("options", [{"quality": 95, "keep_rgb": True, "subsampling": 0}, {"quality": 95}])
def test_jpeg_of_rgb_and_of_ycbcr(pool: BlockingPool, photo: pyvips.Image, options: dict[str, Any]) -> None:
    """Adobe's marker says whether there was a transform."""
    check_variants(pool, save_by_pillow(to_pillow(photo), "JPEG", **options), photo)


@pytest.mark.parametrize("format_", ["jpg", "tif"])
@pytest.mark.parametrize("has_profile", [True, False])
def test_cmyk_like_libvips_own_profile(
    pool: BlockingPool, photo: pyvips.Image, format_: str, has_profile: bool
) -> None:
    ink = photo.icc_transform("cmyk", input_profile="srgb").copy()
    shown = ink.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
    if not has_profile:
        ink.remove(PROFILE)
    made = check_variants(pool, ink.write_to_buffer(f".{format_}", Q=95), shown)
    assert made.bands == 3
    assert not made.get_typeof(PROFILE)


# --- numbers


@pytest.mark.parametrize("bands", ["rgb", pytest.param("grey", marks=pytest.mark.slow)])
@pytest.mark.parametrize("format_", ["png", "tif"])
@pytest.mark.parametrize("target", TARGETS)
def test_sixteen_bits(pool: BlockingPool, bands: str, format_: str, target: str) -> None:
    pixels = make_pixels(90, 60) if bands == "rgb" else make_pixels(90, 60)[0].copy(interpretation="b-w")
    deep = (pixels * 257).cast("ushort").copy(interpretation="rgb16" if bands == "rgb" else "grey16")
    variant = pool.transform(deep.write_to_buffer(f".{format_}"), target)
    assert open_image(variant).format == "uchar"
    assert difference(to_rgb(variant), to_rgb(pixels.write_to_buffer(".png"))) < TOLERANCE


def test_lab_tiff(pool: BlockingPool) -> None:
    data = make_pixels(90, 60).colourspace("lab").write_to_buffer(".tif")
    assert difference(to_rgb(pool.transform(data, "png")), make_pixels(90, 60)) < TOLERANCE


@pytest.mark.parametrize("bands", ["rgb", "grey"])
@pytest.mark.parametrize("format_", ["png", "tif"])
def test_sixteen_bits_with_transparency(pool: BlockingPool, photo: pyvips.Image, format_: str, bands: str) -> None:
    pixels = photo if bands == "rgb" else photo.colourspace("b-w")
    alpha = (pyvips.Image.xyz(photo.width, photo.height)[0] * (255 / photo.width)).cast("uchar")
    data = to_sixteen_bits(pixels.bandjoin(alpha)).write_to_buffer(f".{format_}")
    made = check_variants(pool, data, pixels.bandjoin(alpha).flatten(background=255).colourspace("srgb"))
    assert made.hasalpha()
    assert (made[made.bands - 1] - alpha).abs().max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_associated_alpha_in_tiff(pool: BlockingPool, photo: pyvips.Image, depth: int) -> None:
    alpha = (pyvips.Image.xyz(photo.width, photo.height)[0] * (255 / photo.width)).cast("uchar")
    pixels = photo.bandjoin(alpha)
    stored = pixels if depth == 8 else to_sixteen_bits(pixels)
    check_variants(pool, stored.write_to_buffer(".tif", premultiply=True), pixels.flatten(background=255))


def test_one_colour_of_sixteen_bits_is_transparent(pool: BlockingPool) -> None:
    """PNG's tRNS: of two greens that are the same in 8 bits, one."""
    greens = [pyvips.Image.black(20, 20, bands=3).linear(1, [0, green, 0]) for green in (40_000, 40_001)]
    stored = pyvips.Image.arrayjoin(greens).cast("ushort").copy(interpretation="rgb16")
    png = add_png_chunks(encode(stored, "png"), tRNS=struct.pack(">HHH", 0, 40_001, 0))
    variant = open_image(pool.transform(png, "png"))
    assert [variant.getpoint(x, 10)[3] for x in (10, 30)] == [255, 0]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP"])
def test_one_bit(pool: BlockingPool, photo: pyvips.Image, format_: str) -> None:
    picture = to_pillow(photo).convert("1")
    options = {"compression": "group4"} if format_ == "TIFF" else {}
    shown = pyvips.Image.new_from_array(picture.convert("RGB")).copy(interpretation="srgb")
    check_variants(pool, save_by_pillow(picture, format_, **options), shown)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP", "GIF"])
def test_palette(pool: BlockingPool, photo: pyvips.Image, format_: str) -> None:
    picture = to_pillow(photo).quantize(64)
    shown = pyvips.Image.new_from_array(picture.convert("RGB")).copy(interpretation="srgb")
    check_variants(pool, save_by_pillow(picture, format_), shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "options"),
    [("jpg", {"Q": 95}), ("png", {}), ("webp", {"Q": 95}), ("tif", {}), ("tif", {"miniswhite": True}), ("avif", {})],
)
def test_grey(pool: BlockingPool, photo: pyvips.Image, format_: str, options: dict[str, Any]) -> None:
    grey = photo.colourspace("b-w")
    for target in TARGETS:
        check_variants(pool, grey.write_to_buffer(f".{format_}", **options), grey.colourspace("srgb"), target)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["float", "uint", "int", "short"])
@pytest.mark.parametrize("bands", ["rgb", "grey"])
def test_unusual_numbers_in_tiff(pool: BlockingPool, photo: pyvips.Image, bands: str, format_: str) -> None:
    """Light from 0 to 1; 32 bits; and with signs, of which only half is used."""
    shown = photo if bands == "rgb" else photo.colourspace("b-w")
    if format_ == "float":
        stored = shown.colourspace("scrgb")
        stored = stored if bands == "rgb" else stored[1].copy(interpretation="b-w")
    else:
        stored = (shown.cast("double") * {"uint": 2**32 / 255, "int": 2**31 / 255, "short": 2**15 / 255}[format_]).cast(
            format_
        )
    check_variants(pool, stored.write_to_buffer(".tif"), shown.colourspace("srgb"))


@pytest.mark.parametrize("orientation", [1, 6])
def test_lab_tiff_of_eight_bits(pool: BlockingPool, photo: pyvips.Image, orientation: int) -> None:
    """As Photoshop writes it; libvips cannot read its own."""
    data = photo.colourspace("labq").write_to_buffer(".tif")
    with pytest.raises(pyvips.Error):
        open_image(data)
    picture = Image.open(io.BytesIO(data))
    data = save_by_pillow(picture, "TIFF", tiffinfo={0x0112: orientation}, compression="tiff_lzw")
    probed = pool.probe(data)
    assert (probed.width, probed.height) == ((240, 160) if orientation == 1 else (160, 240))
    check_variants(pool, data, photo if orientation == 1 else photo.rot90())
