"""Colour spaces that a file tells in its own words instead of an ICC profile: PNG by chunks, AVIF and HEIC by a box.

They become ICC profiles, so that everything after knows only those. Knows no image library.
"""

import mmap
import struct
from collections.abc import Iterator

from imgpro_lite.formats import Format
from imgpro_lite.imaging import cicp, icc
from imgpro_lite.imaging.colorants import SRGB, Primaries

# Chunks of a PNG that are looked at before giving up; real files have about ten before their pixels.
_MOST_CHUNKS = 100

# libpng, and so every browser, takes a gamma within 5 % of 1 / 2.2 for that. Beyond 10 it can only be a mistake.
_USUAL_GAMMA = 1 / 2.2
_GAMMA_TOLERANCE = 0.05
_LEAST_GAMMA, _LARGEST_GAMMA = 0.1, 10.0

# A HEIF file has about ten boxes at each level, and one for each tile at most.
_MOST_BOXES = 10_000

_Box = tuple[bytes, int, int]


def find_told_profile(descriptor: int, format_: Format, *, has_profile: bool, is_grey: bool) -> bytes | None:
    """An ICC profile of what the file tells by other means, if it does, and if that counts more than the ICC profile
    which it has or has not; None when it does not, or tells sRGB."""
    if format_ not in (Format.PNG, Format.AVIF, Format.HEIC):
        return None
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        try:
            if format_ == Format.PNG:
                return _find_png_profile(_png_chunks(data), has_profile, is_grey)
            nclx = None if has_profile else _find_nclx(data)
        except (IndexError, ValueError, struct.error):  # not worth refusing a picture that decodes
            return None
    return cicp.find_profile(*nclx, is_grey=is_grey) if nclx else None


def _find_png_profile(chunks: dict[bytes, bytes], has_profile: bool, is_grey: bool) -> bytes | None:
    """cICP counts before iCCP, that before sRGB, and that before gAMA and cHRM (PNG third edition, 4.3)."""
    if b"cICP" in chunks:
        primaries, transfer, matrix, _is_full_range = chunks[b"cICP"]
        if matrix == 0:  # others are not allowed
            profile = cicp.find_profile(primaries, transfer, is_grey=is_grey)
            return icc.srgb_profile(is_grey=is_grey) if profile is None and has_profile else profile
    if has_profile or b"sRGB" in chunks or b"gAMA" not in chunks:
        return None
    return _profile_of_gamma(chunks[b"gAMA"], chunks.get(b"cHRM"), is_grey)


def _profile_of_gamma(gamma_chunk: bytes, chromaticities: bytes | None, is_grey: bool) -> bytes | None:
    """What gAMA and cHRM say, or None when it is as good as sRGB. cHRM alone counts for nothing, as in browsers."""
    gamma = struct.unpack(">I", gamma_chunk)[0] / 100_000
    if not _LEAST_GAMMA <= gamma <= _LARGEST_GAMMA:
        return None
    primaries = _primaries(chromaticities) if chromaticities and not is_grey else SRGB
    if primaries.is_close_to(SRGB):
        if abs(gamma / _USUAL_GAMMA - 1) < _GAMMA_TOLERANCE:
            return None
        primaries = SRGB
    curve = icc.gamma_curve(1 / gamma)
    return icc.grey_profile(curve) if is_grey else icc.rgb_profile(primaries, curve)


def _primaries(chunk: bytes) -> Primaries:
    white_x, white_y, *others = (number / 100_000 for number in struct.unpack(">8I", chunk))
    red_x, red_y, green_x, green_y, blue_x, blue_y = others
    return Primaries((red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y))


def _png_chunks(data: mmap.mmap) -> dict[bytes, bytes]:
    """The short chunks before the palette and the pixels, the first of each kind."""
    chunks: dict[bytes, bytes] = {}
    position = 8
    for _ in range(_MOST_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"PLTE", b"IDAT"):
            break
        chunks.setdefault(kind, data[position + 8 : position + 8 + min(length, 32)])
        position += 12 + length
    return chunks


def _find_nclx(data: mmap.mmap) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics of the primary image (ISO/IEC 14496-12, 12.1.5), if told."""
    meta = _find_box(_boxes(data, 0, len(data)), b"meta")
    inner = list(_boxes(data, meta[1] + 4, meta[2]))  # it is a "full box": four bytes of version and flags first
    _kind, at, _end = _find_box(inner, b"pitm")
    primary = int.from_bytes(data[at + 4 : at + (6 if data[at] == 0 else 8)], "big")
    properties = list(_boxes(data, *_find_box(inner, b"iprp")[1:]))
    container = list(_boxes(data, *_find_box(properties, b"ipco")[1:]))
    for number in _properties_of(data, properties, primary):
        kind, start, _end = container[number - 1]
        if kind == b"colr" and data[start : start + 4] == b"nclx":
            return struct.unpack_from(">HH", data, start + 4)
    return None


def _boxes(data: mmap.mmap, position: int, end: int) -> Iterator[_Box]:
    """The kind of each box, and where its content starts and ends."""
    for _ in range(_MOST_BOXES):
        if position + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = end if size == 0 else min(end, position + size)
        yield kind, start, stop
        position = max(stop, start)


def _find_box(boxes: Iterator[_Box] | list[_Box], wanted: bytes) -> _Box:
    for box in boxes:
        if box[0] == wanted:
            return box
    raise ValueError(f"there is no {wanted!r} box")


def _properties_of(data: mmap.mmap, properties: list[_Box], item: int) -> Iterator[int]:
    """The numbers, from 1, of an item's properties (ISO/IEC 23008-12, 9.3.2: `ipma`)."""
    for kind, at, _end in properties:
        if kind != b"ipma":
            continue
        version, is_long = data[at], data[at + 3] & 1
        (entries,) = struct.unpack_from(">I", data, at + 4)
        at += 8
        for _ in range(min(entries, _MOST_BOXES)):
            item_id, count = struct.unpack_from(">HB" if version == 0 else ">IB", data, at)
            at += 3 if version == 0 else 5
            format_ = f">{count}{'H' if is_long else 'B'}"
            if item_id == item:
                essential = 0x8000 if is_long else 0x80
                numbers = (number & ~essential for number in struct.unpack_from(format_, data, at))
                yield from (number for number in numbers if number)  # 0 is none
            at += struct.calcsize(format_)
