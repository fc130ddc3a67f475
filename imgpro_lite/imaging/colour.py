"""Colours: everything becomes 8-bit sRGB or grey, except that a profile wider than sRGB is kept with its pixels."""

import struct

import pyvips

_PROFILE = "icc-profile-data"

# The area of sRGB's triangle of primaries in CIE xy, adapted to D50 as ICC profiles are: (0.648, 0.331),
# (0.321, 0.598), (0.156, 0.066). A profile counts as wide from 10 % more; Display P3 has 36 % more.
_SRGB_AREA = 0.1091
_WIDE_AREA = 1.1 * _SRGB_AREA

_ICC_HEADER_BYTES = 128
_MOST_TAGS = 100  # real profiles have about 20

_PROCESSED = ("srgb", "b-w")
_DEEP = {"rgb16": "srgb", "grey16": "b-w"}


def from_ink(image: pyvips.Image) -> pyvips.Image:
    """CMYK as sRGB, by its own profile or else by a common one; other pictures unchanged. Goes before resizing, as
    nothing after it knows about ink."""
    if image.interpretation != "cmyk":
        return image
    return _without_profile(_convert(image))


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """The picture as 8-bit sRGB or grey. With a wide-gamut RGB profile the colours stay as they are, and so does the
    profile, which every target format but GIF carries."""
    if image.interpretation not in _PROCESSED:
        image = image.colourspace(_DEEP.get(image.interpretation, "srgb"))
    if not image.get_typeof(_PROFILE):
        return image
    profile: bytes = image.get(_PROFILE)
    is_colour = image.interpretation == "srgb"
    if is_colour and is_wide_gamut(profile):
        return image
    if not (is_colour and _says_srgb(profile)):
        image = _convert(image)
    return _without_profile(image)


def _convert(image: pyvips.Image) -> pyvips.Image:
    try:
        return image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
    except pyvips.Error:  # a broken profile, or one for another kind of picture
        return _without_profile(image).colourspace("srgb")


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    image = image.copy()
    if image.get_typeof(_PROFILE):
        image.remove(_PROFILE)
    return image


def _says_srgb(profile: bytes) -> bool:
    """Whether the profile is called sRGB (in ASCII, or UTF-16 as version 4 profiles have it)."""
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def is_wide_gamut(profile: bytes) -> bool:
    """Whether a matrix profile's primaries span clearly more colours than sRGB's. A profile without primaries (one with
    tables) is never kept: it may be large, and browsers differ about them."""
    corners = [_chromaticity(profile, tag) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
    (red_x, red_y), (green_x, green_y), (blue_x, blue_y) = corners
    twice_area = red_x * (green_y - blue_y) + green_x * (blue_y - red_y) + blue_x * (red_y - green_y)
    return abs(twice_area) / 2 > _WIDE_AREA


def _chromaticity(profile: bytes, wanted: bytes) -> tuple[float, float]:
    """x and y of an XYZ tag (ICC.1:2022, 7.3 and 10.31), or zeros when there is none."""
    try:
        (count,) = struct.unpack_from(">I", profile, _ICC_HEADER_BYTES)
        for index in range(min(count, _MOST_TAGS)):
            tag, offset, _size = struct.unpack_from(">4sII", profile, _ICC_HEADER_BYTES + 4 + 12 * index)
            if tag == wanted:
                x, y, z = struct.unpack_from(">iii", profile, offset + 8)
                return (x / (x + y + z), y / (x + y + z)) if x + y + z else (0.0, 0.0)
    except struct.error:
        pass
    return 0.0, 0.0
