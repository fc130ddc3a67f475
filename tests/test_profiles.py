"""ICC profiles: which are kept, how small they are, and what they say."""

import io
from collections.abc import Iterator

import pillow_heif
import pytest
import pyvips
from images import (
    REAL_IMAGES,
    BlockingPool,
    difference,
    make_photo,
    make_pixels,
    open_image,
)
from similarity import check_variants, colour_difference, reduced, to_rgb

from imgpro_lite.formats import CONVERTIBLE_TO
from imgpro_lite.imaging import icc
from imgpro_lite.imaging.colorants import SRGB, Primaries

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
TARGETS = sorted(CONVERTIBLE_TO)

# What lossy encoders at these qualities may change; a wrong colour space or a picture on its side is 20 and more.
TOLERANCE = 6.0


PROFILE = "icc-profile-data"
ADOBE_RGB = Primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
SMALL = icc.rgb_profile(ADOBE_RGB, icc.gamma_curve(2.2))
LONG = icc.rgb_profile(ADOBE_RGB, icc.sampled_curve([(n / 4095) ** 2.2 for n in range(4096)]))
LINEAR = icc.rgb_profile(ADOBE_RGB, icc.gamma_curve(1.0))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("colour")) as pool:
        yield pool


@pytest.fixture(scope="module")
def photo() -> pyvips.Image:
    return make_photo()


def tagged(photo: pyvips.Image, profile: bytes, depth: int = 8) -> pyvips.Image:
    """The same colours in the space of this profile."""
    image = photo.icc_import(input_profile="srgb").copy()
    image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    return image.icc_export(depth=depth)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("short_edge_px", [None, 30])
def test_a_wide_gamut_is_kept(pool: BlockingPool, target: str, short_edge_px: int | None) -> None:
    wide = make_pixels(90, 60).icc_transform("p3", input_profile="srgb")
    variant = pool.transform(wide.write_to_buffer(".png"), target, short_edge_px)
    assert open_image(variant).get_typeof("icc-profile-data")
    expected = make_pixels(90, 60)
    if short_edge_px:
        expected = expected.thumbnail_image(45, height=30)
    assert difference(to_rgb(variant), expected) < TOLERANCE


def test_an_srgb_profile_is_dropped(pool: BlockingPool) -> None:
    data = make_pixels(90, 60).icc_transform("srgb", input_profile="srgb").write_to_buffer(".png")
    assert open_image(data).get_typeof("icc-profile-data")
    variant = pool.transform(data, "png")
    assert not open_image(variant).get_typeof("icc-profile-data")
    assert difference(to_rgb(variant), make_pixels(90, 60)) < 2


def test_a_profile_that_does_not_fit_is_ignored(pool: BlockingPool) -> None:
    pixels = make_pixels(90, 60).copy()
    pixels.set_type(pyvips.GValue.blob_type, "icc-profile-data", b"not a profile" * 20)
    assert difference(to_rgb(pool.transform(pixels.write_to_buffer(".tif"), "png")), make_pixels(90, 60)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("profile", "depth"), [(SMALL, 8), (SMALL, 16), (LONG, 8), (LONG, 16), (LINEAR, 16)])
def test_a_wide_profile_is_small(
    pool: BlockingPool, photo: pyvips.Image, profile: bytes, depth: int, target: str
) -> None:
    """It stays, or becomes Display P3 if it is large or does not suit 8 bits."""
    image = tagged(photo, profile, depth)
    for format_ in ("png", "tif"):
        made = check_variants(pool, image.write_to_buffer(f".{format_}"), photo, target)
        assert len(made.get(PROFILE)) < 600


def test_what_a_profile_says_in_words_is_not_kept(pool: BlockingPool, photo: pyvips.Image) -> None:
    wordy = SMALL.replace("RGB colours".encode("utf-16-be"), b"SECRET".ljust(22))
    assert b"SECRET" in wordy
    data = tagged(photo, wordy).write_to_buffer(".png", compression=0)
    made = check_variants(pool, data, photo)
    assert b"SECRET" not in made.get(PROFILE)


def test_the_profile_of_a_grey_picture(pool: BlockingPool, photo: pyvips.Image) -> None:
    grey = photo.colourspace("b-w")
    light = grey.colourspace("srgb").colourspace("scrgb")[1]
    stored = ((light ** (1 / 1.4)) * 255).rint().cast("uchar").copy(interpretation="b-w")
    stored.set_type(pyvips.GValue.blob_type, PROFILE, icc.grey_profile(icc.gamma_curve(1.4)))
    for format_, options in (("png", {}), ("tif", {}), ("jpg", {"Q": 95})):
        made = check_variants(pool, stored.write_to_buffer(f".{format_}", **options), grey.colourspace("srgb"))
        assert not made.get_typeof(PROFILE)


@needs_real_images
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_real_wide_picture(pool: BlockingPool, target: str) -> None:
    """A photograph of a telephone, in Display P3."""
    data = (REAL_IMAGES / "iphone.heic").read_bytes()
    variant = pool.transform(data, target, 160, 95)
    picture = pillow_heif.open_heif(io.BytesIO(data))
    full = pyvips.Image.new_from_memory(picture.data, *picture.size, 3, "uchar").copy(interpretation="srgb")
    full.set_type(pyvips.GValue.blob_type, PROFILE, picture.info["icc_profile"])
    expected = reduced(full.icc_transform("srgb", embedded=True), open_image(variant))
    assert colour_difference(to_rgb(variant), expected) < 1.5
    assert 0 < len(open_image(variant).get(PROFILE)) < 600


def test_profiles_that_are_written_are_what_they_say(photo: pyvips.Image) -> None:
    """sRGB and Display P3 as made here, beside libvips' own."""
    display_p3 = Primaries((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
    for primaries, name in ((SRGB, "srgb"), (display_p3, "p3")):
        own = tagged(photo, icc.rgb_profile(primaries, icc.srgb_curve()))
        assert difference(own, photo.icc_transform(name, input_profile="srgb")) < 0.6
    assert icc.is_wide_gamut(icc.rgb_profile(display_p3, icc.srgb_curve()))
    assert not icc.is_wide_gamut(icc.srgb_profile(is_grey=False))


@pytest.mark.parametrize("profile", [b"", b"x" * 131, b"\xff" * 400, icc.srgb_profile(is_grey=False)[:300]])
def test_a_broken_profile_is_none(profile: bytes) -> None:
    assert not icc.is_wide_gamut(profile)
    assert icc.without_texts(profile) is None


@pytest.mark.parametrize(
    "primaries",
    [
        Primaries((0, 0), (0, 0), (0, 0)),
        Primaries((0.3, 0.3), (0.3, 0.3), (0.3, 0.3)),
        Primaries(*[(0.6, 0.3)] * 3, (1, 0)),
    ],
)
def test_primaries_that_span_nothing(primaries: Primaries) -> None:
    with pytest.raises(ValueError, match="primaries"):
        icc.rgb_profile(primaries, icc.srgb_curve())
