"""Files to send: small pictures of every format, and what is left of them after an accident."""

import random
import struct
import zlib

from images import make_animation, make_dots_gif, make_image

from imgpro_lite.formats import Format


def pictures() -> list[bytes]:
    """A small file of each format, and some that claim to be enormous."""
    whole = 2 * [make_image(format_, 9, 7) for format_ in Format]
    odd = [
        make_animation("gif", 6, 5, 3),
        make_animation("webp", 6, 5, 3),
        make_dots_gif(100, 100, 200),
        make_dots_gif(65_535, 65_535, 1),
        png_header(30_000, 30_000),
        png_header(2**31 - 1, 2**31 - 1),
        png_header(0, 5),
        b"GIF89a<?php echo 1;",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'><script>alert(1)</script></svg>",
        b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g>" * 300,
        b"<!DOCTYPE svg [<!ENTITY a 'b'>]><svg xmlns='http://www.w3.org/2000/svg'>&a;</svg>",
        b"",
    ]
    return whole + odd


def png_header(width: int, height: int) -> bytes:
    """A PNG of 1 bit that has nothing but its header and an empty body."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in [
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"")),
            (b"IEND", b""),
        ]
    )


def damage(rng: random.Random, content: bytes) -> bytes:
    """The bytes after one to four accidents: flipped, cut, repeated, or with others in between."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 20))
            case 3:
                del data[at : at + rng.randint(1, 30)]
            case _:
                data[at:at] = data[at : at + rng.randint(1, 50)]
    return bytes(data)
