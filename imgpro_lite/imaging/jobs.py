"""What the server asks of a worker, and what it gets back. Plain data: importing this loads no image library."""

from dataclasses import dataclass
from enum import IntEnum

from imgpro_lite.formats import Format

# Part of every variant's cache key. Raise it when the same job would give a different picture: old variants then
# simply miss, and the least recently used ones go.
PIPELINE_VERSION = 2

# Short edges in pixels of the reduced pictures that are kept from an upload, in the order they are made: sizes m and l.
# Size s is made from that of m, which has twice its edge. They take about 0.7 MB together, and a variant takes 3 to
# 10 ms to read its one, where a 12-megapixel original takes 55 and one of 48 megapixels 200.
INTERMEDIATE_EDGES_PX = (640, 1080)


# Where there is no place for metadata (BMP; what follows the picture stays), or where none is ever stored (SVG, which
# is written anew).
WITHOUT_METADATA = frozenset({Format.BMP, Format.SVG})


class Priority(IntEnum):
    """Who goes first. A client waits longer for an upload that is refused late than for a picture that is late."""

    UPLOAD = 0
    VIEW = 1
    BACKGROUND = 2


@dataclass(frozen=True)
class Limits:
    """What one worker may use. It is told when it starts."""

    memory_mb: int
    max_megapixels: int
    niceness: int = 0
    """How far it steps back for other processes, 0 to 19 (nice(2))."""


@dataclass(frozen=True)
class Library:
    """A library that the workers use. `version` is None where it is not installed or does not tell; `inside` names the
    library that brought it along, if one did."""

    name: str
    version: str | None
    inside: str | None = None


@dataclass(frozen=True)
class Inspected:
    """What a file shows once it is decoded, and by which library. The size is in pixels, of one frame; `corners` are
    red, green and blue (0 to 255) in the middle of each quarter, from the top left to the bottom right, by frame."""

    library: str
    width: int
    height: int
    corners: list[list[list[int]]]


@dataclass(frozen=True)
class Probed:
    """What a stored file is. `width` and `height` are in pixels and upright (EXIF orientation and HEIF rotation are
    applied); of an SVG they are the intrinsic size, at least 1. `frames` is 1 unless GIF or WebP is animated."""

    format: Format
    width: int
    height: int
    has_alpha: bool
    frames: int


@dataclass(frozen=True)
class Transform:
    """A variant to make. `short_edge_px` None keeps the full size; `quality` is 1 to 100 on the target's own scale and
    without meaning for PNG and GIF. Nothing is enlarged, except that an SVG is drawn at exactly the size asked for."""

    source: Format
    target: Format
    short_edge_px: int | None
    quality: int
    effort: int = 0
    """How long the AVIF encoder may look for fewer bytes, 0 to 9; without meaning for other formats."""
    sha256: str | None = None
    """What the source's bytes must be, in hexadecimal; None when it does not matter."""
    original_size: tuple[int, int] | None = None
    """Width and height of the original, upright, in pixels, when the source is an intermediate made from it: sizes are
    worked out from these, because an intermediate's own proportions are rounded."""


@dataclass(frozen=True)
class Transformed:
    """The size of the variant in pixels."""

    width: int
    height: int


class Damaged(Exception):
    """The stored bytes are not those that once arrived. For the operator; strangers see that it cannot be made."""


class Refused(Exception):
    """The worker will not do the job. The message is read by strangers: it names what is wrong and which limit."""
