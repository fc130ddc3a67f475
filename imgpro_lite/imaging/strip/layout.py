"""How a TIFF, or an EXIF block, writes its numbers and the entries of its directories (TIFF 6.0, section 2)."""

import struct
from dataclasses import dataclass

from imgpro_lite.imaging.strip.edits import Data

# Bytes of one value of each type (TIFF 6.0, section 2; BigTIFF adds 16 to 18).
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Malformed(Exception):
    """There is no first directory."""


@dataclass(frozen=True)
class Layout:
    """How a file writes numbers. `start` is where its first directory is."""

    order: str
    is_big: bool
    start: int

    @property
    def offset_format(self) -> str:
        return f"{self.order}{'Q' if self.is_big else 'I'}"

    @property
    def count_format(self) -> str:
        return f"{self.order}{'Q' if self.is_big else 'H'}"

    @property
    def entry_format(self) -> str:
        """Tag, type, number of values, and the value or its offset."""
        return f"{self.order}{'HHQ8s' if self.is_big else 'HHI4s'}"

    @property
    def header_bytes(self) -> int:
        return 16 if self.is_big else 8


def read_layout(data: Data) -> Layout:
    """The header. Raises Malformed."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise Malformed("no byte order")
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    if magic == 43 and len(data) >= 16:
        return Layout(order, True, *struct.unpack_from(f"{order}Q", data, 8))
    if magic != 42:
        raise Malformed("no TIFF")
    return Layout(order, False, *struct.unpack_from(f"{order}I", data, 4))


@dataclass
class Entry:
    """A tag of a directory. `at` is where its values are."""

    tag: int
    type: int
    count: int
    inline: bytes
    at: int
    size_bytes: int
    content: bytes | None = None
    """What to write in place of the values."""
