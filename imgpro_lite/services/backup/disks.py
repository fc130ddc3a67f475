"""What the disk of the backups, or of the data directory, does: told in words."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.settings import BYTES_PER_MB
from imgpro_lite.store.files import free_bytes, has_free_inodes, is_out_of_room

# A file takes whole blocks, and sometimes a folder of its own or two: 2 blocks of 4 KB each on average.
OVERHEAD_BYTES_PER_FILE = 8 * 1024
# For the database's own bookkeeping, and the small files beside it.
OVERHEAD_BYTES = 1024 * 1024
INODES_PER_FILE = 3


def require_room(directory: Path, files: int, size_bytes: int, nothing_done: str) -> None:
    """Raise OperatorError where so much cannot be written. `nothing_done` says what is as it was."""
    needed_bytes = size_bytes + files * OVERHEAD_BYTES_PER_FILE + OVERHEAD_BYTES
    free = free_bytes(directory)
    if free < needed_bytes:
        raise OperatorError(
            f"{directory} has too little room: {_mb(needed_bytes)} are needed for {files:,} files and the database, "
            f"and {_mb(free)} are free. {nothing_done} Make room, or take a larger disk."
        )
    if not has_free_inodes(directory, files * INODES_PER_FILE):
        raise OperatorError(
            f"The file system of {directory} cannot have {files:,} more files: it has too few free inodes. "
            f"{nothing_done}"
        )


@contextlib.contextmanager
def disk_errors(directory: Path, what_is_left: str) -> Iterator[None]:
    """Turn what a disk does, also below SQLite, into OperatorError. `what_is_left` says what is as it was."""
    identity = _identity(directory)
    try:
        yield
    except StorageFull as error:
        raise _full(directory, what_is_left) from error
    except sqlite3.Error as error:
        if _is_full(directory, error):
            raise _full(directory, what_is_left) from error
        raise OperatorError(f"{_what_failed(directory, identity, str(error))} {what_is_left}") from error
    except OSError as error:
        if error.errno in StorageFull.ERRNOS:
            raise _full(directory, what_is_left) from error
        raise OperatorError(
            f"{_what_failed(directory, identity, error.strerror or str(error))} {what_is_left}"
        ) from error


def _full(directory: Path, what_is_left: str) -> OperatorError:
    with contextlib.suppress(OSError):
        return OperatorError(
            f"The disk of {directory} is full ({_mb(free_bytes(directory))} free). {what_is_left} Make room first."
        )
    return OperatorError(f"The disk of {directory} is full. {what_is_left} Make room first.")


def _is_full(directory: Path, error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # errors of Python's module have none
    with contextlib.suppress(OSError):
        return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and is_out_of_room(directory, 0))
    return code == sqlite3.SQLITE_FULL


def _what_failed(directory: Path, identity: tuple[int, int] | None, reason: str) -> str:
    if identity is None or _identity(directory) != identity:
        return f"The disk of {directory} has gone ({reason}). Is it still plugged in and mounted?"
    if reason == os.strerror(errno.EACCES):
        return f"{directory} may not be written to by this user ({reason})."
    return f"{directory} failed: {reason}. Is its disk still there? The system's log may say more."


def require_same_disk(directory: Path, device: int) -> None:
    """Raise OSError when another disk is there than before: it was unmounted, and what is below it has come out."""
    if directory.stat().st_dev != device:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / BYTES_PER_MB:,.1f} MB"
