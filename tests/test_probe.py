"""Probing: what a file is, and which files are refused."""

import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from images import REAL_IMAGES, BlockingPool, make_animation, make_dots_gif, make_image, make_pixels

from imgpro_lite.errors import UnsupportedFormat
from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Probed

needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
RASTER = [format_ for format_ in Format if format_ != Format.SVG]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("probe")) as pool:
        yield pool


@pytest.mark.parametrize("format_", Format)
def test_every_format(pool: BlockingPool, format_: Format) -> None:
    assert pool.probe(make_image(format_, 61, 40)) == Probed(format_, 61, 40, format_ == Format.SVG, 1)


@pytest.mark.parametrize("format_", ["png", "webp", "gif", "heic", "avif", "tiff"])
def test_alpha(pool: BlockingPool, format_: str) -> None:
    assert pool.probe(make_image(format_, 61, 40, alpha=True)).has_alpha is True


@pytest.mark.parametrize("format_", ["gif", "webp"])
def test_frames_of_an_animation(pool: BlockingPool, format_: str) -> None:
    assert pool.probe(make_animation(format_, 40, 30, 7)).frames == 7


def test_one_pixel(pool: BlockingPool) -> None:
    assert pool.probe(make_image("png", 1, 1)) == Probed(Format.PNG, 1, 1, False, 1)


@needs_real_images
@pytest.mark.parametrize(
    ("name", "width", "height", "has_alpha", "frames"),
    [
        ("photo-2725x2225.jpg", 2725, 2225, False, 1),
        *((f"Landscape_{orientation}.jpg", 600, 450, False, 1) for orientation in range(1, 9)),
        ("cmyk.jpg", 500, 333, False, 1),
        ("iphone.heic", 3024, 4032, False, 1),
        ("exif-xmp-iptc.heic", 64, 64, False, 1),
        ("three-images.heic", 64, 64, False, 1),
        ("ten-bit.heif", 128, 128, False, 1),
        ("avif-yuv444.avif", 2048, 858, False, 1),
        ("small.avif", 400, 300, True, 1),
        ("16-bit-grey-alpha.png", 109, 96, True, 1),
        ("sixteen-bit-linear.png", 600, 600, False, 1),
        ("lzw.tiff", 2464, 3248, False, 1),
        ("tifftag-photoshop.tiff", 317, 211, False, 1),
        ("rotating-squares.gif", 80, 80, True, 30),
        ("rotating-squares.webp", 80, 80, True, 9),
        ("bmp-1-bpp.bmp", 900, 600, False, 1),
        ("bmp-16-bpp.bmp", 512, 512, False, 1),
        ("bmp-32-bpp-with-alpha-self-gen.bmp", 100, 84, True, 1),
        ("bmp-4-bpp.bmp", 512, 512, False, 1),
        ("bmp-8-bpp-rle-small.bmp", 32, 32, False, 1),
        ("bmp-8-bpp.bmp", 512, 512, False, 1),
    ],
)
def test_real_files(pool: BlockingPool, name: str, width: int, height: int, has_alpha: bool, frames: int) -> None:
    probed = pool.probe((REAL_IMAGES / name).read_bytes())
    assert (probed.width, probed.height, probed.has_alpha, probed.frames) == (width, height, has_alpha, frames)


@needs_real_images
@pytest.mark.parametrize("name", ["truncated.jpg", "truncated.png", "corrupt-header.jpg", "corrupted.heic"])
def test_real_broken_files(pool: BlockingPool, name: str) -> None:
    with pytest.raises(UnsupportedFormat):
        pool.probe((REAL_IMAGES / name).read_bytes())


def _deep_avif() -> bytes:
    pixels = (make_pixels(90, 60) * 256).cast("ushort").copy(interpretation="rgb16")
    return bytes(pixels.write_to_buffer(".avif", bitdepth=10, effort=0))


def test_ten_bit_avif(pool: BlockingPool) -> None:
    assert pool.probe(_deep_avif()) == Probed(Format.AVIF, 90, 60, False, 1)


TRUNCATABLE = {
    **{str(format_): partial(make_image, format_, 300, 200) for format_ in Format},
    "progressive jpeg": partial(make_image, "jpeg", 300, 200, interlace=True),
    "interlaced png": partial(make_image, "png", 300, 200, interlace=True),
    "lossless webp": partial(make_image, "webp", 300, 200, lossless=True),
    "tiled tiff": partial(make_image, "tiff", 300, 200, tile=True),
    "plain tiff": partial(make_image, "tiff", 300, 200, compression="none"),
    "tiff of jpeg": partial(make_image, "tiff", 300, 200, compression="jpeg"),
    "big tiff of jpeg": partial(make_image, "tiff", 300, 200, compression="jpeg", bigtiff=True),
    "animated gif": partial(make_animation, "gif", 60, 50, 9),
    "animated webp": partial(make_animation, "webp", 60, 50, 9),
    "ten-bit avif": _deep_avif,
}


