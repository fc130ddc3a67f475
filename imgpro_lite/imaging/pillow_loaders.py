"""What libvips' wheel does not read: HEIC by pillow-heif; BMP, AVIF of more than 8 bits and Lab TIFF by Pillow.

Imported only by a worker that meets such a file: it makes the process 15 MB larger.
"""

import os
from collections.abc import Mapping
from typing import IO, Any

import pillow_heif
import pyvips
from PIL import Image, UnidentifiedImageError

from imgpro_lite.formats import Format
from imgpro_lite.imaging.budget import LAB_TIFF_MB, MB_PER_MEGAPIXEL
from imgpro_lite.imaging.colour import with_profile
from imgpro_lite.imaging.loaders import Picture
from imgpro_lite.imaging.told_colours import find_told_profile

Image.MAX_IMAGE_PIXELS = None  # the budget was checked before anything is decoded

# One core for each worker, and nothing but the picture itself.
pillow_heif.options.DECODE_THREADS = 1
pillow_heif.options.THUMBNAILS = False
pillow_heif.options.DEPTH_IMAGES = False
pillow_heif.options.AUX_IMAGES = False

_EXIF_ORIENTATION = 0x0112


def open_heic(descriptor: int) -> Picture:
    """The primary image of a HEIC file. libheif turns it upright itself, so its EXIF orientation does not count."""
    with _file(descriptor) as file:
        container = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    image = container[container.primary_index]

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        profile = _profile(descriptor, Format.HEIC, image.info, image.mode)
        decoded = pyvips.Image.new_from_memory(image.data, *image.size, len(image.mode), "uchar")
        return _describe(decoded, profile)

    return Picture(*image.size, image.has_alpha, 1, MB_PER_MEGAPIXEL[Format.HEIC], decode, "pillow-heif")


def open_bmp(descriptor: int) -> Picture:
    """A Windows bitmap."""
    image = Image.open(_file(descriptor), formats=["BMP"])

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        return _from_pillow(image, None)

    return Picture(*image.size, image.mode == "RGBA", 1, MB_PER_MEGAPIXEL[Format.BMP], decode, "Pillow")


def open_deep_avif(descriptor: int) -> Picture:
    """An AVIF of 10 or 12 bits, as 8 bits. Pillow tells its rotation as an EXIF orientation."""
    image = Image.open(_file(descriptor), formats=["AVIF"])
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        profile = _profile(descriptor, Format.AVIF, image.info, image.mode)
        decoded = _from_pillow(image, profile).copy()
        decoded.set_type(pyvips.GValue.gint_type, "orientation", orientation)
        return decoded

    width, height = image.size if orientation < 5 else image.size[::-1]
    return Picture(width, height, image.mode == "RGBA", 1, MB_PER_MEGAPIXEL[Format.AVIF], decode, "Pillow")


def find_lab_tiff(descriptor: int) -> Picture | None:
    """A TIFF whose first page is CIELab of 8 bits, or None when it is anything else. Pillow turns it upright."""
    try:
        image = Image.open(_file(descriptor), formats=["TIFF"])
    except UnidentifiedImageError:
        return None
    if image.mode != "LAB":
        return None

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        image.load()
        stored = pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
        # L is 0 to 255 for 0 to 100; a and b have signs.
        lab: pyvips.Image = (stored[0] * (100 / 255)).bandjoin(stored[1:].copy(format="char"))
        return lab.copy(interpretation="lab")

    return Picture(*image.size, False, 1, LAB_TIFF_MB, decode, "Pillow")


def _profile(descriptor: int, format_: Format, info: Mapping[Any, Any], mode: str) -> bytes | None:
    """The ICC profile, or one made of what the file tells instead."""
    profile: bytes | None = info.get("icc_profile") or None
    is_grey = mode in ("L", "LA")
    return find_told_profile(descriptor, format_, has_profile=profile is not None, is_grey=is_grey) or profile


def _file(descriptor: int) -> IO[bytes]:
    """The file from its start. Closing it leaves the descriptor open."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.fdopen(os.dup(descriptor), "rb")


def _from_pillow(image: Image.Image, profile: bytes | None) -> pyvips.Image:
    """The decoded pixels as 8-bit grey, RGB or RGBA, with the colour profile."""
    image.load()
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    decoded = pyvips.Image.new_from_memory(image.tobytes(), *image.size, len(image.getbands()), "uchar")
    return _describe(decoded, profile)


def _describe(decoded: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Tell libvips what the bands mean and add the colour profile, if any."""
    described = decoded.copy(interpretation="b-w" if decoded.bands < 3 else "srgb")
    return with_profile(described, profile) if profile else described
