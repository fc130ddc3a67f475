"""An EXIF block, as JPEG, PNG, WebP, HEIC and AVIF have it: a small TIFF without a picture."""

import struct

from imgpro_lite.imaging.jobs import Refused
from imgpro_lite.imaging.strip import tags
from imgpro_lite.imaging.strip.directories import Directories
from imgpro_lite.imaging.strip.edits import apply, normal
from imgpro_lite.imaging.strip.layout import Malformed
from imgpro_lite.models import Strip

# A block that says nothing, for where there must be one.
EMPTY = b"MM\0*" + struct.pack(">IHI", 8, 0, 0)


def clean(block: bytes, what: Strip) -> bytes:
    """The block without what is to go: as long as it was where only the place is, else no more than the orientation.
    Empty when it has no orientation, or is so malformed that it has none."""
    try:
        directories = Directories(block, what, is_file=False)
        if what is Strip.METADATA:
            return _only(directories.find_orientation())
        cleaned = apply(block, normal(block, directories.edits()))
        # What a hostile block has over each other may show up again.
        return cleaned if _is_clean(cleaned, what) else _only(directories.find_orientation())
    except (Malformed, Refused):
        return _only(_find_orientation_anyway(block))


def _is_clean(block: bytes, what: Strip) -> bool:
    return not normal(block, Directories(block, what, is_file=False).edits())


def _only(orientation: int | None) -> bytes:
    """A block that says this and nothing else."""
    if orientation is None:
        return b""
    entry = struct.pack(">HHIHH", tags.ORIENTATION, 3, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def _find_orientation_anyway(block: bytes) -> int | None:
    """The orientation of a block whose first directory is cut off; the readers of EXIF are as lenient."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for number in range(count):
            tag, type_, values, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + number * 12)
            if (tag, type_, values) == (tags.ORIENTATION, 3, 1) and 1 <= value <= 8:
                return int(value)
    except struct.error:
        pass
    return None
