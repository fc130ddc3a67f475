"""Colour spaces that files tell in other ways than by an ICC profile: PNG by chunks, AVIF and HEIC by the nclx box."""

import struct
from collections.abc import Iterator

import pytest
import pyvips
from images import (
    REAL_IMAGES,
    BlockingPool,
    add_png_chunks,
    encode,
    make_photo,
    open_image,
    to_sixteen_bits,
)
from similarity import check_variants, colour_difference, to_rgb

from imgpro_lite.formats import CONVERTIBLE_TO

TARGETS = sorted(CONVERTIBLE_TO)


SRGB_CHROMATICITIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
P3_CHROMATICITIES = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("told")) as pool:
        yield pool


@pytest.fixture(scope="module")
def photo() -> pyvips.Image:
    return make_photo()


def without_profile(image: pyvips.Image) -> pyvips.Image:
    image = image.copy()
    image.remove("icc-profile-data")
    return image


def in_p3(photo: pyvips.Image, depth: int = 8) -> pyvips.Image:
    """The same colours as numbers of Display P3, untagged."""
    return without_profile(photo.icc_transform("p3", input_profile="srgb", depth=depth))


def with_gamma(photo: pyvips.Image, gamma: float, *, deep: bool = False) -> pyvips.Image:
    """The same colours as light to the power of this gamma, which is 1 for light itself."""
    stored = ((photo.colourspace("scrgb") if photo.bands > 2 else light_of_grey(photo)) ** gamma).cast("float")
    if deep:
        return (stored * 65_535).rint().cast("ushort").copy(interpretation="rgb16" if photo.bands > 2 else "grey16")
    return (stored * 255).rint().cast("uchar").copy(interpretation="srgb" if photo.bands > 2 else "b-w")


def light_of_grey(grey: pyvips.Image) -> pyvips.Image:
    return grey.colourspace("srgb").colourspace("scrgb")[1]


def gamma_chunk(gamma: float) -> bytes:
    return struct.pack(">I", round(gamma * 100_000))


# --- PNG


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
@pytest.mark.parametrize("bands", ["rgb", "grey"])
def test_png_gamma(pool: BlockingPool, photo: pyvips.Image, bands: str, gamma: float) -> None:
    shown = photo if bands == "rgb" else photo.colourspace("b-w")
    data = add_png_chunks(encode(with_gamma(shown, gamma, deep=True), "png"), gAMA=gamma_chunk(gamma))
    made = check_variants(pool, data, shown.colourspace("srgb"))
    assert not made.get_typeof("icc-profile-data")


