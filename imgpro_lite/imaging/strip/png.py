"""PNG (third edition, with APNG): chunks. Those of the picture and those that say how to show it stay."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.imaging.strip import exif, xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, is_filled
from imgpro_lite.models import Strip

_SIGNATURE_BYTES = 8
_AROUND_BYTES = 12  # length, kind and check sum of a chunk
_MOST_KEYWORD_BYTES = 80  # with the zero at its end

_PICTURE = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"CgBI"),
        *(b"cHRM", b"cICP", b"gAMA", b"iCCP", b"mDCV", b"mDCv", b"cLLI", b"cLLi", b"sBIT", b"sRGB", b"bKGD", b"hIST"),
        *(b"tRNS", b"pHYs", b"sPLT", b"acTL", b"fcTL", b"fdAT", b"sTER", b"oFFs", b"pCAL", b"sCAL", b"vpAg", b"caNv"),
    }
)
_XMP = b"XML:com.adobe.xmp"
# Keywords of texts that stay, in small letters: those of the standard, and what drawing programs, ImageMagick and those
# that make pictures from words write. Others may be a place, or EXIF under whatever name.
_KNOWN_TEXTS = frozenset(
    {
        *(b"title", b"author", b"description", b"copyright", b"creation time", b"software", b"disclaimer", b"warning"),
        *(b"source", b"comment", b"collection", b"artist", b"credit", b"subject", b"keywords", b"label", b"rating"),
        *(b"date:create", b"date:modify", b"date:timestamp", b"creationtime", b"modify-date", b"url", b"document"),
        *(b"make", b"model", b"parameters", b"prompt", b"workflow", b"generation_data", b"dream", b"sd-metadata"),
        *(b"invokeai_metadata", b"invokeai_graph", b"invokeai_workflow", b"mxfile"),
    }
)


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change. The picture ends with its IEND chunk, or where chunks cannot be read any further."""
    found = []
    has_xmp = False
    at = _SIGNATURE_BYTES
    for chunk in _chunks(data):
        at = chunk.end
        if chunk.kind == b"eXIf":
            found.append(Edit(chunk.start, chunk.end, _clean_exif(data, chunk, what)))
        elif _is_xmp(data, chunk):  # there may be one, so that no more than one is read here
            if has_xmp or what is Strip.METADATA or not _is_kept_xmp(data, chunk):
                found.append(Edit(chunk.start, chunk.end))
            has_xmp = True
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
    if chunk.kind in _PICTURE:
        return True
    if what is Strip.METADATA:
        return False
    return chunk.kind == b"tIME" or (chunk.kind in (b"tEXt", b"iTXt") and _is_kept_text(data, chunk))


def _is_xmp(data: Data, chunk: _Chunk) -> bool:
    return chunk.kind == b"iTXt" and _keyword(data, chunk) == _XMP


def _keyword(data: Data, chunk: _Chunk) -> bytes:
    start = chunk.start + 8
    return bytes(data[start : min(start + _MOST_KEYWORD_BYTES, chunk.end - 4)]).partition(b"\0")[0]


def _is_kept_xmp(data: Data, chunk: _Chunk) -> bool:
    text = _text(data, chunk)
    return text is not None and not xmp.mentions_place(text)


def _is_kept_text(data: Data, chunk: _Chunk) -> bool:
    """A text of a known kind stays, but for XMP in the wrong place. Compressed ones go: a few bytes could become a
    large text, and there may be many of them."""
    if _keyword(data, chunk).lower() not in _KNOWN_TEXTS:
        return False
    text = _text(data, chunk)
    return text is not None and not xmp.is_packet(text)


def _text(data: Data, chunk: _Chunk) -> bytes | None:
    """What stands behind the keyword; None when it is compressed."""
    rest = bytes(data[chunk.start + 8 : chunk.end - 4]).partition(b"\0")[2]
    if chunk.kind == b"tEXt":
        return rest
    # Behind two bytes about compression follow two names of languages, each with a zero at its end.
    return rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\0" else None


def _clean_exif(data: Data, chunk: _Chunk, what: Strip) -> bytes:
    """The chunk as it will be; nothing when it goes."""
    block = exif.clean(bytes(data[chunk.start + 8 : chunk.end - 4]), what)
    body = chunk.kind + block
    return len(block).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") if block else b""
