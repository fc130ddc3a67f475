"""Places in IPTC, which is a list of numbered texts: those of a place go and the others stay. What a person typed as a
title, a caption or a keyword is not looked into."""

from collections.abc import Iterator

_IPTC_MARKER = 0x1C
# Record and dataset of IIM 4.2: content location code and name, city, sublocation, province, country code and name.
_PLACE_DATASETS = frozenset((2, number) for number in (26, 27, 90, 92, 95, 100, 101))

_RESOURCE_SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
# Photoshop's image resources: IPTC, and copies of EXIF (in two parts) and XMP.
_IPTC_RESOURCE = 0x0404
_DROPPED_RESOURCES = frozenset((0x0422, 0x0423, 0x0424))


def without_places(iptc: bytes) -> bytes | None:
    """IPTC (IIM) without places; None when it is malformed."""
    kept, at = [], 0
    while at < len(iptc) and iptc[at] == _IPTC_MARKER:
        if at + 5 > len(iptc):
            return None
        start, length = at + 5, int.from_bytes(iptc[at + 3 : at + 5], "big")
        if length & 0x8000:  # an extended dataset: so many bytes of length follow
            size_bytes = length & 0x7FFF
            length = int.from_bytes(iptc[start : start + min(size_bytes, 8)], "big")
            start += size_bytes
        if start + length > len(iptc):
            return None
        if (iptc[at + 1], iptc[at + 2]) not in _PLACE_DATASETS:
            kept.append(iptc[at : start + length])
        at = start + length
    return b"".join(kept) if not iptc[at:].strip(b"\0") else None  # TIFF fills it up to four bytes


def resources_without_places(resources: bytes) -> bytes | None:
    """Photoshop's image resources without places and copies of EXIF and XMP; None when they are malformed, or when
    nothing is left."""
    kept = []
    try:
        for number, start, end, (content_start, content_end) in _resources(resources):
            content = resources[content_start:content_end]
            if number == _IPTC_RESOURCE:
                texts = without_places(content)
                if texts is None:
                    return None
                if texts != content:
                    padded = texts + bytes(len(texts) % 2)
                    kept.append(resources[start : content_start - 4] + len(texts).to_bytes(4, "big") + padded)
                    continue
            if number not in _DROPPED_RESOURCES:
                kept.append(resources[start:end])
    except ValueError:
        return None
    return b"".join(kept) or None


def _resources(data: bytes) -> Iterator[tuple[int, int, int, tuple[int, int]]]:
    """Number, start and end of each resource, and of its content. Raises ValueError when they are malformed."""
    at = 0
    while data[at : at + 12].strip(b"\0"):  # zeros fill it up
        name_at = at + 6
        if data[at : at + 4] not in _RESOURCE_SIGNATURES or name_at >= len(data):
            raise ValueError("no resource")
        length_at = name_at + (data[name_at] // 2 + 1) * 2  # the name with its length is an even number of bytes
        start = length_at + 4
        end = start + int.from_bytes(data[length_at:start], "big")
        if start > len(data) or end > len(data):
            raise ValueError("a resource is cut off")
        after = min(end + (end - start) % 2, len(data))
        yield int.from_bytes(data[at + 4 : at + 6], "big"), at, after, (start, end)
        at = after
