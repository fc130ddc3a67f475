"""First views: made from what was kept of the upload, and as good as if made from the original."""

import functools
import io
from collections.abc import Iterator

import pytest
import pyvips
from conftest import Api, ApiFactory
from images import difference, make_animation, make_image, make_pixels, open_image, to_pillow
from PIL import Image, ImageCms
from shared import serve
from views import (
    INTERMEDIATES,
    forget_variants,
    get_picture,
    intermediates,
    original,
    put,
    wait_until_prepared,
)

from imgpro_lite.formats import Format, sniff

# Just above 2 megapixels, from which on intermediates are kept.
LARGE = (1700, 1300)

# A variant that is made from an intermediate may differ from the original by so much more than one that is made
# directly, in steps of 0 to 255, and have so many times its bytes.
MORE_DIFFERENCE = 0.5
MORE_BYTES = 1.05


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all pictures."""
    with serve(tmp_path_factory.mktemp("shared"), uploads={"strip_location": "never"}) as api:
        yield api


def prepare(api: Api, content: bytes) -> str:
    """Upload a picture, of which intermediates are made, and lose the original: the address without extension."""
    stem = put(api, content)
    wait_until_prepared(api)
    assert set(intermediates(api, content)) == INTERMEDIATES
    original(api, content).unlink()
    return stem


@functools.cache
def make_photograph(format_: str) -> bytes:
    """Colours, soft shapes and some noise."""
    shapes = pyvips.Image.perlin(*LARGE, cell_size=100, seed=1) * 60
    grain = pyvips.Image.gaussnoise(*LARGE, sigma=3, seed=1)
    pixels = (make_pixels(*LARGE) + shapes + grain).cast("uchar").copy(interpretation="srgb")
    return bytes(pixels.write_to_buffer(f".{format_}", Q=90))


def make_drawing(format_: str) -> bytes:
    """A picture with a palette."""
    file = io.BytesIO()
    to_pillow(make_pixels(*LARGE)).quantize(16, Image.Quantize.FASTOCTREE).save(file, format=format_)
    return file.getvalue()


def shown(image: pyvips.Image) -> pyvips.Image:
    """As viewers show it, in three bands of sRGB."""
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    image = image.colourspace("srgb")
    return (image.flatten(background=255) if image.hasalpha() else image).cast("uchar")


def resized(image: pyvips.Image, like: pyvips.Image) -> pyvips.Image:
    return image.thumbnail_image(like.width, height=like.height, size="force")


# --- which uploads


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "size", "alpha", "edges", "kept_as"),
    [
        ("jpeg", LARGE, False, INTERMEDIATES, Format.JPEG),
        ("heic", LARGE, False, INTERMEDIATES, Format.JPEG),
        ("avif", LARGE, False, INTERMEDIATES, Format.JPEG),
        ("heic", LARGE, True, INTERMEDIATES, Format.PNG),
        ("png", LARGE, False, INTERMEDIATES, Format.PNG),
        ("png", LARGE[::-1], True, INTERMEDIATES, Format.PNG),
        ("webp", LARGE, False, INTERMEDIATES, Format.PNG),
        ("tiff", LARGE, False, INTERMEDIATES, Format.PNG),
        ("bmp", LARGE, False, INTERMEDIATES, Format.PNG),
        # What is decoded quickly, or not larger than the size.
        ("jpeg", (1500, 1333), False, set(), None),
        ("jpeg", (2000, 1000), False, {640}, Format.JPEG),
        ("jpeg", (1080, 2000), False, {640}, Format.JPEG),
        ("jpeg", (4000, 600), False, set(), None),
        # What would not be small: 10,800 x 1,080 pixels, or 640 x 18,286.
        ("jpeg", (12_000, 1200), False, {640}, Format.JPEG),
        ("jpeg", (700, 20_000), False, set(), None),
        ("svg", (3000, 2000), False, set(), None),
    ],
)
def test_large_still_pictures_are_kept_reduced(
    shared: Api, format_: str, size: tuple[int, int], alpha: bool, edges: set[int], kept_as: Format | None
) -> None:
    options = {"enc_params": {"preset": "ultrafast"}} if format_ == "heic" else {}
    content = make_image(format_, *size, alpha=alpha, **options)
    put(shared, content)
    wait_until_prepared(shared)
    kept = intermediates(shared, content)
    assert set(kept) == edges
    for edge_px, path in kept.items():
        reduced = path.read_bytes()
        picture = open_image(reduced)
        assert sniff(reduced) == kept_as
        assert min(picture.width, picture.height) == edge_px
        assert (picture.width > picture.height) is (size[0] > size[1])
        assert bool(picture.hasalpha()) is alpha


@pytest.mark.parametrize("format_", ["gif", "webp"])
def test_animations_are_not(shared: Api, format_: str) -> None:
    content = make_animation(format_, 1500, 1400, 2)
    stem = put(shared, content)
    wait_until_prepared(shared)
    assert intermediates(shared, content) == {}
    assert get_picture(shared, f"{stem}.{format_}?size=s").get("n-pages") == 2


def test_a_picture_with_a_palette_is_not(shared: Api) -> None:
    """Reduced, it would have more colours, and a PNG variant of that four times the bytes."""
    content = make_drawing("PNG")
    stem = put(shared, content)
    wait_until_prepared(shared)
    assert intermediates(shared, content) == {}
    variant = shared.client.get(f"{stem}.png?size=l").content
    assert variant[25] == 3  # the colour type in IHDR: palette


def test_a_large_gif_that_does_not_move(shared: Api) -> None:
    stem = put(shared, make_drawing("GIF"))
    for extension in ("gif", "png", "webp", "jpeg"):
        assert sniff(shared.client.get(f"{stem}.{extension}?size=s").content) == extension


# --- as good as from the original


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
def test_a_variant_is_as_good_as_one_from_the_original(start: ApiFactory, format_: str) -> None:
    content = make_photograph(format_)
    api = start(cache={"intermediates_mb": 0})
    stem = put(api, content)
    addresses = [f"{stem}.{extension}?size=m" for extension in ("jpeg", "webp", "avif", "png")]
    slow = [api.client.get(address).content for address in addresses]
    api = start()  # the same library, with intermediates from now on
    put(api, content)
    wait_until_prepared(api)
    assert set(intermediates(api, content)) == INTERMEDIATES
    forget_variants(api)
    for address, before in zip(addresses, slow, strict=True):
        quick = api.client.get(address).content
        one, other = shown(open_image(quick)), shown(open_image(before))
        assert (one.width, one.height) == (other.width, other.height)
        ideal = resized(shown(open_image(content)), one)
        assert difference(one, ideal) < difference(other, ideal) + MORE_DIFFERENCE, address
        assert one.dE00(other).avg() < 1, address
        assert len(quick) < len(before) * MORE_BYTES, address


def test_lossless_variants_of_photographs_show_nothing_of_jpeg(shared: Api) -> None:
    """They are made from the original, and from nothing else."""
    content = make_photograph("jpeg")
    stem = prepare(shared, content)
    assert shared.client.get(f"{stem}.webp?size=s").status_code == 200
    assert shared.client.get(f"{stem}.png?size=s").status_code == 422
    original(shared, content).write_bytes(content)
    variant = get_picture(shared, f"{stem}.png?size=s")
    assert difference(variant, resized(open_image(content), variant)) < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (3024, 4032, [(320, 427), (640, 853), (1080, 1440)]),
        (2725, 2225, [(392, 320), (784, 640), (1323, 1080)]),
        (4001, 2003, [(639, 320), (1278, 640), (2157, 1080)]),
        (1081, 2999, [(320, 888), (640, 1776), (1080, 2996)]),
        (1999, 1501, [(426, 320), (852, 640), (1438, 1080)]),
    ],
)
def test_sizes_are_those_of_the_original(shared: Api, width: int, height: int, expected: list[tuple[int, int]]) -> None:
    """An intermediate's own proportions are rounded; rounding them again would be a pixel off here and there."""
    stem = prepare(shared, make_image("jpeg", width, height))
    for size, dimensions in zip("sml", expected, strict=True):
        picture = get_picture(shared, f"{stem}.webp?size={size}")
        assert (picture.width, picture.height) == dimensions, size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "orientation"), [("JPEG", 3), ("JPEG", 5), ("JPEG", 6), ("PNG", 6), ("WEBP", 7), ("TIFF", 8)]
)
def test_upright(shared: Api, format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pixels = make_pixels(*LARGE)
    to_pillow(pixels).save(file, format=format_, exif=exif)
    stem = prepare(shared, file.getvalue())
    turned = pixels.copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    for size in "sl":
        picture = get_picture(shared, f"{stem}.jpeg?size={size}")
        assert (picture.width < picture.height) is (orientation > 4)
        assert difference(picture, resized(turned.autorot(), picture)) < 4


@pytest.mark.parametrize("format_", ["png", "webp", "tiff"])
def test_transparency(shared: Api, format_: str) -> None:
    stem = prepare(shared, make_image(format_, *LARGE, alpha=True))
    clear = get_picture(shared, f"{stem}.webp?size=m")
    assert clear.getpoint(clear.width // 2, clear.height // 2)[3] < 10
    assert clear.getpoint(2, 2)[3] > 245
    flat = get_picture(shared, f"{stem}.jpeg?size=m")
    assert min(flat.getpoint(flat.width // 2, flat.height // 2)) > 245


@pytest.mark.parametrize("format_", ["jpeg", "png"])
def test_a_wide_gamut_is_kept(shared: Api, format_: str) -> None:
    wide = make_pixels(*LARGE).icc_transform("p3", input_profile="srgb")
    content = wide.write_to_buffer(f".{format_}", Q=95)
    stem = prepare(shared, content)
    for path in intermediates(shared, content).values():
        assert open_image(path.read_bytes()).get_typeof("icc-profile-data")
    for extension in ("jpeg", "webp", "avif"):
        variant = get_picture(shared, f"{stem}.{extension}?size=s")
        assert variant.get_typeof("icc-profile-data"), extension
        assert shown(variant).dE00(resized(make_pixels(*LARGE), variant)).avg() < 3, extension


# --- nothing that the picture does not show


def test_an_ordinary_profile_is_dropped(shared: Api) -> None:
    file = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    to_pillow(make_pixels(*LARGE)).save(file, format="JPEG", icc_profile=profile)
    stem = prepare(shared, file.getvalue())
    kept = [open_image(path.read_bytes()) for path in intermediates(shared, file.getvalue()).values()]
    for picture in (*kept, get_picture(shared, f"{stem}.webp?size=s")):
        assert not picture.get_typeof("icc-profile-data")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_no_metadata_is_kept(shared: Api, format_: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "TELL-NOBODY"
    exif.get_ifd(0x8825)[29] = "TELL-NOBODY"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">TELL-NOBODY</x:xmpmeta>'
    extra = {"comment": b"TELL-NOBODY"} if format_ == "JPEG" else {}
    file = io.BytesIO()
    to_pillow(make_pixels(*LARGE)).save(file, format=format_, exif=exif, xmp=xmp, **extra)
    assert b"TELL-NOBODY" in file.getvalue()
    stem = prepare(shared, file.getvalue())
    made = [shared.client.get(f"{stem}.{extension}?size=s").content for extension in ("jpeg", "webp", "avif")]
    made += [path.read_bytes() for path in intermediates(shared, file.getvalue()).values()]
    for content in made:
        assert not [text for text in (b"TELL-NOBODY", b"Exif", b"xmpmeta", b"http://ns.adobe.com") if text in content]
        assert not {"exif-data", "xmp-data", "iptc-data"} & set(open_image(content).get_fields())
