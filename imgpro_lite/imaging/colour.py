"""Colours: everything becomes 8-bit sRGB or grey, except that a profile wider than sRGB is kept with its pixels."""

import pyvips

from imgpro_lite.imaging import icc

PROFILE_FIELD = "icc-profile-data"

_PROCESSED = ("srgb", "b-w")
_DEEP = {"rgb16": "srgb", "grey16": "b-w"}

# What whole numbers of more than 8 bits in a TIFF are multiplied with to fill 16. Of signed ones, half is unused.
_TO_16_BITS = {"uint": 1 / 65_537, "int": 1 / 32_768, "short": 2.0, "char": 514.0}


def with_profile(image: pyvips.Image, profile: bytes) -> pyvips.Image:
    """The same pixels, said to be in the colours of this ICC profile."""
    image = image.copy()
    image.set_type(pyvips.GValue.blob_type, PROFILE_FIELD, profile)
    return image


def before_resizing(image: pyvips.Image) -> pyvips.Image:
    """What must be done to all pixels, as resizing makes 8 bits of them and knows nothing about ink: CMYK becomes sRGB,
    by its own profile or else by a common one; unusual numbers become usual ones; and more than 8 bits are converted by
    their profile, unless that is kept. Other pictures are unchanged."""
    if image.interpretation == "cmyk":
        return _without_profile(_convert(image, "srgb"))
    image = _usual_numbers(image)
    return _processed(image) if image.format == "ushort" and image.get_typeof(PROFILE_FIELD) else image


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """The picture as 8-bit sRGB or grey. With a wide-gamut RGB profile the colours stay as they are, and so does what
    matters of the profile, which every target format but GIF carries. Where that would be large, they become Display
    P3."""
    if image.interpretation not in _PROCESSED:
        image = image.colourspace(_DEEP.get(image.interpretation, "srgb"))
    return _processed(image) if image.get_typeof(PROFILE_FIELD) else image


def _processed(image: pyvips.Image) -> pyvips.Image:
    """The picture after its profile has had its effect."""
    profile: bytes = image.get(PROFILE_FIELD)
    is_colour = image.interpretation in ("srgb", "rgb16")
    if is_colour and icc.is_wide_gamut(profile):
        kept = icc.without_texts(profile)
        return with_profile(image, kept) if kept else _convert(image, "p3")
    if is_colour and icc.says_srgb(profile):
        return _without_profile(image)
    return _without_profile(_convert(image, "srgb"))


def _usual_numbers(image: pyvips.Image) -> pyvips.Image:
    """Integers of 32 bits, or with signs, as 16 bits. Floating point numbers are light from 0 to 1 in sRGB's primaries:
    libvips knows that of colours, but not of grey."""
    is_grey = image.bands < 3
    if image.format in _TO_16_BITS:
        scaled = (image * _TO_16_BITS[image.format]).cast("ushort")
        return scaled.copy(interpretation="grey16" if is_grey else "rgb16")
    if image.format in ("float", "double"):
        image = _without_profile(image)
        return _grey_light(image) if image.interpretation == "b-w" else image
    return image


def _grey_light(image: pyvips.Image) -> pyvips.Image:
    grey = image[0].bandjoin([image[0], image[0]]).copy(interpretation="scrgb").colourspace("b-w")
    return grey.bandjoin((image[1] * 255).cast("uchar")) if image.bands > 1 else grey


def _convert(image: pyvips.Image, target: str) -> pyvips.Image:
    """By the picture's profile to one of libvips' own."""
    try:
        return image.icc_transform(target, embedded=True, intent="relative", black_point_compensation=True)
    except pyvips.Error:  # a broken profile, or one for another kind of picture
        return _without_profile(image).colourspace("srgb")


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    image = image.copy()
    if image.get_typeof(PROFILE_FIELD):
        image.remove(PROFILE_FIELD)
    return image
