"""PNG (third edition, with APNG): chunks. The critical ones and those that say how to show the picture stay."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.imaging.strip import exif, xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, is_filled
from imgpro_lite.models import Strip

_SIGNATURE_BYTES = 8
_AROUND_BYTES = 12  # length, kind and check sum of a chunk

_ABOUT_THE_PICTURE = frozenset(
    {
        *(b"cHRM", b"cICP", b"gAMA", b"iCCP", b"mDCV", b"mDCv", b"cLLI", b"cLLi", b"sBIT", b"sRGB", b"bKGD", b"hIST"),
        *(b"tRNS", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT", b"sTER", b"oFFs", b"pCAL", b"sCAL", b"vpAg", b"caNv"),
    }
)
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "  # EXIF, IPTC or XMP, as ImageMagick writes it


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change. The picture ends with its IEND chunk, or where chunks cannot be read any further."""
    found = []
    at = _SIGNATURE_BYTES
    for chunk in _chunks(data):
        at = chunk.end
        if chunk.kind == b"eXIf":
            found.append(Edit(chunk.start, chunk.end, _clean_exif(data, chunk, what)))
        elif not _is_kept(data, chunk, what):
            found.append(Edit(chunk.start, chunk.end))
        if chunk.kind == b"IEND":
            break
    if not is_filled(data, at, len(data)):
        found.append(Edit(at, len(data)))
    return found


def _chunks(data: Data) -> Iterator[_Chunk]:
    at = _SIGNATURE_BYTES
    while at + _AROUND_BYTES <= len(data):
        end = at + _AROUND_BYTES + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield _Chunk(bytes(data[at + 4 : at + 8]), at, end)
        at = end


def _is_kept(data: Data, chunk: _Chunk, what: Strip) -> bool:
    is_critical = not chunk.kind[0] & 0x20  # the case of its first letter
    if is_critical or chunk.kind in _ABOUT_THE_PICTURE:
        return True
    if what is Strip.METADATA:
        return False
    return chunk.kind == b"tIME" or (chunk.kind in _TEXTS and _is_kept_text(data, chunk))


def _is_kept_text(data: Data, chunk: _Chunk) -> bool:
    """Texts stay but for those about a place. XMP that is compressed, as it should not be, goes."""
    content = bytes(data[chunk.start + 8 : chunk.end - 4])
    keyword, _, rest = content.partition(b"\0")
    if keyword == _XMP:
        is_plain = chunk.kind == b"iTXt" and rest[:1] == b"\0"
        # Behind two bytes about compression follow two names of languages, each with a zero at its end.
        packet = rest[2:].split(b"\0", 2)[-1]
        return is_plain and not xmp.mentions_place(packet)
    return not keyword.startswith(_RAW_PROFILE) and not xmp.names_place(keyword.decode("latin-1"))


def _clean_exif(data: Data, chunk: _Chunk, what: Strip) -> bytes:
    """The chunk as it will be; nothing when it goes."""
    block = exif.clean(bytes(data[chunk.start + 8 : chunk.end - 4]), what)
    body = chunk.kind + block
    return len(block).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") if block else b""
