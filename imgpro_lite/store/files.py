"""The operating system's part of storage: locks, syncs and free space, with what differs on macOS and Windows."""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imgpro_lite.errors import OperatorError, StorageFull

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_ZEROS = bytes(1024 * 1024)
# What is written to see whether there is room: more than SQLite writes at once (a page of 4 KB, an index of 32 KB).
PROBE_BYTES = 64 * 1024
# What `lock_file` meets when another process has the file; any other error is of a file system that has no locks.
LOCKED_ERRNOS = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
# As low as it goes (`nice`): where the server wants the processor too, it gets 98 % of it (weights of 1024 and 15). The
# priority at the disk follows from it.
LOWEST_PRIORITY = 19


class DirectoryLock:
    """A hold on a data directory that ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock file at `path`. Raises OperatorError when another process has it."""
        self._file: BinaryIO = path.open("a+b")
        try:
            lock_file(self._file)
        except OSError:
            self._file.close()
            raise OperatorError(
                f"Another imgpro-lite server is already running on the data directory {path.parent}. "
                "Stop it first, or choose another directory with --data-dir."
            ) from None

    def release(self) -> None:
        """Let another server have the directory."""
        self._file.close()


def lock_file(file: BinaryIO) -> None:
    """Take an open file for this process, until it is closed. Raises OSError; one of LOCKED_ERRNOS when another process
    has it."""
    if sys.platform == "win32":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_file(descriptor: int) -> None:
    """Return when the file's bytes are on the disk. Raises OSError; a failed sync must never be retried."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there only reaches the drive's cache
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make new and renamed entries of a directory durable. Windows does so by itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Return when everything that was written to the file system of a directory is on its disk, names too. Raises
    OSError.

    For very many new names: the folders of a library are tens of thousands, and each sync is a wait for the disk.
    """
    if sys.platform != "linux":
        if hasattr(os, "sync"):  # not on Windows, which keeps names safe by itself
            os.sync()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def is_writable(directory: Path) -> bool:
    """Whether this process may make and remove files in a directory, and its file system is not read-only."""
    return os.access(directory, os.W_OK | os.X_OK)


def list_entries(folder: Path) -> "list[os.DirEntry[str]]":
    """What is in a folder; nothing where there is none. Raises OSError."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def require_writable(directory: Path) -> None:
    """Raise OSError for a directory in which nothing can be made, such as one of a read-only file system."""
    if not is_writable(directory):
        raise OSError(errno.EACCES, f"nothing can be written to {directory.name}/ in it")


def keep_owner(descriptor: int, replaced: Path) -> None:
    """Give a new file to the owner of the one that it is to replace: commands may run as root, the server as a user."""
    if sys.platform == "win32" or not replaced.exists():
        return
    status = replaced.stat()
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)


def give_to_owner(path: Path, data_dir: Path) -> bool:
    """Let something belong to whom the data directory belongs. False without the right to."""
    owner, status = data_dir.stat(), path.lstat()
    if (status.st_uid, status.st_gid) == (owner.st_uid, owner.st_gid) or not hasattr(os, "chown"):
        return True
    try:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except PermissionError:
        return status.st_uid == owner.st_uid
    return True


def allocate(descriptor: int, size_bytes: int) -> None:
    """Give a new file this size, and the room on the disk too. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError as error:
            if error.errno in StorageFull.ERRNOS:
                raise
            # Not every file system can.
        else:
            return
    left_bytes = size_bytes
    while left_bytes > 0:
        left_bytes -= os.write(descriptor, _ZEROS[:left_bytes])


@contextlib.contextmanager
def disk_full_as_refusal() -> Iterator[None]:
    """Turn the system's words for a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in StorageFull.ERRNOS:
            raise StorageFull from error
        raise


def is_out_of_room(folder: Path, offset_bytes: int) -> bool:
    """Whether nothing more can be written at this offset of a file in the folder: no room, over the user's quota, or
    over a limit of the size. False for a disk that fails, as far as that can be told."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.seek(offset_bytes)
            if file.write(_ZEROS[:PROBE_BYTES]) < PROBE_BYTES:
                return True
            sync_file(file.fileno())  # a quota over a network is told no sooner
    except OSError as error:
        return error.errno in StorageFull.ERRNOS
    return False


def can_rename(source: Path, target: Path) -> bool:
    """Whether a file in one directory can be renamed into the other: both are on one file system, and on one mount of
    it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=source)
    os.close(descriptor)
    renamed = target / Path(name).name
    try:
        Path(name).rename(renamed)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    finally:
        Path(name).unlink(missing_ok=True)
        renamed.unlink(missing_ok=True)
    return True


def has_free_inodes(path: Path, count: int) -> bool:
    """Whether so many files can still be made on the file system of `path`. True where it sets no limit to them."""
    if sys.platform == "win32":
        return True
    status = os.statvfs(path)
    return not status.f_files or status.f_favail >= count


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write on the file system of `path`."""
    return shutil.disk_usage(path).free


def total_bytes(path: Path) -> int:
    """Size in bytes of the file system of `path`."""
    return shutil.disk_usage(path).total


def sha256_of_file(path: Path) -> tuple[bytes, os.stat_result]:
    """The hash of a file's bytes as they are on the disk, and what was read. Raises OSError.

    Its pages are dropped from the memory of the system, before, so that the disk is really read, and after, so that
    reading a whole library does not push out what a server needs there.
    """
    with path.open("rb", buffering=0) as file:
        drop_pages(file.fileno())
        digest = hashlib.file_digest(file, "sha256").digest()
        drop_pages(file.fileno())
        return digest, os.fstat(file.fileno())


def drop_pages(descriptor: int) -> None:
    """Let the system forget what it has in its memory of a file that is open and synced, or only read."""
    if hasattr(os, "posix_fadvise"):  # neither on macOS nor on Windows
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def yield_to_others() -> None:
    """Let every other process have the processor and, with the I/O schedulers that have priorities, the disk first."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(LOWEST_PRIORITY)
