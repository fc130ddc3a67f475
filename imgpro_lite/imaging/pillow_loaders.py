"""The formats that libvips' wheel does not read: HEIC by pillow-heif, BMP and AVIF of more than 8 bits by Pillow.

Imported only by a worker that meets such a file: it makes the process 15 MB larger.
"""

import os
from typing import IO, Any

import pillow_heif
import pyvips
from PIL import Image

from imgpro_lite.formats import Format
from imgpro_lite.imaging.budget import MB_PER_MEGAPIXEL
from imgpro_lite.imaging.loaders import Picture

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
        pixels = image.data
        decoded = pyvips.Image.new_from_memory(pixels, *image.size, len(image.mode), "uchar")
        return _describe(decoded, image.info.get("icc_profile"))

    return Picture(*image.size, image.has_alpha, 1, MB_PER_MEGAPIXEL[Format.HEIC], decode, "pillow-heif")


def open_bmp(descriptor: int) -> Picture:
    """A Windows bitmap."""
    image = Image.open(_file(descriptor), formats=["BMP"])

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        return _from_pillow(image)

    return Picture(*image.size, image.mode == "RGBA", 1, MB_PER_MEGAPIXEL[Format.BMP], decode, "Pillow")


def open_deep_avif(descriptor: int) -> Picture:
    """An AVIF of 10 or 12 bits, as 8 bits. Pillow tells its rotation as an EXIF orientation."""
    image = Image.open(_file(descriptor), formats=["AVIF"])
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)

    def decode(_shrink: float, _frames: int) -> pyvips.Image:
        decoded = _from_pillow(image).copy()
        decoded.set_type(pyvips.GValue.gint_type, "orientation", orientation)
        return decoded

    width, height = image.size if orientation < 5 else image.size[::-1]
    return Picture(width, height, image.mode == "RGBA", 1, MB_PER_MEGAPIXEL[Format.AVIF], decode, "Pillow")


def _file(descriptor: int) -> IO[bytes]:
    """The file from its start. Closing it leaves the descriptor open."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.fdopen(os.dup(descriptor), "rb")


def _from_pillow(image: Image.Image) -> pyvips.Image:
    """The decoded pixels as 8-bit grey, RGB or RGBA, with the colour profile."""
    image.load()
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    decoded = pyvips.Image.new_from_memory(image.tobytes(), *image.size, len(image.getbands()), "uchar")
    return _describe(decoded, image.info.get("icc_profile"))


def _describe(decoded: pyvips.Image, profile: Any) -> pyvips.Image:
    """Tell libvips what the bands mean and add the colour profile, if any."""
    described = decoded.copy(interpretation="b-w" if decoded.bands < 3 else "srgb")
    if profile:
        described.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return described
