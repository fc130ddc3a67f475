"""Variants: every format into every other, upright, in the right colours and size, without metadata.

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
    make_dots_gif,
    make_image,
    make_pixels,
    make_svg,
    open_image,
    to_pillow,
)
from PIL import Image, ImageCms, ImageOps

from imgpro_lite.errors import TransformFailed
from imgpro_lite.formats import CONVERTIBLE_TO, Format

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
TARGETS = sorted(CONVERTIBLE_TO)

# What lossy encoders at these qualities may change; a wrong colour space or a picture on its side is 20 and more.
TOLERANCE = 6.0
GIF_TOLERANCE = 10.0  # 256 colours, dithered


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("transform")) as pool:
        yield pool


def rgb(data: bytes) -> pyvips.Image:
    """The first frame as viewers show it, in three bands of sRGB."""
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    image = image.colourspace("srgb")
    return (image.flatten(background=255) if image.hasalpha() else image).cast("uchar")


# --- formats


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", [format_ for format_ in Format if format_ != Format.SVG])
def test_every_format_into_every_other(pool: BlockingPool, source: Format, target: Format) -> None:
    variant = rgb(pool.transform(make_image(source, 90, 60), target, 30))
    expected = make_pixels(90, 60).thumbnail_image(45, height=30, size="force")
    assert (variant.width, variant.height) == (45, 30)
    assert difference(variant, expected) < (GIF_TOLERANCE if source == Format.GIF else TOLERANCE)


@pytest.mark.parametrize("target", TARGETS)
def test_full_size(pool: BlockingPool, target: Format) -> None:
    variant = rgb(pool.transform(make_image("tiff", 90, 60), target))
    assert difference(variant, make_pixels(90, 60)) < TOLERANCE


@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif", "tiff", "heic", "bmp"])
def test_gif_is_made_of_gif_alone(pool: BlockingPool, source: str) -> None:
    with pytest.raises(TransformFailed):
        pool.transform(make_image(source, 9, 9), "gif")


@pytest.mark.parametrize("options", [{"interlace": True}, {"interlace": True, "subsample_mode": "off"}])
def test_progressive_jpeg(pool: BlockingPool, options: dict[str, object]) -> None:
    variant = rgb(pool.transform(make_image("jpeg", 300, 200, **options), "webp", 100))
    assert difference(variant, make_pixels(300, 200).thumbnail_image(150, height=100)) < TOLERANCE


def test_ten_bit_avif(pool: BlockingPool) -> None:
    deep = (make_pixels(90, 60) * 256).cast("ushort").copy(interpretation="rgb16")
    variant = rgb(pool.transform(deep.write_to_buffer(".avif", bitdepth=10, effort=0, Q=90), "png"))
    assert difference(variant, make_pixels(90, 60)) < TOLERANCE


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
    full = rgb(pool.transform(data, "png"))
    small = rgb(pool.transform(data, "png", 64))
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


def test_avif_has_at_most_16_megapixels(pool: BlockingPool) -> None:
    variant = open_image(pool.transform(make_image("png", 5000, 4000), "avif"))
    assert (variant.width, variant.height) == (4472, 3578)


# --- upright


@needs_real_images
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("short_edge_px", [None, 200])
def test_real_orientations(pool: BlockingPool, orientation: int, short_edge_px: int | None) -> None:
    upright = rgb(pool.transform((REAL_IMAGES / "Landscape_1.jpg").read_bytes(), "png", short_edge_px))
    turned = rgb(pool.transform((REAL_IMAGES / f"Landscape_{orientation}.jpg").read_bytes(), "png", short_edge_px))
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
    variant = rgb(pool.transform(file.getvalue(), "png", 30))

    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored).resize((variant.width, variant.height), Image.Resampling.LANCZOS)
    assert variant.width == (45 if orientation < 5 else 30)
    assert difference(variant, pyvips.Image.new_from_array(upright)) < TOLERANCE


# --- colour


@pytest.mark.parametrize("target", TARGETS)
def test_cmyk(pool: BlockingPool, target: str) -> None:
    file = io.BytesIO()
    to_pillow(make_pixels(90, 60)).convert("CMYK").save(file, format="JPEG", quality=95)
    # Without a profile the ink is anybody's guess: libvips' is duller than Pillow's.
    assert difference(rgb(pool.transform(file.getvalue(), target)), make_pixels(90, 60)) < 40


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
    assert difference(rgb(variant), pyvips.Image.new_from_array(light)) < 3
    assert not open_image(variant).get_typeof("icc-profile-data")


@pytest.mark.parametrize("bands", ["rgb", "grey"])
@pytest.mark.parametrize("format_", ["png", "tif"])
@pytest.mark.parametrize("target", TARGETS)
def test_sixteen_bits(pool: BlockingPool, bands: str, format_: str, target: str) -> None:
    pixels = make_pixels(90, 60) if bands == "rgb" else make_pixels(90, 60)[0].copy(interpretation="b-w")
    deep = (pixels * 257).cast("ushort").copy(interpretation="rgb16" if bands == "rgb" else "grey16")
    variant = pool.transform(deep.write_to_buffer(f".{format_}"), target)
    assert open_image(variant).format == "uchar"
    assert difference(rgb(variant), rgb(pixels.write_to_buffer(".png"))) < TOLERANCE


def test_lab_tiff(pool: BlockingPool) -> None:
    data = make_pixels(90, 60).colourspace("lab").write_to_buffer(".tif")
    assert difference(rgb(pool.transform(data, "png")), make_pixels(90, 60)) < TOLERANCE


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("short_edge_px", [None, 30])
def test_a_wide_gamut_is_kept(pool: BlockingPool, target: str, short_edge_px: int | None) -> None:
    wide = make_pixels(90, 60).icc_transform("p3", input_profile="srgb")
    variant = pool.transform(wide.write_to_buffer(".png"), target, short_edge_px)
    assert open_image(variant).get_typeof("icc-profile-data")
    expected = make_pixels(90, 60)
    if short_edge_px:
        expected = expected.thumbnail_image(45, height=30)
    assert difference(rgb(variant), expected) < TOLERANCE


def test_an_srgb_profile_is_dropped(pool: BlockingPool) -> None:
    data = make_pixels(90, 60).icc_transform("srgb", input_profile="srgb").write_to_buffer(".png")
    assert open_image(data).get_typeof("icc-profile-data")
    variant = pool.transform(data, "png")
    assert not open_image(variant).get_typeof("icc-profile-data")
    assert difference(rgb(variant), make_pixels(90, 60)) < 2


def test_a_profile_that_does_not_fit_is_ignored(pool: BlockingPool) -> None:
    pixels = make_pixels(90, 60).copy()
    pixels.set_type(pyvips.GValue.blob_type, "icc-profile-data", b"not a profile" * 20)
    assert difference(rgb(pool.transform(pixels.write_to_buffer(".tif"), "png")), make_pixels(90, 60)) < TOLERANCE


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


# --- animation


@pytest.mark.parametrize("source", ["gif", "webp"])
@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize("short_edge_px", [None, 20])
def test_animations_stay_animated(pool: BlockingPool, source: str, target: str, short_edge_px: int | None) -> None:
    if (source, target) == ("webp", "gif"):
        pytest.skip("GIF is made of GIF alone")
    data = make_animation(source, 60, 40, 5)
    variant = open_image(pool.transform(data, target, short_edge_px))
    assert variant.get("n-pages") == 5
    assert variant.get("delay") == [100] * 5
    original = open_image(data)
    for frame in range(5):
        colour = variant.getpoint(5, frame * variant.get("page-height") + 5)
        assert colour[:3] == pytest.approx(original.getpoint(5, frame * 40 + 5)[:3], abs=12)


@pytest.mark.parametrize("target", ["jpeg", "png", "avif"])
def test_other_formats_show_the_first_frame(pool: BlockingPool, target: str) -> None:
    data = make_animation("gif", 60, 40, 5)
    variant = pool.transform(data, target)
    assert difference(rgb(variant), rgb(data)) < TOLERANCE


@pytest.mark.parametrize("target", ["gif", "webp"])
def test_long_animations_show_the_first_frame(pool: BlockingPool, target: str) -> None:
    """60 frames of 1000 x 1000 are 60 megapixels, 50 is the most."""
    variant = open_image(pool.transform(make_dots_gif(1000, 1000, 60), target, 320))
    assert (variant.width, variant.height) == (320, 320)
    assert not variant.get_typeof("n-pages") or variant.get("n-pages") == 1


# --- metadata

SECRETS = (b"GPS-SECRET", b"Exif", b"http://ns.adobe.com/xap", b"Photoshop 3.0", b"COMMENT-SECRET", b"XMP-SECRET")


def _photo_with_metadata(format_: str) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "GPS-SECRET"
    exif.get_ifd(0x8825)[29] = "GPS-SECRET"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">XMP-SECRET</x:xmpmeta>'
    file = io.BytesIO()
    extra = {"comment": b"COMMENT-SECRET"} if format_ == "jpeg" else {}
    to_pillow(make_pixels(90, 60)).save(file, format=format_, exif=exif, xmp=xmp, **extra)
    data = file.getvalue()
    if format_ == "jpeg":  # and IPTC, as Photoshop writes it
        body = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0f\x1c\x02\x78\x00\x0aGPS-SECRET\x00"
        data = data[:2] + b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]
    return data


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("short_edge_px", [None, 30])
def test_no_metadata_is_left(pool: BlockingPool, source: str, target: str, short_edge_px: int | None) -> None:
    data = _photo_with_metadata(source)
    assert b"GPS-SECRET" in data
    variant = pool.transform(data, target, short_edge_px)
    assert [secret for secret in SECRETS if secret in variant] == []


@needs_real_images
@pytest.mark.parametrize("target", TARGETS)
def test_no_metadata_is_left_of_a_real_file(pool: BlockingPool, target: str) -> None:
    variant = pool.transform((REAL_IMAGES / "exif-xmp-iptc.heic").read_bytes(), target)
    fields = open_image(variant).get_fields()
    assert not {"exif-data", "xmp-data", "iptc-data"} & set(fields)


# --- SVG


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("short_edge_px", "size"), [(None, (60, 40)), (20, (30, 20)), (320, (480, 320)), (1080, (1620, 1080))]
)
def test_svg_is_drawn_at_any_size(
    pool: BlockingPool, target: str, short_edge_px: int | None, size: tuple[int, int]
) -> None:
    variant = rgb(pool.transform(make_svg(60, 40), target, short_edge_px))
    assert (variant.width, variant.height) == size
    assert variant.getpoint(size[0] // 4, size[1] // 2) == pytest.approx([255, 0, 0], abs=12)
    assert variant.getpoint(size[0] * 3 // 4, size[1] // 2) == pytest.approx([0, 0, 255], abs=12)


def test_a_thin_svg_is_not_drawn_endlessly_long(pool: BlockingPool) -> None:
    variant = open_image(pool.transform(make_svg(16_000, 2), "png", 320))
    assert variant.width == 16_383
