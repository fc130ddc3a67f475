"""Pictures for tests, made with libvips and Pillow so that none has to be kept."""

import asyncio
import io
import os
import struct
import zlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import pillow_heif
import pyvips
from PIL import Image

from imgpro_lite.formats import SNIFF_BYTES, Format, sniff
from imgpro_lite.imaging.jobs import Probed, Transform
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.settings import ImagingSettings

T = TypeVar("T")

# Pictures of other projects, which are not copied into this one.
REAL_IMAGES = Path(os.environ.get("IMGPRO_TEST_IMAGES", Path(__file__).parents[2] / "shared" / "images"))

_SAVERS: dict[Format, tuple[str, dict[str, Any]]] = {
    Format.JPEG: (".jpg", {"Q": 90}),
    Format.PNG: (".png", {}),
    Format.WEBP: (".webp", {"Q": 90}),
    Format.GIF: (".gif", {}),
    Format.AVIF: (".avif", {"Q": 90, "effort": 0}),
    Format.TIFF: (".tif", {"compression": "lzw"}),
}


def make_image(format_: Format | str, width: int, height: int, *, alpha: bool = False, **options: Any) -> bytes:
    """A picture with a different colour in each corner, as a file. `alpha` makes its middle transparent; `options` go
    to the encoder."""
    format_ = Format(format_)
    if format_ == Format.SVG:
        return make_svg(width, height)
    return encode(make_pixels(width, height, alpha=alpha), format_, **options)


def encode(pixels: pyvips.Image, format_: Format | str, **options: Any) -> bytes:
    """These pixels as a file; `options` go to the encoder."""
    format_ = Format(format_)
    if format_ in _SAVERS:
        suffix, defaults = _SAVERS[format_]
        return bytes(pixels.write_to_buffer(suffix, **defaults | options))
    return _encode_by_pillow(format_, to_pillow(pixels), options)


def to_sixteen_bits(pixels: pyvips.Image) -> pyvips.Image:
    """The same picture with 16 bits in each band."""
    deep = (pixels.cast("float") * 257).cast("ushort")
    return deep.copy(interpretation="grey16" if pixels.bands < 3 else "rgb16")


def add_png_chunks(png: bytes, **chunks: bytes) -> bytes:
    """The PNG with these chunks after its header: `add_png_chunks(png, gAMA=bytes(4))`."""
    added = b""
    for name, content in chunks.items():
        body = name.encode() + content
        added += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + added + png[33:]


def make_pixels(width: int, height: int, *, alpha: bool = False) -> pyvips.Image:
    """Red grows to the right, green downwards, blue to the left."""
    grid = pyvips.Image.xyz(width, height)
    across, down = grid[0] * (255 / max(1, width - 1)), grid[1] * (255 / max(1, height - 1))
    pixels = across.bandjoin([down, 255 - across]).cast("uchar").copy(interpretation="srgb")
    if alpha:
        middle = (grid[0] > width / 4) & (grid[0] < width * 3 / 4) & (grid[1] > height / 4) & (grid[1] < height * 3 / 4)
        pixels = pixels.bandjoin(middle.ifthenelse(0, 255).cast("uchar"))
    return pixels.copy_memory()


def make_photo(width: int = 240, height: int = 160) -> pyvips.Image:
    """Pixels like a photograph's: soft light, some texture, a little grain, and five things with edges and strong
    colours. Always the same."""
    soft = [pyvips.Image.perlin(width, height, cell_size=80, seed=seed) for seed in (1, 2, 3)]
    fine = [pyvips.Image.perlin(width, height, cell_size=16, seed=seed) for seed in (4, 5, 6)]
    grain = pyvips.Image.gaussnoise(width, height, sigma=1.5, mean=0, seed=7)
    bands = [low * 80 + high * 20 + grain + 120 for low, high in zip(soft, fine, strict=True)]
    photo = bands[0].bandjoin(bands[1:])
    grid = pyvips.Image.xyz(width, height)
    colours = [(200, 40, 50), (40, 70, 200), (50, 180, 60), (240, 235, 225), (20, 22, 26)]
    for number, colour in enumerate(colours):
        x, y, radius = (0.12 + 0.19 * number) * width, (0.3 + 0.4 * (number % 2)) * height, 0.15 * height
        distance = ((grid[0] - x) ** 2 + (grid[1] - y) ** 2) ** 0.5
        covered = (radius - distance + 0.5).linear(255, 0).cast("uchar")  # anti-aliased
        photo = covered.ifthenelse(pyvips.Image.black(width, height, bands=3) + list(colour), photo, blend=True)
    return photo.cast("uchar").copy(interpretation="srgb").copy_memory()


