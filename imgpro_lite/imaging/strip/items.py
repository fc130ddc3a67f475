"""The items of a HEIF file: what each is, and where its bytes are (ISO/IEC 14496-12, 8.11.3 and 8.11.6)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from imgpro_lite.imaging.strip.boxes import Box, read_boxes
from imgpro_lite.imaging.strip.edits import Data

# libheif takes at most 1,000 items of 32 extents each by default; a picture of 250 megapixels has about 1,000 tiles.
_MOST_EXTENTS = 100_000

_IN_FILE, _IN_IDAT = 0, 1  # construction methods


class Malformed(Exception):
    """The boxes do not say where items are, or say it absurdly often."""


@dataclass
class Item:
    """One item. `extents` are its places in the file, in order, as start and end."""

    kind: bytes
    content_type: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)


class _Reader:
    """Numbers in a row, up to the end of a box."""

    def __init__(self, data: Data, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def number(self, size_bytes: int) -> int:
        """Raises Malformed at the end."""
        start, self.at = self.at, self.at + size_bytes
        if self.at > self._end:
            raise Malformed("a box is cut off")
        return int.from_bytes(self._data[start : self.at], "big")


def read_items(data: Data, meta: Box) -> list[Item]:
    """All items of the meta box. Raises Malformed."""
    items: dict[int, Item] = {}
    boxes = {box.kind: box for box in reversed(list(read_boxes(data, meta.body + 4, meta.end)))}
    if b"iinf" in boxes:
        items = dict(_kinds(data, boxes[b"iinf"]))
    if b"iloc" in boxes:
        for number, extents in _locations(data, boxes[b"iloc"], boxes.get(b"idat")):
            items.setdefault(number, Item(b"")).extents += extents
    return list(items.values())


def _kinds(data: Data, iinf: Box) -> Iterator[tuple[int, Item]]:
    reader = _Reader(data, iinf.body, iinf.end)
    version = reader.number(4) >> 24
    reader.number(2 if version == 0 else 4)
    for box in read_boxes(data, reader.at, iinf.end):
        if box.kind != b"infe":
            continue
        entry = _Reader(data, box.body, box.end)
        version = entry.number(4) >> 24
        if version < 2:  # has no kind, and is in no picture
            continue
        number = entry.number(2 if version == 2 else 4)
        entry.number(2)
        kind = entry.number(4).to_bytes(4, "big")
        name_and_type = bytes(data[entry.at : box.end]).split(b"\0")
        yield number, Item(kind, name_and_type[1] if len(name_and_type) > 1 else b"")


def _locations(data: Data, iloc: Box, idat: Box | None) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    reader = _Reader(data, iloc.body, iloc.end)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version in (1, 2) else 0
    extents_left = _MOST_EXTENTS
    for _ in range(reader.number(4 if version == 2 else 2)):
        number = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version in (1, 2) else _IN_FILE
        reader.number(2)  # the file that it is in; decoders only know this one
        base = reader.number(base_bytes)
        count = reader.number(2)
        extents_left -= count
        if extents_left < 0:
            raise Malformed("too many extents")
        start, end = (idat.body, idat.end) if method == _IN_IDAT and idat is not None else (0, len(data))
        extents = []
        for _ in range(count):
            reader.number(index_bytes)
            first = start + base + reader.number(offset_bytes)
            length = reader.number(length_bytes)
            extents.append((min(first, end), min(first + length, end) if length else end))
        is_found = method == _IN_FILE or (method == _IN_IDAT and idat is not None)
        yield number, extents if is_found else []
