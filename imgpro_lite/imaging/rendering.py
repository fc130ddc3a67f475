"""From an opened picture to upright sRGB pixels of an exact size: what variants and intermediates have in common."""

import pyvips

from imgpro_lite.imaging.colour import before_resizing, to_srgb
from imgpro_lite.imaging.frames import is_animated, resize_frames
from imgpro_lite.imaging.loaders import Picture
from imgpro_lite.imaging.sizes import Size


def decode(picture: Picture, size: Size, frames: int = 1, *, coarseness: float = 1.0) -> pyvips.Image:
    """The pixels, not upright yet and at least of this size. A `coarseness` above 1 leaves more of the reduction to the
    decoder, which is quicker, and less to the resampling after it."""
    shrink = min(picture.width / size.width, picture.height / size.height)
    return picture.decode(shrink * coarseness, frames)


def upright_srgb(image: pyvips.Image, size: Size) -> pyvips.Image:
    """Decoded pixels turned by their EXIF orientation, resized premultiplied to exactly this size, in 8-bit sRGB. What
    is all that already is only resized."""
    image = before_resizing(image)
    if is_animated(image):
        return to_srgb(resize_frames(image, size.width, size.height))
    return to_srgb(image.thumbnail_image(size.width, height=size.height, size="force"))
