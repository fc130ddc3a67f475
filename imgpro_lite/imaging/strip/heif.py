"""HEIC and AVIF (ISO/IEC 23008-12): items in a file of boxes (ISO/IEC 14496-12).

Everything is found by its offset in the file, so nothing moves: metadata is written over in place, EXIF with what
remains of it and zeros, XMP with an empty one, other boxes and items with zeros, also those that are not known. What no
item refers to is written over too.
"""

from collections.abc import Iterator

from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.strip import exif, xmp
from imgpro_lite.imaging.strip.boxes import Box, read_boxes
from imgpro_lite.imaging.strip.edits import Data, Edit, gaps
from imgpro_lite.imaging.strip.items import Item, Malformed, read_items
from imgpro_lite.models import Strip

_KEPT = frozenset((b"ftyp", b"styp", b"etyp", b"meta", b"mdat", b"idat", b"moov", b"moof", b"sidx", b"pdin", b"grpl"))
_KEPT_IN_META = frozenset((b"hdlr", b"dinf", b"pitm", b"iinf", b"iref", b"iprp", b"iloc", b"ipro", b"grpl"))
_MOVIE_BOXES = frozenset((b"moov", b"trak", b"mdia", b"minf", b"moof", b"traf"))
_DROPPED_IN_MOVIE = frozenset((b"udta", b"meta", b"uuid", b"free", b"skip"))
# Coded pictures, and those that are put together of others: with tiles, masks and gain maps.
_PICTURE_ITEMS = frozenset(
    {
        *(b"hvc1", b"hev1", b"lhv1", b"hvt1", b"lht1", b"av01", b"avc1", b"vvc1", b"vvt1", b"evc1", b"jpeg", b"j2k1"),
        *(b"unci", b"mski", b"grid", b"iovl", b"iden", b"tili", b"tmap"),
    }
)
# Parts of items that are not pictures: there are one or two of them, each in one part.
_MOST_EXTENTS = 256
_XMP = b"application/rdf+xml"
_EXIF_PREFIX = b"Exif\0\0"
_EMPTY_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
_TELLING_PROPERTIES = frozenset((b"udes", b"crtt", b"mdft"))  # a description, times
_MOST_DEPTH = 8


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change; nothing moves, but for what follows the last box. Raises Refused for a file whose items that are
    no pictures are absurdly many, or over each other."""
    top = list(read_boxes(data, 0, len(data)))
    meta = next((box for box in top if box.kind == b"meta"), None)
    try:
        items = read_items(data, meta) if meta else []
    except Malformed:  # nor can a decoder find them
        items = []
    kept = [extent for item in items if item.kind in _PICTURE_ITEMS for extent in item.extents]
    kept += _structure(data, top)
    found = list(_in_items(data, items, kept, _places(data, top), what))
    for box in top:
        if box.kind not in _KEPT:
            found += _freed(box, kept)
        if box.kind in _MOVIE_BOXES:
            found += _in_movie(data, box, 0)
    for box in (box for box in top if box.kind == b"meta"):
        found += _in_meta(data, box, kept)
        if what is Strip.METADATA:
            found += _properties(data, box)
    return found + list(_blank(kept, top[-1].end if top else 0, len(data)))


def _structure(data: Data, top: list[Box]) -> Iterator[tuple[int, int]]:
    """The boxes themselves, which no item is in, but for the contents that are there for items."""
    for box in top:
        if box.kind == b"meta":
            inner = read_boxes(data, box.body + 4, box.end)
            yield from gaps([(one.body, one.end) for one in inner if one.kind not in _KEPT_IN_META], box.start, box.end)
        elif box.kind in _KEPT:
            yield box.start, box.body if box.kind == b"mdat" else box.end


def _in_meta(data: Data, meta: Box, kept: list[tuple[int, int]]) -> Iterator[Edit]:
    """Zeros over boxes that say nothing of where pictures are, such as those of XML or of programs' own."""
    for box in read_boxes(data, meta.body + 4, meta.end):
        if box.kind not in _KEPT_IN_META and box.kind != b"idat":  # in that are items, which are looked at one by one
            yield Edit(box.start + 4, box.start + 8, b"free")
            yield from _blank(kept, box.body, box.end)


