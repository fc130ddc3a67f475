"""Is the whole file there?

Some decoders do not notice when the end is missing: libnsgif drops the frames it does not have, libheif leaves tiles
grey, libtiff's strips end early. So the lengths that these files state are compared with what is there. Bytes after a
complete picture are fine.
"""

import mmap
import struct
from collections.abc import Callable, Iterator

from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Refused

_GIF_EXTENSION = 0x21
_GIF_IMAGE = 0x2C

# The boxes at the top of a HEIF file that may hold pixels or say where they are (ISO/IEC 14496-12).
_HEIF_BOXES = (b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free", b"skip", b"uuid", b"moof")

# TIFF 6.0: offsets of strips and tiles, and how many bytes each has.
_TIFF_OFFSETS = (273, 324)
_TIFF_BYTE_COUNTS = (279, 325)

# What else pixels cannot do without, though libtiff tries: BitsPerSample, ColorMap, JPEGTables, ReferenceBlackWhite.
_TIFF_NEEDED = (*_TIFF_OFFSETS, *_TIFF_BYTE_COUNTS, 258, 320, 347, 532)

# Types of values in as many bytes: SHORT, LONG, RATIONAL, UNDEFINED, LONG8 (of BigTIFF).
_TIFF_NUMBERS = {3: "H", 4: "I", 5: "Q", 7: "B", 16: "Q"}


def check_complete(descriptor: int, format_: Format) -> None:
    """Raise Refused when the file ends before the picture does."""
    check = _CHECKS.get(format_)
    if check is None:
        return
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        try:
            is_complete = check(data)
        except (IndexError, struct.error):
            is_complete = False
    if not is_complete:
        raise Refused("The file is truncated: the end of the picture is missing.")


def _is_complete_gif(data: mmap.mmap) -> bool:
    """Walk over the blocks. A missing trailer after a whole block is forgiven, as every viewer does."""
    position = 13 + _colour_table_bytes(data[10])
    while position < len(data):
        kind = data[position]
        if kind == _GIF_EXTENSION:
            position += 2
        elif kind == _GIF_IMAGE:
            position += 11 + _colour_table_bytes(data[position + 9])
        else:  # the trailer, or garbage, where decoders stop
            return True
        while length := data[position]:
            position += 1 + length
        position += 1
    return True


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _is_complete_heif(data: mmap.mmap) -> bool:
    """Walk over the boxes, as long as they are known ones: what follows the last may be anything."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind not in _HEIF_BOXES or size == 0:  # 0: to the end of the file, wherever that is
            return True
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size < 8:
            return False
        position += size
    return position <= len(data)


def _is_complete_tiff(data: mmap.mmap) -> bool:
    """Whether the strips or tiles of the first page, and what is needed to decode them, lie within the file."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    tags = dict(_tiff_tags(data, order, is_big))
    for offsets_tag, counts_tag in zip(_TIFF_OFFSETS, _TIFF_BYTE_COUNTS, strict=True):
        if offsets_tag in tags and counts_tag in tags:
            ends = (offset + count for offset, count in zip(tags[offsets_tag], tags[counts_tag], strict=False))
            if max(ends, default=0) > len(data):
                return False
    return True


def _tiff_tags(data: mmap.mmap, order: str, is_big: bool) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The tags of the first directory that are needed, with their values. struct.error: they are not there."""
    if is_big:
        (position,) = struct.unpack_from(f"{order}Q", data, 8)
        (entries,) = struct.unpack_from(f"{order}Q", data, position)
        first, entry_format, inline_bytes = position + 8, f"{order}HHQ", 8
    else:
        (position,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, position)
        first, entry_format, inline_bytes = position + 2, f"{order}HHI", 4
    head_bytes = struct.calcsize(entry_format)
    for index in range(entries):
        at = first + index * (head_bytes + inline_bytes)
        tag, kind, count = struct.unpack_from(entry_format, data, at)
        if tag not in _TIFF_NEEDED or kind not in _TIFF_NUMBERS:
            continue
        values_format = f"{order}{count}{_TIFF_NUMBERS[kind]}"
        values_at = at + head_bytes
        if struct.calcsize(values_format) > inline_bytes:
            (values_at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, values_at)
        yield tag, struct.unpack_from(values_format, data, values_at)


_CHECKS: dict[Format, Callable[[mmap.mmap], bool]] = {
    Format.GIF: _is_complete_gif,
    Format.HEIC: _is_complete_heif,
    Format.AVIF: _is_complete_heif,
    Format.TIFF: _is_complete_tiff,
}
