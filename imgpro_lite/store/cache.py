"""Variants on disk: `ab/<key>` in a directory of their own, under a size cap, the least recently used evicted first.

What is cached can always be made again, so nothing is synced; a file that a power cut left empty counts as missing.
"""

import os
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# A file's modification time is its last use, kept across restarts; once an hour is precise enough for eviction.
TOUCH_AFTER_SECONDS = 3600

# A picture that failed or took too long is not tried again for ten minutes, so that asking often costs nothing; only so
# many are remembered (100 bytes each).
FAILURE_SECONDS = 600
MAX_FAILURES = 10_000


@dataclass
class _Entry:
    size_bytes: int
    used_at: int


class VariantCache:
    """Files by name. The index is in memory and is read from the directory at the start."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.root = directory
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._total_bytes = 0
        self._failures: OrderedDict[str, int] = OrderedDict()  # name → until when, oldest first

    @property
    def total_bytes(self) -> int:
        """Bytes of all variants on disk."""
        return self._total_bytes

    def prepare(self) -> None:
        """Make the directory and take up what an earlier run left in it."""
        self.root.mkdir(exist_ok=True)
        found: list[tuple[str, _Entry]] = []
        # Only what looks like ours: a file manager or a file system may have left its own things here.
        for folder in self.root.glob("[0-9a-f][0-9a-f]/"):
            for file in os.scandir(folder):
                if not file.is_file(follow_symlinks=False):
                    continue
                status = file.stat()
                if file.name.endswith(".tmp") or status.st_size == 0:
                    Path(file.path).unlink(missing_ok=True)
                else:
                    found.append((file.name, _Entry(status.st_size, int(status.st_mtime))))
        for name, entry in sorted(found, key=lambda item: item[1].used_at):
            self._entries[name] = entry
            self._total_bytes += entry.size_bytes
        self._evict()

    def path(self, name: str) -> Path:
        """Where a variant is, or would be."""
        return self.root / name[:2] / name

    def find(self, name: str, now: int) -> Path | None:
        """The file of a variant, marked as used, or None when it must be made."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        self._entries.move_to_end(name)
        path = self.path(name)
        if now - entry.used_at > TOUCH_AFTER_SECONDS:
            entry.used_at = now
            try:
                os.utime(path, (now, now))
            except OSError:
                self.forget(name)  # somebody emptied the directory
                return None
        return path

    def temporary(self, name: str) -> Path:
        """A path, in the right directory, for a variant that is being made."""
        folder = self.path(name).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.{secrets.token_hex(4)}.tmp"

    def adopt(self, temporary: Path, name: str, now: int) -> Path:
        """Make a finished temporary file the variant of this name."""
        size_bytes = temporary.stat().st_size
        path = self.path(name)
        temporary.replace(path)
        self.forget(name)
        self._entries[name] = _Entry(size_bytes, now)
        self._total_bytes += size_bytes
        self._evict()
        return path

    def forget(self, name: str) -> None:
        """Take a variant out of the index, because its file is gone."""
        if entry := self._entries.pop(name, None):
            self._total_bytes -= entry.size_bytes

    def remove(self, name: str) -> None:
        """Remove a variant that is of no use."""
        self.forget(name)
        self.path(name).unlink(missing_ok=True)

    def remove_files(self, prefixes: Iterable[str]) -> list[str]:
        """Remove the files of variants whose names begin like one of these: the names, for the index to forget.

        It touches no index, so a thread may do it, and so may a command beside the server. Each directory is read once,
        because reading it takes longer than all the rest.
        """
        by_folder: dict[Path, list[str]] = {}
        for prefix in prefixes:
            by_folder.setdefault(self.path(prefix).parent, []).append(prefix)
        removed: list[str] = []
        for folder, wanted in by_folder.items():
            names = [name for name in _list_names(folder) if name.startswith(tuple(wanted))]
            for name in names:
                (folder / name).unlink(missing_ok=True)
            removed += names
        return removed

    def remember_failure(self, name: str, now: int) -> None:
        """Note that a variant could not be made."""
        self._failures[name] = now + FAILURE_SECONDS
        self._failures.move_to_end(name)
        if len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    def is_known_failure(self, name: str, now: int) -> bool:
        """Whether a variant could not be made a short while ago."""
        # One that lies further ahead was noted before the clock was set back.
        return now < self._failures.get(name, 0) <= now + FAILURE_SECONDS

    def _evict(self) -> None:
        """Remove the least recently used until the cap holds; the newest stays, whatever its size."""
        while self._total_bytes > self.max_bytes and len(self._entries) > 1:
            name = next(iter(self._entries))
            self.forget(name)
            self.path(name).unlink(missing_ok=True)


def _list_names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
