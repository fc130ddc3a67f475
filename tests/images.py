"""Pictures for tests, made with libvips and Pillow so that none has to be kept."""

import asyncio
import io
import os
import struct
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
    pixels = make_pixels(width, height, alpha=alpha)
    if format_ in _SAVERS:
        suffix, defaults = _SAVERS[format_]
        return bytes(pixels.write_to_buffer(suffix, **defaults | options))
    return _encode_by_pillow(format_, to_pillow(pixels), options)


def make_pixels(width: int, height: int, *, alpha: bool = False) -> pyvips.Image:
    """Red grows to the right, green downwards, blue to the left."""
    grid = pyvips.Image.xyz(width, height)
    across, down = grid[0] * (255 / max(1, width - 1)), grid[1] * (255 / max(1, height - 1))
    pixels = across.bandjoin([down, 255 - across]).cast("uchar").copy(interpretation="srgb")
    if alpha:
        middle = (grid[0] > width / 4) & (grid[0] < width * 3 / 4) & (grid[1] > height / 4) & (grid[1] < height * 3 / 4)
        pixels = pixels.bandjoin(middle.ifthenelse(0, 255).cast("uchar"))
    return pixels.copy_memory()


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
