"""JPEG (ITU-T T.81, T.871): segments before and between the scans, and what follows the end of the picture.

After the picture there may be others, each with a position of its own (CIPA DC-007, MPF: also the gain maps of HDR
phones), the film of a moving photo, or whatever a program puts there. All of it goes, as what it is cannot be told.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.imaging.strip import exif, texts, xmp
from imgpro_lite.imaging.strip.edits import Data, Edit, is_filled
from imgpro_lite.models import Strip

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # 00 is a coded ff, d0 to d7 are in the scan

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, _EOI + 1)))
_APP0, _APP1, _APP2, _APP12, _APP13, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEC, 0xED, 0xEE, 0xEF, 0xFE

_EXIF = b"Exif\0"  # and one more byte, which should be 0
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_JFIF = b"JFIF\0"
_JFIF_BYTES = 14  # without the thumbnail
_ADOBE_BYTES = 12
_PROFILE = b"ICC_PROFILE\0"  # and a byte for the part's number, from 1, and one for how many there are
_PROFILE_PREFIX_BYTES = 14


class _Part(NamedTuple):
    """A segment with a part of the colour profile."""

    start: int
    end: int
    content: bytes
    in_scan: bool


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change."""
    found: list[Edit] = []
    profile: list[_Part] = []
    has_xmp = False  # there may be one, so that no more than one is read here
    at, marker_at_most = 2, _MARKER
    while match := marker_at_most.search(data, at):
        kind = data[match.start() + 1]
        in_scan = marker_at_most is _MARKER_IN_SCAN
        if match.start() > at and not in_scan and not is_filled(data, at, match.start(), b"\xff"):
            found.append(Edit(at, match.start()))  # decoders skip it
        at = match.end()
        if kind == _EOI:
            break
        if kind in _WITHOUT_LENGTH:
            continue
        start, end = match.start(), min(at + max(2, int.from_bytes(data[at : at + 2], "big")), len(data))
        if _APP0 <= kind <= _APP15 or kind == _COM:
            content = bytes(data[at + 2 : end])
            is_xmp = kind == _APP1 and content.startswith(_XMP)
            kept = None if is_xmp and has_xmp else _kept(kind, content, what)
            has_xmp |= is_xmp
            if kept != content:
                found.append(Edit(start, end, _segment(kind, kept, in_scan=in_scan)))
            elif kind == _APP2:
                profile.append(_Part(start, end, content, in_scan))
        elif kind == _SOS:
            marker_at_most = _MARKER_IN_SCAN
        at = end
    else:
        at = len(data)  # no end: decoders fill it up with grey, or refuse it
    found += _profile_edits(profile)
    if not is_filled(data, at, len(data)):
        found.append(Edit(at, len(data)))
    return found


def _profile_edits(parts: list[_Part]) -> Iterator[Edit]:
    """What is behind a colour profile goes, and all that calls itself parts of one where they are not exactly one."""
    parts = sorted(parts, key=lambda part: part.content[_PROFILE_PREFIX_BYTES - 2 : _PROFILE_PREFIX_BYTES - 1])
    numbers = [(*part.content[_PROFILE_PREFIX_BYTES - 2 : _PROFILE_PREFIX_BYTES],) for part in parts]
    joined = b"".join(part.content[_PROFILE_PREFIX_BYTES:] for part in parts)
    extra_bytes = len(joined) - int.from_bytes(joined[:4], "big")  # ICC.1, 7.2: its size, and its signature at 36
    is_whole = numbers == [(number, len(parts)) for number in range(1, len(parts) + 1)] and joined[36:40] == b"acsp"
    if not is_whole or not 0 <= extra_bytes < len(parts[-1].content) - _PROFILE_PREFIX_BYTES:
        for part in parts:
            yield Edit(part.start, part.end, _segment(_APP2, None, in_scan=part.in_scan))
    elif extra_bytes:
        last = parts[-1]
        yield Edit(last.start, last.end, _segment(_APP2, last.content[:-extra_bytes], in_scan=last.in_scan))


def _segment(kind: int, content: bytes | None, *, in_scan: bool) -> bytes:
    """A segment with this content. Of one that goes an empty one stays in a scan, where a marker may have cut coded
    pixels short, so that decoders see as many markers as before."""
    if content is None and not in_scan:
        return b""
    return bytes((0xFF, kind)) + (2 + len(content or b"")).to_bytes(2, "big") + (content or b"")


def _kept(kind: int, content: bytes, what: Strip) -> bytes | None:
    """What stays of a segment's content; None when it goes."""
    all_of_it = what is Strip.METADATA
    match kind:
        case _ if kind == _APP0 and content.startswith(_JFIF):
            return _jfif(content, all_of_it=all_of_it)
        case _ if kind == _APP1 and content.startswith(_EXIF):
            block = exif.clean(content[6:], what)
            return content[:6] + block if block else None
        case _ if kind == _APP1 and content.startswith(_XMP):
            return None if all_of_it or xmp.mentions_place(content[len(_XMP) :]) else content
        case _ if kind == _APP2 and content.startswith(_PROFILE):
            return content
        case _ if kind == _APP12 and content.startswith(b"Ducky"):  # Photoshop's quality, and a comment
            return None if all_of_it else content
        case _ if kind == _APP13 and content.startswith(_PHOTOSHOP) and not all_of_it:
            resources = content[len(_PHOTOSHOP) :]
            kept = texts.resources_without_places(resources)
            return None if kept is None else _PHOTOSHOP + kept
        case _ if kind == _APP14 and content.startswith(b"Adobe"):  # how its colours are coded
            return content[:_ADOBE_BYTES]
        case _ if kind == _COM and not all_of_it and not xmp.is_packet(content):
            return content
    return None


def _jfif(content: bytes, *, all_of_it: bool) -> bytes:
    """JFIF without what is behind it, and with its thumbnail only where it may stay: three bytes for each pixel, of
    width and height in the two bytes before."""
    if len(content) <= _JFIF_BYTES:
        return content
    end = _JFIF_BYTES + 3 * content[_JFIF_BYTES - 2] * content[_JFIF_BYTES - 1]
    return content[: _JFIF_BYTES - 2] + bytes(2) if all_of_it or end > len(content) else content[:end]
