"""The directories of TIFF, of which EXIF is made too: kept tags stay where they are, the others are taken out in place.

A directory is a table of tags; longer values, further directories and pixels are somewhere else in the file, by
offset. So nothing may move: tables are closed up, and whatever no kept tag refers to is overwritten with zeros, be it
a value, a directory of positions, or what an earlier program left behind. Files may be made to confuse: directories in
a loop or over each other, offsets beyond the end. Such a directory is cut off, and such a tag taken out.
"""

import struct
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.strip import tags, texts, xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, gaps
from imgpro_lite.imaging.strip.layout import TYPE_BYTES, Entry, Malformed, read_layout
from imgpro_lite.models import Strip

_NUMBERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

# In all directories of a file together: 5,000 pages of 40 tags. A second of work.
_MOST_TAGS = 200_000
# XMP, IPTC and image resources of all pages together, as often as tags refer to them: a few seconds of work. What is
# beyond goes. Of numbers those of the whole file, twice; with more, tags share their values, which no program does.
_MOST_TEXT_BYTES = 16 * 1024 * 1024
_MOST_READINGS = 2
# Strips of one picture that are looked at one by one; of more, all between the first and the last is kept.
_MOST_STRIPS = 500_000

# How a thumbnail shows that it has metadata of its own.
_SIGNS_OF_METADATA = (b"Exif\0\0", b"http://ns.adobe.com/", b"Photoshop 3.0\0", b"MPF\0")


class _Kind(Enum):
    PICTURE = auto()
    EXIF = auto()
    INTEROPERABILITY = auto()


@dataclass
class _Table:
    """A directory as it will be written, over the one that is there."""

    start: int
    end: int
    next_start: int
    entries: list[Entry] = field(default_factory=list)