def test_png_gamma_of_eight_bits_with_transparency(pool: BlockingPool, photo: pyvips.Image) -> None:
    stored = with_gamma(photo, 1 / 1.8).bandjoin(255)
    stored = stored.insert(pyvips.Image.black(40, 40, bands=4), 0, 0).copy(interpretation="srgb")
    made = open_image(pool.transform(add_png_chunks(encode(stored, "png"), gAMA=gamma_chunk(1 / 1.8)), "png"))
    assert made.getpoint(5, 5)[3] == 0
    assert made.getpoint(200, 100)[3] == 255
    assert (
        colour_difference(made[0:3].copy(interpretation="srgb").crop(40, 40, 200, 120), photo.crop(40, 40, 200, 120))
        < 1
    )


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": gamma_chunk(1 / 2.2)},
        {"gAMA": gamma_chunk(0.45455 * 1.04)},
        {"gAMA": gamma_chunk(0.0)},
        {"gAMA": gamma_chunk(200.0)},
        {"gAMA": b""},
        {"sRGB": b"\0", "gAMA": gamma_chunk(1.0)},
        {"gAMA": gamma_chunk(1 / 2.2), "cHRM": struct.pack(">8I", *SRGB_CHROMATICITIES)},
        {"cHRM": struct.pack(">8I", *P3_CHROMATICITIES)},  # without gAMA browsers do not count it either
        {"gAMA": gamma_chunk(1 / 2.2), "cHRM": struct.pack(">8I", *[0] * 8)},
        {"gAMA": gamma_chunk(1 / 2.2), "cHRM": struct.pack(">8I", *[33_000] * 8)},
        {"cICP": bytes([1, 13, 0, 1])},
        {"cICP": bytes([1, 13, 0, 1]), "gAMA": gamma_chunk(1.0)},
        {"cICP": bytes([2, 2, 0, 1])},
        {"cICP": bytes([12, 13, 1, 1])},  # a matrix is not allowed
        {"cICP": bytes([12])},
    ],
)
def test_png_chunks_that_change_nothing(pool: BlockingPool, photo: pyvips.Image, chunks: dict[str, bytes]) -> None:
    variant = open_image(pool.transform(add_png_chunks(encode(photo, "png"), **chunks), "png", 160))
    assert not variant.get_typeof("icc-profile-data")
    assert (variant - photo).abs().max() == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("depth", [8, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "chunks",
    [{"cICP": bytes([12, 13, 0, 1])}, {"gAMA": gamma_chunk(1 / 2.2), "cHRM": struct.pack(">8I", *P3_CHROMATICITIES)}],
)
def test_png_display_p3(
    pool: BlockingPool, photo: pyvips.Image, chunks: dict[str, bytes], depth: int, target: str
) -> None:
    made = check_variants(pool, add_png_chunks(encode(in_p3(photo, depth), "png"), **chunks), photo, target)
    assert len(made.get("icc-profile-data")) < 600


def test_png_cicp_wins_over_a_profile(pool: BlockingPool, photo: pyvips.Image) -> None:
    tagged = encode(photo, "png", profile="p3")
    assert open_image(tagged).get_typeof("icc-profile-data")
    made = check_variants(pool, add_png_chunks(tagged, cICP=bytes([1, 13, 0, 1])), photo)
    assert not made.get_typeof("icc-profile-data")


@pytest.mark.parametrize("chunks", [{"gAMA": gamma_chunk(1.0)}, {"sRGB": b"\0"}])
def test_png_profile_wins_over_older_chunks(pool: BlockingPool, photo: pyvips.Image, chunks: dict[str, bytes]) -> None:
    tagged = encode(photo.icc_transform("p3", input_profile="srgb"), "png")
    check_variants(pool, add_png_chunks(tagged, **chunks), photo)


@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
def test_real_linear_png(pool: BlockingPool) -> None:
    """Made by OpenImageIO: gAMA says 1, so 0x3770 of 0xffff is a middle grey."""
    data = (REAL_IMAGES / "sixteen-bit-linear.png").read_bytes()
    stored, shown = pyvips.Image.new_from_buffer(data, ""), open_image(pool.transform(data, "png"))
    light = stored.getpoint(300, 300)[1] / 65_535
    expected = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    assert shown.getpoint(300, 300)[1] / 255 == pytest.approx(expected, abs=0.01)


# --- AVIF and HEIC


def tell_nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    """The AVIF or HEIC with other code points in its colr box, or with them instead of an ICC profile there."""
    kind = data.index(b"colr") + 4
    box_bytes = int.from_bytes(data[kind - 8 : kind - 4], "big")
    content = b"nclx" + struct.pack(">HHHB", primaries, transfer, 6, 0x80)
    return data[:kind] + content.ljust(box_bytes - 8, b"\0") + data[kind + box_bytes - 8 :]


def encode_with_nclx(image: pyvips.Image, source: str, primaries: int, transfer: int) -> bytes:
    """An AVIF of 8 or 10 bits, or a HEIC, whose colours are told by code points alone."""
    if source == "heic":
        return tell_nclx(encode(image, "heic", quality=95, color_primaries=1), primaries, transfer)
    bits = 10 if image.format == "ushort" else 8
    return tell_nclx(encode(image, "avif", bitdepth=bits, profile="p3", keep="icc"), primaries, transfer)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", ["heic", pytest.param("avif", marks=pytest.mark.slow), "avif of 10 bits"])
def test_display_p3_by_nclx(pool: BlockingPool, photo: pyvips.Image, source: str, target: str) -> None:
    pixels = in_p3(photo, 16 if source == "avif of 10 bits" else 8)
    made = check_variants(pool, encode_with_nclx(pixels, source, 12, 13), photo, target)
    assert len(made.get("icc-profile-data")) < 600


@pytest.mark.slow
@pytest.mark.parametrize("source", ["heic", "avif", "avif of 10 bits"])
@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (1, 6), (22, 7)])
def test_nclx_that_is_as_good_as_srgb(
    pool: BlockingPool, photo: pyvips.Image, source: str, primaries: int, transfer: int
) -> None:
    pixels = to_sixteen_bits(photo) if source == "avif of 10 bits" else photo
    made = check_variants(pool, encode_with_nclx(pixels, source, primaries, transfer), photo)
    assert not made.get_typeof("icc-profile-data")


