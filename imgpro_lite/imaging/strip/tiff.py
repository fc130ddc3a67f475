"""TIFF and BigTIFF: everything is in the directories."""

from imgpro_lite.imaging.strip.directories import Directories
from imgpro_lite.imaging.strip.edits import Data, Edit
from imgpro_lite.imaging.strip.layout import Malformed
from imgpro_lite.models import Strip


def edits(data: Data, what: Strip) -> list[Edit]:
    """What to change; nothing moves. Raises Refused when there are too many tags."""
    try:
        return list(Directories(data, what, is_file=True).edits())
    except Malformed:
        return []  # no decoder will read it either