class Directories:
    """All directories of a file or an EXIF block, and what remains of them."""

    def __init__(self, data: Data, what: Strip, *, is_file: bool) -> None:
        """Look at all of them. Raises Malformed when there is none, Refused when there are too many tags."""
        self._data = data
        self._what = what
        self._is_file = is_file
        self.layout = read_layout(data)
        self._tables: list[_Table] = []
        self._starts: list[int] = []  # of the tables, sorted, with their ends in the same places
        self._ends: list[int] = []
        self._kept: list[tuple[int, int]] = []
        self._tags_seen = 0
        self._text_bytes = self._number_bytes = 0
        if not self._chain(self.layout.start, _Kind.PICTURE):
            raise Malformed("no directory")

    def edits(self) -> Iterator[Edit]:
        """What to change: the tables, values that became shorter, and zeros over all that nothing refers to."""
        kept = [(0, self.layout.header_bytes), *self._kept]
        for table in self._tables:
            kept.append((table.start, table.end))
            yield Edit(table.start, table.end, self._write(table))
            for entry in table.entries:
                if entry.content is not None:
                    kept.append((entry.at, entry.at + len(entry.content)))
                    yield Edit(entry.at, entry.at + len(entry.content), entry.content)
        for start, end in gaps(kept, 0, len(self._data)):
            yield Edit(start, end, fill=b"\0")

    def _write(self, table: _Table) -> bytes:
        layout = self.layout
        entries = (
            struct.pack(layout.entry_format, entry.tag, entry.type, entry.count, entry.inline)
            for entry in table.entries
        )
        body = struct.pack(layout.count_format, len(table.entries)) + b"".join(entries)
        return (body + struct.pack(layout.offset_format, table.next_start)).ljust(table.end - table.start, b"\0")

    def _chain(self, start: int, kind: _Kind) -> bool:
        """Take up a directory and those after it, as far as they can be read. Whether there is one."""
        table = first = self._take(start, kind)
        while table is not None and table.next_start:
            following = self._take(table.next_start, kind)
            if following is None:
                table.next_start = 0
            table = following
        return first is not None

    def _take(self, start: int, kind: _Kind) -> _Table | None:
        """Take up one directory, and those that its tags lead to. None when it cannot be: it is not within the file, or
        in the place of another."""
        table = self._claim(start)
        if table is None:
            return None
        self._tables.append(table)
        is_kept = _RULES[self._what, kind]
        for entry in self._entries(table):
            if entry.tag in is_kept and self._keep(entry):
                table.entries.append(entry)
        self._keep_pixels(table)
        return table

    def _claim(self, start: int) -> _Table | None:
        layout, data = self.layout, self._data
        first = start + struct.calcsize(layout.count_format)
        if start < layout.header_bytes or first > len(data):
            return None
        (count,) = struct.unpack_from(layout.count_format, data, start)
        next_at = first + count * struct.calcsize(layout.entry_format)
        end = next_at + struct.calcsize(layout.offset_format)
        place = bisect(self._starts, start)
        is_free = (place == 0 or self._ends[place - 1] <= start) and (
            place == len(self._starts) or end <= self._starts[place]
        )
        if end > len(data) or not is_free:
            return None
        self._tags_seen += count
        if self._tags_seen > _MOST_TAGS:
            raise Refused(f"The TIFF has more than {_MOST_TAGS:,} tags.")
        self._starts.insert(place, start)
        self._ends.insert(place, end)
        return _Table(start, end, struct.unpack_from(layout.offset_format, data, next_at)[0])

    def _entries(self, table: _Table) -> Iterator[Entry]:
        layout = self.layout
        entry_bytes = struct.calcsize(layout.entry_format)
        inline_bytes = struct.calcsize(layout.offset_format)
        first = table.start + struct.calcsize(layout.count_format)
        last = table.end - inline_bytes
        rows = struct.iter_unpack(layout.entry_format, self._data[first:last])
        for number, (tag, type_, count, inline) in enumerate(rows):
            at = first + (number + 1) * entry_bytes - inline_bytes
            size_bytes = TYPE_BYTES.get(type_, 1) * count
            if size_bytes > inline_bytes:
                (at,) = struct.unpack(layout.offset_format, inline)
            yield Entry(tag, type_, count, inline, at, size_bytes)

    def _keep(self, entry: Entry) -> bool:
        """Keep a tag with its values, and what they lead to. False when it must go after all."""
        is_inside = entry.at + entry.size_bytes <= len(self._data)
        match entry.tag:
            case tags.EXIF_POINTER:
                return self._follow(entry, _Kind.EXIF)
            case tags.INTEROPERABILITY_POINTER:
                return self._follow(entry, _Kind.INTEROPERABILITY)
            case tags.SUB_DIRECTORIES:
                is_kept = is_inside and self._follow(entry, _Kind.PICTURE)
            case tags.XMP:
                is_kept = is_inside and self._may_be_read(entry) and not xmp.mentions_place(self._value(entry))
            case tags.IPTC:
                is_kept = is_inside and self._rewrite(entry, texts.without_places)
            case tags.PHOTOSHOP:
                is_kept = is_inside and self._rewrite(entry, texts.resources_without_places)
            case _:
                is_kept = is_inside or entry.tag in tags.PICTURE  # a decoder may have its own opinion of the latter
        if is_kept and is_inside and entry.content is None and not self._is_inline(entry):
            self._kept.append((entry.at, entry.at + entry.size_bytes))
        return is_kept

    def _follow(self, entry: Entry, kind: _Kind) -> bool:
        offsets = self._numbers(entry)
        return bool(offsets) and all(self._chain(offset, kind) for offset in offsets)

    def _rewrite(self, entry: Entry, clean: Callable[[bytes], bytes | None]) -> bool:
        """Take the places out of a value. False when nothing is left."""
        if not self._may_be_read(entry):
            return False
        value = self._value(entry)
        content = clean(value)
        if content == value:
            return True
        unit_bytes = TYPE_BYTES.get(entry.type, 1)
        if not content or self._is_inline(entry):
            return False
        entry.content = content + bytes(-len(content) % unit_bytes)
        if len(entry.content) == len(value):  # zeros at its end were what was not wanted
            return True
        if len(entry.content) > len(value) or len(entry.content) <= struct.calcsize(self.layout.offset_format):
            return False
        entry.count = len(entry.content) // unit_bytes
        return True

    def _keep_pixels(self, table: _Table) -> None:
        """Keep what a picture's tags say its pixels are. A thumbnail with metadata of its own goes instead."""
        by_tag = {entry.tag: entry for entry in table.entries}
        for offsets_tag, counts_tag in tags.DATA_RANGES:
            if offsets_tag in by_tag:
                offsets = self._numbers(by_tag[offsets_tag])
                counts = self._numbers(by_tag[counts_tag]) if counts_tag in by_tag else ()
                if offsets_tag == tags.ONE_JPEG[0] and self._is_telling(offsets, counts):
                    table.entries = [entry for entry in table.entries if entry.tag not in tags.ONE_JPEG]
                    continue
                self._kept += _joined(offsets, self._believable(by_tag, counts, len(offsets)))
        for tag, size_bytes in tags.OLD_JPEG_TABLES.items():
            if tag in by_tag:
                self._kept += [(offset, offset + size_bytes) for offset in self._numbers(by_tag[tag])[:256]]

    def _believable(self, by_tag: dict[int, Entry], counts: tuple[int, ...], number: int) -> tuple[int, ...]:
        """How many bytes a decoder may read of each of so many strips or tiles. Some programs wrote less than there
        are, or nothing, and libtiff then takes what the picture needs."""
        counts += (0,) * (number - len(counts))
        needed_bytes = len(self._data) if not all(counts) else self._uncompressed_strip_bytes(by_tag)
        return tuple(max(count, needed_bytes) for count in counts) if needed_bytes else counts

    def _uncompressed_strip_bytes(self, by_tag: dict[int, Entry]) -> int:
        """The bytes of a strip or tile that is not compressed; 0 when it is, or nobody knows."""

        def number(tag: int, otherwise: int) -> int:
            numbers = self._numbers(by_tag[tag]) if tag in by_tag else ()
            return max(numbers, default=otherwise)

        if number(tags.COMPRESSION, 1) != 1:
            return 0
        across = number(tags.TILE_WIDTH, number(tags.WIDTH, 0))
        down = number(tags.TILE_LENGTH, min(number(tags.ROWS_PER_STRIP, 2**32), number(tags.LENGTH, 0)))
        row_bytes = across * number(tags.BITS_PER_SAMPLE, 1) * number(tags.SAMPLES_PER_PIXEL, 1) + 7 >> 3
        return row_bytes * down

    def _is_telling(self, offsets: tuple[int, ...], counts: tuple[int, ...]) -> bool:
        if self._is_file or not offsets or not counts:  # in a TIFF it may be the picture itself
            return False
        thumbnail = bytes(self._data[offsets[0] : offsets[0] + counts[0]])
        return any(sign in thumbnail for sign in _SIGNS_OF_METADATA)

    def _is_inline(self, entry: Entry) -> bool:
        return entry.size_bytes <= struct.calcsize(self.layout.offset_format)

    def _may_be_read(self, entry: Entry) -> bool:
        """Whether a text is to be looked into: many tags may refer to the same one."""
        self._text_bytes += entry.size_bytes
        return self._text_bytes <= _MOST_TEXT_BYTES

    def _value(self, entry: Entry) -> bytes:
        return bytes(self._data[entry.at : entry.at + entry.size_bytes])

    def _numbers(self, entry: Entry) -> tuple[int, ...]:
        """The values as whole numbers; none when they are something else, or not there."""
        code = _NUMBERS.get(entry.type)
        if code is None or entry.at + entry.size_bytes > len(self._data):
            return ()
        if not self._is_inline(entry):
            self._number_bytes += entry.size_bytes
            if self._number_bytes > _MOST_READINGS * len(self._data):
                raise Refused("The TIFF has tags that share their values.")
        numbers: tuple[int, ...] = struct.unpack(f"{self.layout.order}{entry.count}{code}", self._value(entry))
        return numbers

    def find_orientation(self) -> int | None:
        """The first directory's EXIF orientation, 1 to 8."""
        for entry in self._tables[0].entries:
            numbers = self._numbers(entry) if entry.tag == tags.ORIENTATION else ()
            if numbers and 1 <= numbers[0] <= 8:
                return numbers[0]
        return None


def _joined(offsets: tuple[int, ...], counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where the pixels are, neighbours taken together."""
    pairs = list(zip(offsets, counts, strict=False))
    if len(pairs) > _MOST_STRIPS:
        return [(min(offsets), max(offset + count for offset, count in pairs))]
    joined: list[tuple[int, int]] = []
    for offset, count in pairs:
        if joined and joined[-1][1] == offset:
            joined[-1] = (joined[-1][0], offset + count)
        else:
            joined.append((offset, offset + count))
    return joined


_RULES = {
    (Strip.METADATA, _Kind.PICTURE): tags.PICTURE,
    (Strip.METADATA, _Kind.EXIF): frozenset[int](),
    (Strip.METADATA, _Kind.INTEROPERABILITY): frozenset[int](),
    (Strip.LOCATION, _Kind.PICTURE): tags.PICTURE | tags.TOLD,
    (Strip.LOCATION, _Kind.EXIF): tags.TOLD,
    (Strip.LOCATION, _Kind.INTEROPERABILITY): tags.INTEROPERABILITY,
}