def make_animation(format_: Format | str, width: int, height: int, frames: int, **options: Any) -> bytes:
    """An animated GIF or WebP: squares of one colour each."""
    pages = [
        pyvips.Image.black(width, height, bands=3).linear(1, [page * 41 % 256, page * 83 % 256, page * 127 % 256])
        for page in range(frames)
    ]
    strip = pyvips.Image.arrayjoin(pages, across=1).cast("uchar").copy(interpretation="srgb").copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", height)
    strip.set_type(pyvips.GValue.array_int_type, "delay", [100] * frames)
    return bytes(strip.write_to_buffer(f".{format_}", **options))


def make_dots_gif(width: int, height: int, frames: int) -> bytes:
    """An animated GIF of one black dot a frame: many pixels to decode in few bytes."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    dot = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + dot * frames + b"\x3b"


def make_svg(width: int, height: int, body: str = "") -> bytes:
    """A drawing whose left half is red and right half blue."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="{width / 2}" height="{height}" fill="red"/>'
        f'<rect x="{width / 2}" width="{width / 2}" height="{height}" fill="blue"/>{body}</svg>'
    ).encode()


def to_pillow(pixels: pyvips.Image) -> Image.Image:
    """The same pixels for Pillow."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.bands]
    return Image.frombytes(mode, (pixels.width, pixels.height), pixels.write_to_memory())


def open_image(data: bytes) -> pyvips.Image:
    """The picture in a file, decoded: 8 bits, every frame."""
    options = {"n": -1} if data.startswith((b"GIF8", b"RIFF")) else {}
    return pyvips.Image.new_from_buffer(data, "", **options)


def difference(image: pyvips.Image, other: pyvips.Image) -> float:
    """The mean absolute difference of two pictures of the same size, in steps of 0 to 255."""
    return float((image - other).abs().avg())


def _encode_by_pillow(format_: Format, picture: Image.Image, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    if format_ == Format.HEIC:
        pillow_heif.from_pillow(picture).save(file, **{"quality": 90} | options)
    else:
        picture.save(file, format=str(format_), **options)
    return file.getvalue()


class BlockingPool:
    """The real worker pool for tests that are not async: bytes in, answers out. `options` are ImagingSettings."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.pool = WorkerPool(ImagingSettings(**{"workers": 1} | options))
        self._runner = asyncio.Runner()
        self._files = 0

    def __enter__(self) -> Self:
        self.run(self.pool.start())
        return self

    def __exit__(self, *_error: object) -> None:
        self.run(self.pool.close())
        self._runner.close()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Do anything on the pool's event loop."""
        return self._runner.run(job)

    def path(self, data: bytes | None = None) -> Path:
        """A new file with this content, or a name for one."""
        self._files += 1
        path = self.folder / str(self._files)
        if data is not None:
            path.write_bytes(data)
        return path

    def probe(self, data: bytes, format_: Format | None = None) -> Probed:
        """What the file is; its format is sniffed unless given."""
        return self.probe_and_sanitise(data, format_)[0]

    def probe_and_sanitise(self, data: bytes, format_: Format | None = None) -> tuple[Probed, bytes]:
        """The same, and the document that would be stored for an SVG."""
        format_ = format_ or sniff(data[:SNIFF_BYTES])
        assert format_ is not None
        sanitized = self.path() if format_ == Format.SVG else None
        probed = self.run(self.pool.probe(self.path(data), format_, sanitized=sanitized))
        return probed, sanitized.read_bytes() if sanitized else data

    def transform(
        self, data: bytes, target: Format | str, short_edge_px: int | None = None, quality: int = 80
    ) -> bytes:
        """The variant, after checking that the pool tells its size correctly."""
        source = sniff(data[:SNIFF_BYTES])
        assert source is not None
        path = self.path()
        job = Transform(source, Format(target), short_edge_px, quality)
        transformed = self.run(self.pool.transform(self.path(data), path, job))
        variant = path.read_bytes()
        made = open_image(variant)
        assert (made.width, made.get_page_height()) == (transformed.width, transformed.height)
        assert sniff(variant) == target
        return variant
