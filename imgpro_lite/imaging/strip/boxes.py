"""The boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""

from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.imaging.strip.edits import Data


class Box(NamedTuple):
    """A box within a file: where it starts, its content starts, and it ends. One that claims to be larger than there is
    room for, or to go on to the end, is not whole."""

    kind: bytes
    start: int
    body: int
    end: int
    is_whole: bool


def read_boxes(data: Data, start: int, end: int) -> Iterator[Box]:
    """The boxes side by side in a part of the file."""
    at = start
    while at + 8 <= end:
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        is_whole = header <= size <= end - at
        box_end = at + size if is_whole else end
        yield Box(bytes(data[at + 4 : at + 8]), at, min(at + header, box_end), box_end, is_whole)
        at = box_end
