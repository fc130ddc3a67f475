"""ICC profiles (ICC.1:2022): the little that is read of them, and small ones written. Knows no image library."""

import struct
from collections.abc import Sequence

from imgpro_lite.imaging.colorants import SRGB, Primaries, colorants

# A profile that is kept goes into every variant, so it must be small beside a 10 KB picture. Those of cameras, phones
# and editors have about 0.5 KB (Display P3, Adobe RGB, ProPhoto) up to 1 KB without their texts.
_MOST_KEPT_BYTES = 2048

# The area of sRGB's triangle of primaries in CIE xy, adapted to D50 as ICC profiles are: (0.648, 0.331),
# (0.321, 0.598), (0.156, 0.066). A profile counts as wide from 10 % more; Display P3 has 36 % more.
_SRGB_AREA = 0.1091
_WIDE_AREA = 1.1 * _SRGB_AREA

_HEADER_BYTES = 128
_MOST_TAGS = 100  # real profiles have about 20

_COLORANT_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVE_TAGS = (b"rTRC", b"gTRC", b"bTRC")

# Below this exponent a curve is nearly linear, and 8 bits are too few to store dark colours in. Real spaces start at
# 1.8 (ProPhoto).
_LEAST_EXPONENT = 1.4

# White, as every profile has it, and some date, as there has to be one: year, month, day, hour, minute, second.
_D50_XYZ = (0.9642, 1.0, 0.8249)
_DATE = (2000, 1, 1, 0, 0, 0)

_Tags = dict[bytes, bytes]


def says_srgb(profile: bytes) -> bool:
    """Whether the profile is called sRGB (in ASCII, or UTF-16 as version 4 profiles have it)."""
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def is_wide_gamut(profile: bytes) -> bool:
    """Whether a matrix profile's primaries span clearly more colours than sRGB's. A profile without primaries (one with
    tables) never counts: it may be large, and browsers differ about them."""
    tags = _read_tags(profile)
    (red_x, red_y), (green_x, green_y), (blue_x, blue_y) = (_chromaticity(tags.get(tag, b"")) for tag in _COLORANT_TAGS)
    twice_area = red_x * (green_y - blue_y) + green_x * (blue_y - red_y) + blue_x * (red_y - green_y)
    return abs(twice_area) / 2 > _WIDE_AREA


def without_texts(profile: bytes) -> bytes | None:
    """The same colours in a small profile that names no device, date, author or program; None when there is no such
    profile: it has tables, or long curves, or curves that do not suit 8 bits."""
    tags = _read_tags(profile)
    wanted = (*_COLORANT_TAGS, *_CURVE_TAGS)
    if not all(tag in tags for tag in wanted) or any(tag.startswith(b"A2B") for tag in tags):
        return None
    if any(_exponent(tags[tag]) < _LEAST_EXPONENT for tag in _CURVE_TAGS):
        return None
    kept = _write(b"RGB ", {tag: tags[tag] for tag in wanted})
    return kept if len(kept) <= _MOST_KEPT_BYTES else None


def rgb_profile(primaries: Primaries, curve: bytes) -> bytes:
    """A matrix profile of these primaries. Raises ValueError for primaries that span no colours."""
    tags = {tag: _xyz_tag(*xyz) for tag, xyz in zip(_COLORANT_TAGS, colorants(primaries), strict=True)}
    return _write(b"RGB ", tags | dict.fromkeys(_CURVE_TAGS, curve))


def grey_profile(curve: bytes) -> bytes:
    """The profile of a picture with one band."""
    return _write(b"GRAY", {b"kTRC": curve})


def srgb_profile(*, is_grey: bool) -> bytes:
    """sRGB itself, of a picture with one band or three."""
    return grey_profile(srgb_curve()) if is_grey else rgb_profile(SRGB, srgb_curve())


def gamma_curve(exponent: float) -> bytes:
    """The curve v ** exponent, as a parametric curve (10.18)."""
    return b"para" + struct.pack(">4xHHi", 0, 0, _fixed(exponent))


def srgb_curve() -> bytes:
    """sRGB's curve (IEC 61966-2-1): linear for dark colours, else ((v + 0.055) / 1.055) ** 2.4."""
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + struct.pack(">4xHH5i", 3, 0, *map(_fixed, numbers))


def sampled_curve(samples: Sequence[float]) -> bytes:
    """A curve through these values of 0 to 1, at equal steps (10.6)."""
    return b"curv" + struct.pack(f">4xI{len(samples)}H", len(samples), *(round(65_535 * value) for value in samples))


def _read_tags(profile: bytes) -> _Tags:
    """The tags by signature (7.3); what cannot be read is left out."""
    tags = {}
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
        for index in range(min(count, _MOST_TAGS)):
            tag, offset, size = struct.unpack_from(">4sII", profile, _HEADER_BYTES + 4 + 12 * index)
            tags[tag] = profile[offset : offset + size]
    except struct.error:
        pass
    return tags


def _chromaticity(tag: bytes) -> tuple[float, float]:
    """x and y of an XYZ tag (10.31), or zeros when it is none."""
    if len(tag) < 20:
        return 0.0, 0.0
    x, y, z = struct.unpack_from(">iii", tag, 8)
    return (x / (x + y + z), y / (x + y + z)) if x + y + z else (0.0, 0.0)


def _exponent(curve: bytes) -> float:
    """About which power of the value the curve is, or 0 when it cannot be read."""
    try:
        if curve[:4] == b"para":
            return float(struct.unpack_from(">i", curve, 12)[0]) / 65_536
        (count,) = struct.unpack_from(">I", curve, 8)
        if count == 0:
            return 1.0
        if count == 1:
            return float(struct.unpack_from(">H", curve, 12)[0]) / 256
        # Of a table, tell a straight line from a curve by its middle: 0.5 ** 1.8 is 0.29, 0.5 ** 1.4 is 0.38.
        (middle,) = struct.unpack_from(">H", curve, 12 + 2 * (count // 2))
    except struct.error:
        return 0.0
    return 2.0 if middle / 65_535 < 0.5**_LEAST_EXPONENT else 1.0


def _write(colour_space: bytes, tags: _Tags) -> bytes:
    """A profile with these tags and those that every profile has."""
    tags = {
        b"desc": _text_tag(f"{colour_space.decode().strip()} colours"),
        b"cprt": _text_tag("CC0"),
        b"wtpt": _xyz_tag(*_D50_XYZ),
    } | tags
    body, offsets = b"", dict[bytes, int]()
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for content in tags.values():
        if content not in offsets:  # the three curves are usually the same
            offsets[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
    table = b"".join(struct.pack(">4sII", tag, offsets[content], len(content)) for tag, content in tags.items())
    # Version 4.2, of a display, to XYZ (7.2).
    head = struct.pack(
        ">I4xI4s4s4s6H4s", start + len(body), 0x0420_0000, b"mntr", colour_space, b"XYZ ", *_DATE, b"acsp"
    )
    head += bytes(28) + _xyz_tag(*_D50_XYZ)[8:]
    return head.ljust(_HEADER_BYTES, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz_tag(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", _fixed(x), _fixed(y), _fixed(z))


def _text_tag(text: str) -> bytes:
    """A multi-localised text (10.15) with one record, in English."""
    content = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(content), 28) + content


def _fixed(number: float) -> int:
    """s15Fixed16Number."""
    return round(number * 65_536)