@pytest.mark.parametrize("name", TRUNCATABLE)
def test_truncated_files_are_refused(pool: BlockingPool, name: str) -> None:
    whole = TRUNCATABLE[name]()
    pool.probe(whole)
    for percent in (10, 50, 99):
        # The last byte or two of some formats carry nothing; a file of 450 bytes loses three here.
        part = whole[: min(len(whole) * percent // 100, len(whole) - 3)]
        with pytest.raises(UnsupportedFormat):
            pool.probe(part, Format(name) if name in list(Format) else None)


@needs_real_images
@pytest.mark.parametrize("name", ["iphone.heic", "tifftag-photoshop.tiff", "bmp-8-bpp-rle-small.bmp", "alpha.webp"])
def test_truncated_real_files_are_refused(pool: BlockingPool, name: str) -> None:
    whole = (REAL_IMAGES / name).read_bytes()
    for percent in (10, 50, 99):
        with pytest.raises(UnsupportedFormat):
            pool.probe(whole[: len(whole) * percent // 100])


@pytest.mark.parametrize("format_", RASTER)
def test_bytes_after_the_picture_do_not_matter(pool: BlockingPool, format_: Format) -> None:
    assert pool.probe(make_image(format_, 61, 40) + b"<script>PK\x03\x04<?php" * 99).width == 61


@pytest.mark.parametrize("format_", Format)
def test_noise_is_refused(pool: BlockingPool, format_: Format) -> None:
    start = make_image(format_, 8, 8)[:16]
    for seed in range(5 if format_ == Format.SVG else 20):
        with pytest.raises(UnsupportedFormat):
            pool.probe(start + random.Random(seed).randbytes(1000), format_)


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a<?php phpinfo(); ?>"])
def test_stubs_are_refused(pool: BlockingPool, format_: Format, data: bytes) -> None:
    with pytest.raises(UnsupportedFormat):
        pool.probe(data, format_)


def test_each_format_has_its_own_loader(pool: BlockingPool) -> None:
    """A file is never read by another format's decoder, whatever it looks like to libvips."""
    for claimed in RASTER:
        with pytest.raises(UnsupportedFormat):
            pool.probe(make_image("png" if claimed != Format.PNG else "jpeg", 8, 8), claimed)


def test_broken_pictures_never_hurt_the_pool(pool: BlockingPool) -> None:
    pids = pool.pool.pids
    chance = random.Random(47)
    for format_ in RASTER:
        for _ in range(10):
            data = bytearray(make_image(format_, 40, 30))
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            with suppress(UnsupportedFormat):
                pool.probe(bytes(data), format_)
    assert pool.pool.pids == pids


# --- bombs: small files that say they are huge


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def _huge_jpeg() -> bytes:
    data = bytearray(make_image("jpeg", 64, 64))
    start_of_frame = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, start_of_frame + 5, 30_000, 30_000)
    return bytes(data)


def _huge_webp() -> bytes:
    """Black, 16383 x 16383, complete and correct in 34 bytes."""
    chunk = b"VP8L\x0e\0\0\0" + bytes.fromhex("2ffebfff0f071011fd0f4444ff03")
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def _huge_avif() -> bytes:
    data = bytearray(make_image("avif", 64, 64))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 16_384, 16_384)
    return bytes(data)


def _huge_tiff() -> bytes:
    data = bytearray(make_image("tiff", 64, 64))
    for tag in (256, 257):
        at = data.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in data else -1
        at = at if at >= 0 else data.index(struct.pack("<HHI", tag, 3, 1))
        struct.pack_into("<HHII", data, at, tag, 4, 1, 30_000)
    return bytes(data)


def _huge_bmp() -> bytes:
    data = bytearray(make_image("bmp", 64, 64))
    struct.pack_into("<ii", data, 18, 20_000, 20_000)
    return bytes(data)


@pytest.mark.parametrize(
    "bomb",
    [_png_header(30_000, 30_000), _huge_jpeg(), _huge_webp(), _huge_avif(), _huge_tiff(), _huge_bmp()],
    ids=["png", "jpeg", "webp", "avif", "tiff", "bmp"],
)
def test_bombs_are_refused_before_decoding(pool: BlockingPool, bomb: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match=r"megapixels .* at most \d+ megapixels"):
        pool.probe(bomb)
    assert _resident_mb(pool) < 150


def test_the_operator_can_lower_the_limit(tmp_path: Path) -> None:
    with BlockingPool(tmp_path, max_megapixels=1) as pool:
        pool.probe(make_image("png", 1000, 1000))
        with pytest.raises(
            UnsupportedFormat, match=r"1.1 megapixels .1100 x 1000.; PNG pictures of at most 1 megapixel"
        ):
            pool.probe(make_image("png", 1100, 1000))


def test_less_memory_means_fewer_pixels(tmp_path: Path) -> None:
    with (
        BlockingPool(tmp_path, worker_memory_mb=400) as pool,
        pytest.raises(UnsupportedFormat, match="AVIF pictures of at most 6 megapixels"),
    ):
        pool.probe(_huge_avif())


def test_a_gif_is_as_large_as_what_is_decoded(pool: BlockingPool) -> None:
    """A screen of 65535 x 65535 with one frame of 8 x 8."""
    data = bytearray(make_image("gif", 8, 8))
    struct.pack_into("<HH", data, 6, 65_535, 65_535)
    probed = pool.probe(bytes(data))
    assert (probed.width, probed.height) == (8, 8)


def test_a_gif_of_very_many_frames(pool: BlockingPool) -> None:
    assert pool.probe(make_dots_gif(100, 100, 10_000)) == Probed(Format.GIF, 100, 100, False, 10_000)


def test_padding_costs_no_memory(pool: BlockingPool) -> None:
    before_mb = _resident_mb(pool)
    pool.probe(make_image("jpeg", 1000, 1000) + bytes(70_000_000))
    assert _resident_mb(pool) < before_mb + 30


def _resident_mb(pool: BlockingPool) -> int:
    status = Path(f"/proc/{pool.pool.pids[0]}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) // 1024
