"""GIF89a: comments, and what programs add in extensions of their own, among them XMP."""

from collections.abc import Iterator

from imgpro_lite.imaging.strip import xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, is_filled
from imgpro_lite.models import Strip

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT, _PLAIN_TEXT, _APPLICATION = 0xF9, 0xFE, 0x01, 0xFF
_HEADER_BYTES = 13
# How often to repeat (two spellings of one thing), and a colour profile.
_KEPT_APPLICATIONS = frozenset((b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"))
_XMP = b"XMP DataXMP"


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change. The picture ends with its trailer, or where blocks cannot be read any further. A block that is
    cut off stays so, as no decoder takes it."""
    return list(_edits(data, what))


def _edits(data: Data, what: Strip) -> Iterator[Edit]:
    at = _HEADER_BYTES + (_colours_bytes(data[10]) if len(data) > _HEADER_BYTES else 0)
    while at + 1 < len(data) and data[at] in (_EXTENSION, _IMAGE, 0):
        start = at
        if data[at] == 0:  # decoders overlook it
            at += 1
            continue
        if data[at] == _IMAGE:
            at += 11 + (_colours_bytes(data[at + 9]) if at + 9 < len(data) else 0)
        else:
            at += 2
        at = _after_blocks(data, at)
        if at > len(data):
            return
        if data[start] == _EXTENSION and not _is_kept(data, start, at, what):
            yield Edit(start, at)
    if at < len(data) and data[at] == _TRAILER:
        at += 1
    if not is_filled(data, at, len(data)):
        yield Edit(at, len(data))


def _colours_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: Data, at: int) -> int:
    """Where the next thing starts, behind blocks that each tell their length and the empty one at the end; beyond the
    end of the file when there is none."""
    while at < len(data) and (length := data[at]):
        at += 1 + length
    return at + 1


def _is_kept(data: Data, start: int, end: int, what: Strip) -> bool:
    kind = data[start + 1]
    if kind == _APPLICATION:
        name = bytes(data[start + 3 : start + 14])
        if name == _XMP and what is Strip.LOCATION:
            # It is not cut into blocks: 258 bytes behind it lead readers of blocks to its end.
            return not xmp.mentions_place(bytes(data[start + 14 : end - 258]))
        return name in _KEPT_APPLICATIONS
    if kind in (_COMMENT, _PLAIN_TEXT) and what is Strip.LOCATION:
        return not xmp.is_packet(_joined_blocks(data, start + 2, end))
    return kind == _CONTROL


def _joined_blocks(data: Data, at: int, end: int) -> bytes:
    """What is in blocks that each tell their length."""
    blocks = []
    while at < end and (length := data[at]):
        blocks.append(bytes(data[at + 1 : at + 1 + length]))
        at += 1 + length
    return b"".join(blocks)
