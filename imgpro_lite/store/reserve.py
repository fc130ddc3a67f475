"""A file that only takes up room, so that there is some for deleting when the disk is full.

SQLite writes what it deletes, too: on a full disk nothing could be deleted any more. Then the file goes, deletions and
sweeps have its room, and what needs more room is refused until there is enough for the file again.
"""

import contextlib
import logging
from pathlib import Path

from imgpro_lite.errors import StorageFull
from imgpro_lite.store.files import allocate, free_bytes
from imgpro_lite.store.sqlite_file import LEAST_TO_OPEN_BYTES

log = logging.getLogger("imgpro_lite.storage")


class Reserve:
    """The file `path` of this size; none is ever made for a size of 0. Any process may remove it, by hand too."""

    def __init__(self, path: Path, size_bytes: int, min_free_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._min_free_bytes = min_free_bytes

    @property
    def is_missing(self) -> bool:
        """Whether its room is, or was, needed."""
        return self._size_bytes > 0 and not self._path.exists()

    def prepare(self) -> None:
        """Make it at a start, where there is room, or release it when a start needs even that. Raises OSError."""
        if self._path.exists() and self._path.stat().st_size != self._size_bytes:
            self._path.unlink(missing_ok=True)  # another size is wanted than before
        if free_bytes(self._path.parent) < LEAST_TO_OPEN_BYTES:
            self.release()
        else:
            self.restore()

    def release(self) -> bool:
        """Give its room away. False when it is gone already."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        log.error(
            "The disk is full. Removed %s so that images can still be deleted; nothing new is stored until there is "
            "room again. Make room, or delete images.",
            self._path,
        )
        return True

    def restore(self) -> None:
        """Make it again if it is missing and there is room for it above the free-space mark. It raises nothing."""
        # Twice its size, so that the room which it has just given away is not taken for new.
        if not self.is_missing or free_bytes(self._path.parent) < self._min_free_bytes + 2 * self._size_bytes:
            return
        unfinished = self._path.with_name(f"{self._path.name}.new")
        try:
            with unfinished.open("wb") as file:
                allocate(file.fileno(), self._size_bytes)
            unfinished.replace(self._path)
        except OSError as error:
            if error.errno not in StorageFull.ERRNOS:  # a quota is used up: the same as no room
                log.warning("the reserve %s cannot be made", self._path, exc_info=True)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
