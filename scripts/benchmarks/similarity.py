"""How much two pictures look alike: SSIM of luma, with libvips' arithmetic.

The definition of Wang, Bovik, Sheikh and Simoncelli (2004): a Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, and
the mean over all pixels. Luma is that of BT.709, of the gamma-coded values.
"""

from pathlib import Path

import pyvips

SIGMA_PX = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2


def ssim(one: pyvips.Image, other: pyvips.Image) -> float:
    """1 for the same picture. Transparent ones count as they look worst, before white or before black."""
    one, other = _eight_bits(one), _eight_bits(other)
    if not (one.hasalpha() and other.hasalpha()):
        one, other = _flat(one, 255), _flat(other, 255)  # JPEG has nothing but white to offer
        return _ssim(_luma(one), _luma(other))
    return min(_ssim(_luma(_flat(one, grey)), _luma(_flat(other, grey))) for grey in (0, 255))


def resized(path: Path, width: int, height: int) -> pyvips.Image:
    """What the variants of a file are compared with: every pixel decoded, upright, then resized by libvips."""
    image = pyvips.Image.new_from_file(str(path))
    return image.thumbnail_image(width, height=height, size="force").copy_memory()


def _eight_bits(image: pyvips.Image) -> pyvips.Image:
    return image.colourspace("b-w" if image.bands < 3 else "srgb")


def _flat(image: pyvips.Image, grey: int) -> pyvips.Image:
    return image.flatten(background=grey) if image.hasalpha() else image


def _luma(image: pyvips.Image) -> pyvips.Image:
    if image.bands < 3:
        return image.extract_band(0).cast("float")
    red, green, blue = image.bandsplit()[:3]
    return red * 0.2126 + green * 0.7152 + blue * 0.0722


def _ssim(x: pyvips.Image, y: pyvips.Image) -> float:
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x * mean_x
    variance_y = _blur(y * y) - mean_y * mean_y
    covariance = _blur(x * y) - mean_x * mean_y
    above = (mean_x * mean_y * 2 + C1) * (covariance * 2 + C2)
    below = (mean_x * mean_x + mean_y * mean_y + C1) * (variance_x + variance_y + C2)
    return float((above / below).avg())


def _blur(image: pyvips.Image) -> pyvips.Image:
    return image.gaussblur(SIGMA_PX, precision="float", min_ampl=0.01)
