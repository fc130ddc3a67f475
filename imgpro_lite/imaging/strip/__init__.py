"""Taking out of a file what its camera or its programs wrote into it, without touching the picture.

What is kept is what is known: the parts that a decoder needs, the colour profile, the orientation, and, where only the
place is to go, the texts and the camera's settings. Everything else goes: unknown parts, what the file refers to
nowhere, and what follows the picture, such as the film of a moving photo. The coded pixels are copied as they are.

This is our own code because no library does it for all of these formats: piexif writes EXIF in JPEG and WebP and has
not been kept since 2019; pyexiv2 edits EXIF, XMP and IPTC, but leaves what follows a JPEG, second pictures with a
position of their own included, and what nothing refers to any more; Pillow and libvips encode the pixels anew; exiftool
and mat2 are programs with more to install than the server. The functions here know no image library.
"""

import mmap
import os

from imgpro_lite.formats import Format
from imgpro_lite.imaging.strip import gif, heif, jpeg, png, tiff, webp
from imgpro_lite.imaging.strip.edits import Data, Edit, normal, write
from imgpro_lite.models import Strip

_EDITORS = {
    Format.JPEG: jpeg.edits,
    Format.PNG: png.edits,
    Format.WEBP: webp.edits,
    Format.GIF: gif.edits,
    Format.TIFF: tiff.edits,
    Format.HEIC: heif.edits,
    Format.AVIF: heif.edits,
}


def find_edits(data: Data, format_: Format, what: Strip) -> list[Edit]:
    """What to change in a file so that what is to go is gone; none when there is nothing of it. A file that is not what
    `format_` says gives some edits or other: it does not decode, before or after."""
    return normal(data, _EDITORS[format_](data, what)) if format_ in _EDITORS else []


def strip(source: int, target: int, format_: Format, what: Strip) -> bool:
    """Write the file of one descriptor to another without what is to go. False, and nothing is written, when there is
    nothing of it. Raises Refused for a TIFF with an absurd number of tags."""
    if os.fstat(source).st_size == 0:
        return False
    with mmap.mmap(source, 0, access=mmap.ACCESS_READ) as data:
        edits = find_edits(data, format_, what)
        if edits:
            write(data, edits, target)
        return bool(edits)
