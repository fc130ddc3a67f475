"""Stored files copied to another directory of blobs: checked while they are read, durable, and never half there."""

import contextlib
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import drop_pages, give_to_owner, sync_file

CHUNK_BYTES = 1024 * 1024
# So many are made durable together, by threads, so that the file system can do it for several at once: one after the
# other took 3.5 ms for each on a disk that others use, so 1.4 ms, as long as a sync of the whole file system (measured
# with 100 KB). What is lost when a copy is interrupted is copied again.
BATCH_FILES = 250
BATCH_BYTES = 64 * 1024 * 1024
SYNC_THREADS = 8


class Missing(Exception):
    """There is no such file in the source."""


class Damaged(Exception):
    """The file in the source has other bytes than its name says, or the disk does not give them: the reason."""


class _Written(NamedTuple):
    """A file under a temporary name, still open, and where it will be."""

    file: BinaryIO
    temporary: Path
    target: Path


class BlobCopier:
    """Copies by way of temporary files, which get their names when they are on the disk. Their names are, when the
    caller has synced the file system.

    The files, and the folders that are made for them, belong to whom the directory `owner` belongs. When the block
    ends, everything that was copied is in its place, and no temporary file is left.
    """

    def __init__(self, temp_dir: Path, owner: Path) -> None:
        self._temp_dir = temp_dir
        self._owner = owner
        self._written: list[_Written] = []
        self._written_bytes = 0
        self._syncing = ThreadPoolExecutor(SYNC_THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What is whole is not copied again by the next try.
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            try:
                self._finish()
            finally:
                self._syncing.shutdown()
                self._forget_all()

    def copy(self, source: Path, target: Path, sha256: bytes) -> int:
        """Copy a file that has this hash: its bytes. What is at `target` is replaced when all of it is on the disk.

        Raises Missing, Damaged, OperatorError where this user may not read the source, and OSError of the target.
        """
        temporary = self._temp_dir / target.name
        # Twice before it is called damaged, in case the disk read it wrong.
        for is_last in (False, True):
            try:
                size_bytes = self._write(source, temporary, target, sha256)
            except Damaged:
                if is_last:
                    raise
            else:
                break
        self._written_bytes += size_bytes
        if len(self._written) >= BATCH_FILES or self._written_bytes >= BATCH_BYTES:
            self._finish()
        return size_bytes

    def _write(self, source: Path, temporary: Path, target: Path, sha256: bytes) -> int:
        digest, size_bytes = hashlib.sha256(), 0
        with _open(source) as file:
            written = _Written(temporary.open("wb"), temporary, target)
            try:
                for chunk in _chunks(file):
                    digest.update(chunk)
                    written.file.write(chunk)
                    size_bytes += len(chunk)
                if digest.digest() != sha256:
                    raise Damaged("its bytes are not those that were uploaded")
                written.file.flush()
                give_to_owner(temporary, self._owner)
                reached("copy.written")
            except BaseException:
                _forget(written)
                raise
            # A whole library would push out what a server needs in the memory of the system.
            drop_pages(file.fileno())
        self._written.append(written)
        return size_bytes

    def _finish(self) -> None:
        """Make durable what was written, and then give it its names."""
        if not self._written:
            return
        try:
            list(self._syncing.map(sync_file, [written.file.fileno() for written in self._written]))
        except OSError:
            self._forget_all()  # a sync that has failed may succeed the next time, without the bytes
            raise
        while self._written:
            self._name(self._written.pop())
            reached("copy.renamed")
        self._written_bytes = 0

    def _name(self, written: _Written) -> None:
        try:
            drop_pages(written.file.fileno())
            written.file.close()
            _make_folders(written.target.parent, self._owner)
            written.temporary.replace(written.target)
        except BaseException:
            _forget(written)
            raise

    def _forget_all(self) -> None:
        while self._written:
            _forget(self._written.pop())


def _forget(written: _Written) -> None:
    with contextlib.suppress(OSError):  # closing writes what is left
        written.file.close()
    with contextlib.suppress(OSError):
        written.temporary.unlink(missing_ok=True)


def _open(source: Path) -> BinaryIO:
    try:
        return source.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing from None
    except PermissionError as error:
        raise OperatorError(f"{source} cannot be read. Run this as the server's user or as root.") from error
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            chunk = file.read(CHUNK_BYTES)
        except OSError as error:
            raise Damaged(f"it cannot be read ({error.strerror})") from error
        if not chunk:
            return
        yield chunk


def _make_folders(folder: Path, owner: Path) -> None:
    """The two levels of a directory of blobs, which itself has to be there: a disk that has gone is not made anew."""
    for level in (folder.parent, folder):
        try:
            level.mkdir(mode=0o700)
        except FileExistsError:
            continue
        give_to_owner(level, owner)
