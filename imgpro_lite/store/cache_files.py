"""Variants on disk: `ab/<name>.<size in bytes>`, in a directory that anybody may empty at any time.

The size in the name tells a whole file from one that a power cut left short, without a sync for what can be made again.
Nothing here knows what is in use; `cache.py` does. All of it may run in a thread, and beside a running server.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.store.files import disk_full_as_refusal

# A transform may take 600 s at most (settings.py): what is much older was left by a crash.
HALF_MADE_SECONDS = 3600

_FOLDER = re.compile("[0-9a-f]{2}")


class CachedFile(NamedTuple):
    """A variant on disk. `used_at_ns` is its last use, in Unix nanoseconds."""

    name: str
    size_bytes: int
    used_at_ns: int


class Removed(NamedTuple):
    """How much was removed."""

    files: int
    size_bytes: int


class Folder(NamedTuple):
    """What one folder holds: variants, those being made, and what is none: damaged, or left by a crash."""

    variants: list[CachedFile]
    half_made: int
    leftovers: list[Path]


class CacheFiles:
    """The files of one cache."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, size_bytes: int) -> Path:
        """Where a variant of this size is, or would be."""
        return self.root / name[:2] / f"{name}.{size_bytes}"

    def temporary(self, name: str) -> Path:
        """A path, in the right folder, for a variant that is being made. Raises StorageFull."""
        folder = self.root / name[:2]
        with disk_full_as_refusal():
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.{secrets.token_hex(4)}.tmp"

    def stamp(self) -> tuple[int, int] | None:
        """Another one after `announce_change`, and after folders or the whole directory were removed."""
        try:
            status = self.root.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def announce_change(self) -> None:
        """Let a running server know that files were added or removed."""
        now_ns = time.time_ns()
        with contextlib.suppress(FileNotFoundError):  # there is no cache yet, so nothing of it has changed
            os.utime(self.root, ns=(now_ns, now_ns))

    def list_folders(self) -> dict[str, int]:
        """The folders with their modification times in nanoseconds, which change when a file comes or goes."""
        # Only what looks like ours: a file manager or a file system may have left its own things here.
        return {
            entry.name: entry.stat().st_mtime_ns
            for entry in _entries(self.root)
            if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        }

    def read_folder(self, folder: str, half_made_seconds: float = HALF_MADE_SECONDS) -> Folder:
        """What is in a folder; nothing when it is gone by now. What is half made counts as left after so long."""
        found = Folder([], 0, [])
        half_made = 0
        now_seconds = time.time()  # the machine's clock, as for the times of files
        for name, status in self._scan(folder):
            variant, _, size = name.rpartition(".")
            if size == str(status.st_size) and status.st_size:
                found.variants.append(CachedFile(variant, status.st_size, status.st_mtime_ns))
            elif name.endswith(".tmp") and now_seconds - status.st_mtime < half_made_seconds:
                half_made += 1
            else:
                found.leftovers.append(self.root / folder / name)
        return found._replace(half_made=half_made)

    def read(self) -> Iterator[CachedFile]:
        """Every variant on disk. Nothing is changed."""
        for folder in self.list_folders():
            yield from self.read_folder(folder).variants

    def remove(self, name: str, size_bytes: int) -> None:
        """Remove a variant's file, if it is there."""
        self.path(name, size_bytes).unlink(missing_ok=True)

    def remove_all(self) -> Removed:
        """Remove every variant, and what crashes left. What is being made now stays."""
        files = size_bytes = 0
        for name in self.list_folders():
            folder = self.read_folder(name)
            for path in folder.leftovers:
                path.unlink(missing_ok=True)
            for file in folder.variants:
                self.remove(file.name, file.size_bytes)
            files += len(folder.variants)
            size_bytes += sum(file.size_bytes for file in folder.variants)
        return Removed(files, size_bytes)

    def remove_beginning(self, prefixes: Iterable[str]) -> list[str]:
        """Remove the files of all variants whose names begin like one of these, also of those being made: their names.

        Each folder is read once, because reading it takes longer than all the rest.
        """
        by_folder: dict[str, list[str]] = {}
        for prefix in prefixes:
            by_folder.setdefault(prefix[:2], []).append(prefix)
        removed: list[str] = []
        for folder, wanted in by_folder.items():
            found = [name for name, _ in self._scan(folder) if name.startswith(tuple(wanted))]
            for name in found:
                (self.root / folder / name).unlink(missing_ok=True)
            removed += [name.rpartition(".")[0] for name in found]
        return removed

    def _scan(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        """The files in a folder that are named as ours are: beginning like the folder."""
        for entry in _entries(self.root / folder):
            if entry.name.startswith(folder) and entry.is_file(follow_symlinks=False):
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # evicted in this moment
                    continue


def _entries(directory: Path) -> "list[os.DirEntry[str]]":
    """What is in a directory; nothing when there is none, or only what is none or belongs to another user."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
