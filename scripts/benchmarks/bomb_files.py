"""Small files that cost far more than they weigh."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pyvips

SVG_SIZE_PX = 3000
GIF_FRAMES = 10_000
INTERLACED_PX = (8000, 6000)  # 48 MP, the most that a worker of 1 GiB takes of an interlaced PNG


def make_all(folder: Path) -> None:
    """Write every bomb into the folder; the ones whose names begin with "view-" do their harm when they are viewed."""
    makers: dict[str, Callable[[], bytes]] = {
        "huge.avif": _avif,
        "interlaced.png": _interlaced_png,
        "header.png": _header_png,
        "frames.gif": _gif,
        "lists.json": _json,
        "view-filter.svg": _filters,
        "view-paths.svg": _paths,
    }
    for name, make in makers.items():
        (folder / name).write_bytes(make())


def _avif() -> bytes:
    """An AVIF that says 16384 x 16384: 3.9 GB to decode."""
    data = bytearray(pyvips.Image.black(64, 64, bands=3).heifsave_buffer(compression="av1", effort=0))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 16_384, 16_384)
    return bytes(data)


def _interlaced_png() -> bytes:
    width, height = INTERLACED_PX
    return bytes(pyvips.Image.black(width, height, bands=3).pngsave_buffer(interlace=True, compression=9))


def _header_png() -> bytes:
    """A PNG of 30,000 x 30,000 with 1 bit each, all of it there: 109 KB."""
    side = 30_000
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _gif() -> bytes:
    """10,000 frames of one black dot each: 100 MP in all."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    dot = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + dot * GIF_FRAMES + b"\x3b"


def _json() -> bytes:
    """A megabyte of brackets, which is as long as a body may be."""
    return b"[" + (b"[" * 60 + b"]" * 60 + b",") * 8600 + b"0]"


def _filters() -> bytes:
    stages = "".join(f'<feMorphology operator="dilate" radius="{radius}"/>' for radius in range(100, 130))
    shape = '<circle cx="1500" cy="1500" r="900" filter="url(#f)"/>'
    return _svg(f'<filter id="f">{stages}</filter>{shape}')


def _paths() -> bytes:
    """Strokes with dashes that cover the picture again and again."""
    line = "".join(f"L{x * 7 % SVG_SIZE_PX} {x * 13 % SVG_SIZE_PX}" for x in range(2000))
    path = (
        f'<path d="M0 0{line}" fill="none" stroke="red" stroke-opacity=".1" stroke-width="9" stroke-dasharray="1 1"/>'
    )
    return _svg(path * 40)


def _svg(body: str) -> bytes:
    size = f'width="{SVG_SIZE_PX}" height="{SVG_SIZE_PX}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{body}</svg>'.encode()
