"""WebP (RFC 9649): chunks in a RIFF file. Those of the picture, its animation and its colour profile stay."""

from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.imaging.strip import exif, xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, is_filled, normal
from imgpro_lite.models import Strip

_HEADER_BYTES = 12
_KEPT = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_KEPT_IN_FRAME = frozenset((b"VP8 ", b"VP8L", b"ALPH"))
_FRAME_HEADER_BYTES = 16
_HAS_EXIF, _HAS_XMP = 0x08, 0x04  # flags of VP8X
_EXIF_PREFIX = b"Exif\0\0"  # does not belong there, but programs write it


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    body: int
    body_end: int
    end: int


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change. The file ends where its header says, or where chunks cannot be read any further. One that is cut
    off stays so, as no decoder takes it."""
    file_end = 8 + int.from_bytes(data[4:8], "little")
    if file_end > len(data) + 1:  # one byte of filling may be missing
        return []
    file_end = min(file_end, len(data))
    found: list[Edit] = []
    flags_at, gone, at = None, 0xFF, _HEADER_BYTES
    has_xmp = False  # there may be one, so that no more than one is read here
    for chunk in _chunks(data, _HEADER_BYTES, file_end):
        at = chunk.end
        if chunk.kind == b"VP8X" and flags_at is None:
            flags_at = chunk.body
        elif chunk.kind == b"ANMF":
            found += _blank_unknown(data, chunk)
        elif chunk.kind == b"EXIF":
            content = _clean_exif(bytes(data[chunk.body : chunk.body_end]), what)
            if not content:
                gone &= ~_HAS_EXIF
            found.append(Edit(chunk.start, chunk.end, _chunk(b"EXIF", content)))
        elif chunk.kind == b"XMP ":
            if has_xmp or what is Strip.METADATA or xmp.mentions_place(bytes(data[chunk.body : chunk.body_end])):
                gone &= 0xFF if has_xmp else ~_HAS_XMP  # the first may have stayed
                found.append(Edit(chunk.start, chunk.end))
            has_xmp = True
        elif chunk.kind not in _KEPT:
            found.append(Edit(chunk.start, chunk.end))
    if flags_at is not None and flags_at < len(data):
        found.append(Edit(flags_at, flags_at + 1, bytes((data[flags_at] & gone,))))
    found = normal(data, found)
    if at < len(data) and (found or not is_filled(data, at, len(data))):
        found.append(Edit(at, len(data)))
    grown_bytes = sum(len(edit.content) - (edit.end - edit.start) for edit in found if edit.fill is None)
    return [*found, Edit(4, 8, (len(data) + grown_bytes - 8).to_bytes(4, "little"))] if grown_bytes else found


def _chunks(data: Data, start: int, end: int) -> Iterator[_Chunk]:
    """The chunks, each filled up to an even length."""
    at = start
    while at + 8 <= end:
        body_end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if body_end > end:
            return
        chunk_end = min(body_end + (body_end & 1), end)
        yield _Chunk(bytes(data[at : at + 4]), at, at + 8, body_end, chunk_end)
        at = chunk_end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + bytes(len(content) & 1) if content else b""


def _blank_unknown(data: Data, frame: _Chunk) -> Iterator[Edit]:
    """Zeros over chunks within a frame that are none of a picture's."""
    for chunk in _chunks(data, frame.body + _FRAME_HEADER_BYTES, frame.body_end):
        if chunk.kind not in _KEPT_IN_FRAME:
            yield Edit(chunk.body, chunk.body_end, fill=b"\0")


def _clean_exif(content: bytes, what: Strip) -> bytes:
    prefix = _EXIF_PREFIX if content.startswith(_EXIF_PREFIX) else b""
    block = exif.clean(content[len(prefix) :], what)
    return prefix + block if block else b""
