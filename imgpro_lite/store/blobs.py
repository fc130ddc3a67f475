"""Content-addressed bytes: `blobs/ab/cd/<sha256>`, written once, and `tmp/` beside them for what is still arriving."""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import (
    can_rename,
    disk_full_as_refusal,
    free_bytes,
    has_free_inodes,
    list_entries,
    require_writable,
    sync_directory,
)
from imgpro_lite.store.reserve import Reserve

RESERVE_NAME = "reserve"

# An upload takes a file and up to two directories, and as many again in the caches; this is enough for a few at once.
MIN_FREE_INODES = 100

_BLOB_NAME = re.compile("[0-9a-f]{64}")


class BlobStore:
    """Originals by SHA-256. Temporary files live on the same file system, so that a rename makes them blobs."""

    def __init__(self, data_dir: Path, min_free_bytes: int, reserve_bytes: int = 0) -> None:
        self.root = data_dir / "blobs"
        self.reserve = Reserve(data_dir / RESERVE_NAME, reserve_bytes, min_free_bytes)
        self.doubtful: set[bytes] = set()
        """Hashes of files that have their name, but perhaps no row: the transaction has not ended, or has failed."""
        self.may_have_orphans = False
        """Whether a crash may have left files without a row that nobody has looked for since."""
        self.temp_dir = data_dir / "tmp"
        self._min_free_bytes = min_free_bytes

    def prepare(self) -> None:
        """Make the directories, and remove what uploads that a crash cut short left behind."""
        self.root.mkdir(exist_ok=True)
        self.temp_dir.mkdir(exist_ok=True)
        require_writable(self.root)
        require_writable(self.temp_dir)
        if not can_rename(self.temp_dir, self.root):
            raise OperatorError(
                f"{self.root} and {self.temp_dir} are on different file systems, so that no upload could be stored. "
                f"Mount the disk at {self.root.parent} instead, with everything in it."
            )
        for leftover in self.temp_dir.iterdir():
            if leftover.is_file():
                leftover.unlink(missing_ok=True)
        sync_directory(self.root.parent)

    @property
    def is_tidy(self) -> bool:
        """Whether every file is known to have a row."""
        return not (self.doubtful or self.may_have_orphans)

    def path(self, sha256: bytes) -> Path:
        """Where the bytes with this hash are, or would be."""
        name = sha256.hex()
        return self.root / name[:2] / name[2:4] / name

    def check_free_space(self) -> None:
        """Raise StorageFull below the free-space mark, without inodes, and while the reserve's room is needed."""
        is_low = free_bytes(self.temp_dir) < self._min_free_bytes or not has_free_inodes(self.temp_dir, MIN_FREE_INODES)
        if is_low or self.reserve.is_missing:
            raise StorageFull

    @contextlib.contextmanager
    def temporary(self) -> Iterator[tuple[Path, int]]:
        """A new empty file and its descriptor, both gone after the block unless `adopt` took the file.

        Raises StorageFull.
        """
        with disk_full_as_refusal():
            descriptor, name = tempfile.mkstemp(dir=self.temp_dir)
        path = Path(name)
        try:
            yield path, descriptor
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def temporary_path(self) -> Iterator[Path]:
        """A path for a file that somebody else makes, gone after the block unless `adopt` took it."""
        path = self.temp_dir / f"made-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def purge(self, sha256: bytes) -> None:
        """Remove the bytes. Called inside a write transaction in which no row uses them."""
        self.path(sha256).unlink(missing_ok=True)
        reached("blob.purged")

    def list_folders(self) -> list[Path]:
        """Every directory that holds blobs."""
        return sorted(self.root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/"))

    def has_any(self) -> bool:
        """Whether there is a single blob."""
        return any(_BLOB_NAME.fullmatch(path.name) for path in self.root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"))

    def list_folder(self, folder: Path) -> list[bytes]:
        """The hashes of the blobs in a directory."""
        names = (file.name for file in folder.iterdir())
        return [bytes.fromhex(name) for name in names if _BLOB_NAME.fullmatch(name)]

    def list_sizes(self, first_byte: int) -> dict[bytes, int]:
        """The blobs whose hash begins with this byte, a 256th of all, and their lengths. Raises OSError."""
        sizes = {}
        folder = self.root / f"{first_byte:02x}"
        for inner in list_entries(folder):
            for entry in list_entries(Path(inner)):
                if _BLOB_NAME.fullmatch(entry.name) and entry.name.startswith(folder.name + inner.name):
                    sizes[bytes.fromhex(entry.name)] = entry.stat().st_size
        return sizes

    def adopt(self, temporary: Path, sha256: bytes) -> None:
        """Make a synced temporary file the blob of its hash, durably: its entry and every new parent are on the disk.

        Called inside the transaction that inserts the row, so that a sweep cannot remove the same bytes meanwhile.
        Until that is committed, they are doubtful.
        Replacing an existing blob is harmless: same name, same bytes.
        """
        target = self.path(sha256)
        changed = [target.parent]
        for parent in (target.parent.parent, target.parent):
            if not parent.exists():
                parent.mkdir(exist_ok=True)
                changed.append(parent.parent)
        self.doubtful.add(sha256)
        temporary.replace(target)
        reached("blob.renamed")
        for directory in changed:
            reached("blob.sync")
            sync_directory(directory)
        reached("blob.durable")