def test_a_profile_wins_over_nclx(pool: BlockingPool, photo: pyvips.Image) -> None:
    """As cameras write them: P3 as a profile, and an nclx of sRGB for the matrix."""
    tagged = photo.icc_transform("p3", input_profile="srgb")
    check_variants(pool, encode(tagged, "avif", keep="icc"), photo)


def test_rec_2020_by_nclx(pool: BlockingPool, photo: pyvips.Image) -> None:
    """Red, green and blue of Rec. 2020 are far outside of sRGB; white and grey are the same."""
    patches = [
        pyvips.Image.black(40, 40, bands=3) + colour for colour in ([128, 128, 128], [255, 255, 255], [0, 200, 0])
    ]
    pixels = pyvips.Image.arrayjoin(patches).cast("uchar").copy(interpretation="srgb")
    made = pool.transform(encode_with_nclx(pixels, "avif", 9, 13), "png")
    profile = open_image(made).get("icc-profile-data")
    assert len(profile) < 600
    lab = open_image(made).icc_import(embedded=True)
    assert lab.getpoint(20, 20) == pytest.approx([53.6, 0, 0], abs=1.5)
    assert lab.getpoint(60, 20) == pytest.approx([100, 0, 0], abs=1.5)
    assert lab.getpoint(100, 20)[1] < -100  # no green of sRGB is that green


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("transfer", "greys"),
    [
        # Values of 0, 0.25, 0.5, 0.58, 0.75 and 1: PQ shows 0.58 as the white of a page, HLG 0.75.
        (16, [0, 44, 153, 191, 254, 255]),
        (18, [0, 60, 124, 144, 191, 255]),
    ],
)
@pytest.mark.parametrize("source", ["png", "avif of 10 bits"])
def test_high_dynamic_range(pool: BlockingPool, source: str, transfer: int, greys: list[int], target: str) -> None:
    """It becomes ordinary range: in order, nothing clipped but the brightest, and no profile of such curves is kept."""
    values = [0, 0.25, 0.5, 0.58, 0.75, 1]
    patches = [pyvips.Image.black(40, 40, bands=3) + round(value * 65_535) for value in values]
    pixels = pyvips.Image.arrayjoin(patches).cast("ushort").copy(interpretation="rgb16")
    if source == "png":
        data = add_png_chunks(encode(pixels, "png"), cICP=bytes([9, transfer, 0, 1]))
    else:
        data = encode_with_nclx(pixels, source, 9, transfer)
    variant = pool.transform(data, target, None, 95)
    assert len(open_image(variant).get("icc-profile-data")) < 600
    shown = to_rgb(variant)
    for index, grey in enumerate(greys):
        assert shown.getpoint(20 + 40 * index, 20) == pytest.approx([grey] * 3, abs=6)