def _freed(box: Box, kept: list[tuple[int, int]]) -> list[Edit]:
    """The box as free space, but for what an image has in it, in a file that is made to confuse. The rest of the file,
    where it is not whole."""
    if not box.is_whole and not any(end > box.start for _start, end in kept):
        return [Edit(box.start, box.end)]
    name = [Edit(box.start + 4, box.start + 8, b"free")] if box.is_whole else []
    return [*name, *_blank(kept, box.body, box.end)]


def _blank(kept: list[tuple[int, int]], start: int, end: int) -> Iterator[Edit]:
    for first, last in gaps(kept, start, end):
        yield Edit(first, last, fill=b"\0")


def _in_movie(data: Data, parent: Box, depth: int) -> Iterator[Edit]:
    """The film's own metadata: where and when it was taken."""
    for box in read_boxes(data, parent.body, parent.end):
        if box.kind in _DROPPED_IN_MOVIE and box.is_whole:
            yield from _freed(box, [])
        elif box.kind in _MOVIE_BOXES and depth < _MOST_DEPTH:
            yield from _in_movie(data, box, depth + 1)


def _properties(data: Data, meta: Box) -> Iterator[Edit]:
    for outer in read_boxes(data, meta.body + 4, meta.end):
        if outer.kind == b"iprp":
            for inner in read_boxes(data, outer.body, outer.end):
                if inner.kind == b"ipco":
                    for box in read_boxes(data, inner.body, inner.end):
                        if box.kind in _TELLING_PROPERTIES and box.end - box.body > 4:
                            yield Edit(box.body + 4, box.end, fill=b"\0")


def _places(data: Data, top: list[Box]) -> list[tuple[int, int]]:
    """Where the contents of items are; nothing is written over elsewhere. A film's samples are not items."""
    has_film = any(box.kind in (b"moov", b"moof") for box in top)
    return [] if has_film else [(box.body, box.end) for box in top if box.kind == b"mdat"]


def _in_items(
    data: Data, items: list[Item], kept: list[tuple[int, int]], places: list[tuple[int, int]], what: Strip
) -> Iterator[Edit]:
    """Items that are no pictures cleaned, but for bytes that an image uses too, and zeros over what no item uses."""
    telling = [item for item in items if item.kind not in _PICTURE_ITEMS]
    told = [extent for item in telling for extent in item.extents]
    if len(told) > _MOST_EXTENTS or sum(end - start for start, end in told) > len(data):
        raise Refused("The file has too many items that are no pictures, or has them over each other.")
    for item in telling:
        old = b"".join(bytes(data[start:end]) for start, end in item.extents)
        new = _clean(item, old, what)
        at = 0
        for start, end in item.extents:
            for first, last in gaps(kept, start, end):
                yield Edit(first, last, new[at + first - start : at + last - start])
            at += end - start
    if kept:
        used = kept + told
        for start, end in places:
            yield from _blank(used, start, end)


def _clean(item: Item, content: bytes, what: Strip) -> bytes:
    """What to write over an item, exactly as long."""
    if item.kind == b"Exif":
        # Four bytes tell how many others, such as Exif\0\0, are in front of the block.
        start = 4 + int.from_bytes(content[:4], "big")
        prefix = content[:start] if content[4:start] == _EXIF_PREFIX else bytes(4)
        # Never nothing but zeros: libavif refuses a picture whose EXIF has no header.
        block = exif.clean(content[start:], what) or exif.EMPTY
        if len(prefix + block) > len(content):
            prefix, block = bytes(4), exif.EMPTY
        return (prefix + block)[: len(content)].ljust(len(content), b"\0")
    if item.content_type == _XMP:
        is_kept = what is Strip.LOCATION and not xmp.mentions_place(content)
        empty = _EMPTY_XMP if len(content) >= len(_EMPTY_XMP) else b""
        return content if is_kept else empty.ljust(len(content))
    return bytes(len(content))
