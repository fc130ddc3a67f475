"""How alike two pictures are. Variants are compared by this, never by bytes: encoders change."""

import pyvips
from images import BlockingPool, open_image

# The constants of the paper (Wang, Bovik, Sheikh, Simoncelli, 2004) for values of 0 to 255, and its window.
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_WINDOW_SIGMA = 1.5


def to_rgb(data: bytes, background: int = 255) -> pyvips.Image:
    """The picture in a file as viewers show it on a grey of this value: upright, in three bands of 8-bit sRGB, with
    every frame of an animation below the last."""
    options = {"n": -1} if data.startswith((b"GIF8", b"RIFF")) else {}
    image = pyvips.Image.new_from_buffer(data, "", **options)
    image = image.autorot() if image.height == image.get_page_height() else image
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    image = image.colourspace("srgb")
    return (image.flatten(background=background) if image.hasalpha() else image).cast("uchar")


def similarity(image: pyvips.Image, other: pyvips.Image) -> float:
    """The structural similarity (SSIM) of the brightness of two pictures of the same size: 1 when they are equal. Sees
    blur, blocks, noise, shifts by a pixel, and wrong contrast."""
    one, two = (picture.colourspace("b-w").cast("float") for picture in (image, other))
    mean_one, mean_two = _blur(one), _blur(two)
    variance_one = _blur(one * one) - mean_one * mean_one
    variance_two = _blur(two * two) - mean_two * mean_two
    covariance = _blur(one * two) - mean_one * mean_two
    luminance = (2 * mean_one * mean_two + _C1) / (mean_one * mean_one + mean_two * mean_two + _C1)
    structure = (2 * covariance + _C2) / (variance_one + variance_two + _C2)
    return float((luminance * structure).avg())


def colour_difference(image: pyvips.Image, other: pyvips.Image) -> float:
    """The mean distance of the colours of two pictures of the same size (CIE 1976), in areas of 8 x 8 pixels, where the
    noise of encoders cancels out and only wrong colours are left: 2 is just visible."""
    one, two = (picture.shrink(8, 8) for picture in (image, other))
    return float(one.dE76(two).avg())


def reduced(image: pyvips.Image, like: pyvips.Image) -> pyvips.Image:
    """The picture at the size of another one."""
    return image.thumbnail_image(like.width, height=like.height, size="force")


def check_variants(pool: BlockingPool, data: bytes, shown: pyvips.Image, target: str = "png") -> pyvips.Image:
    """That the variants of a file, full size and reduced, look like this picture. The full-size one, as it is stored.

    The tolerances are above what encoders do at quality 95, and below a Display P3 profile that was lost (2.6)."""
    for short_edge_px in (80, None):
        variant = pool.transform(data, target, short_edge_px, 95)
        image = to_rgb(variant)
        assert colour_difference(image, reduced(shown, image)) < 1.5
        assert similarity(image, reduced(shown, image)) > 0.95
    return open_image(variant)


def _blur(image: pyvips.Image) -> pyvips.Image:
    return image.gaussblur(_WINDOW_SIGMA, precision="float", min_ampl=0.01)
