"""The cache of variants: which there are and which were used last, under a cap of bytes.

What is cached can always be made again, so nothing is synced, and the files are never trusted more than their length.
"""

import asyncio
import contextlib
import math
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.store.cache_files import HALF_MADE_SECONDS, CachedFile, CacheFiles, Folder
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import require_writable

# A file's modification time is its last use, kept across restarts; once an hour is precise enough for eviction.
TOUCH_AFTER_SECONDS = 3600

# A picture that failed or took too long is not tried again for ten minutes, so that asking often costs nothing; only so
# many are remembered (100 bytes each).
FAILURE_SECONDS = 600
MAX_FAILURES = 10_000

# Some file systems note the time of a change to 2 s only, so one that follows soon after another could go unseen.
SETTLED_SECONDS = 3

_NS_PER_SECOND = 1_000_000_000


@dataclass(slots=True)
class _Entry:
    size_bytes: int
    used_at: int


class _Reading(NamedTuple):
    """The directory as a thread has read it: of the folders that may have changed, the variants in each by name."""

    stamp: tuple[int, int] | None
    settled: dict[str, int]
    """The folders that need not be read again while their modification time, in nanoseconds, stays this one."""
    folders: dict[str, dict[str, CachedFile]]


class VariantCache:
    """Files by name, in a directory of their own. The index is in memory."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.root = directory
        self.max_bytes = max_bytes
        self.hits = 0
        """How often what was asked for was there: counted, as `misses`, by those who ask for somebody."""
        self.misses = 0
        self._files = CacheFiles(directory)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._total_bytes = 0
        self._failures: OrderedDict[str, int] = OrderedDict()  # name → until when, oldest first
        self._names: dict[str, set[str]] = {}  # of the entries, by folder
        self._stamp: tuple[int, int] | None = None
        self._settled: dict[str, int] = {}
        self._rescanning = asyncio.Lock()
        # Names that changed here since the last rescan began: what its thread has read of these may be out of date.
        self._changed_meanwhile: set[str] = set()

    @property
    def total_bytes(self) -> int:
        """Bytes of all variants on disk, as far as is known."""
        return self._total_bytes

    @property
    def count(self) -> int:
        """How many files there are, as far as is known."""
        return len(self._entries)

    def prepare(self, *, beside_server: bool = False) -> None:
        """Make the directory and take up what an earlier run left in it.

        A server is the only one, so what is half made was left by a crash, unless a command makes it, which then tries
        again. Commands leave it alone.
        """
        self.root.mkdir(exist_ok=True)
        require_writable(self.root)
        reading = self._read(HALF_MADE_SECONDS if beside_server else -math.inf)
        self._take_up([file for folder in reading.folders.values() for file in folder.values()])
        self._remember(reading)

    def has_changed_outside(self) -> bool:
        """Whether another process has announced a change, or somebody removed folders. It costs one stat."""
        return self._files.stamp() != self._stamp

    async def rescan(self) -> list[str]:
        """Take up what others have added, drop what they removed: names whose bytes are gone or may be others now.

        What was known keeps its order. Folders that have not changed are not read, and requests are served meanwhile.
        """
        async with self._rescanning:
            self._changed_meanwhile.clear()
            reading = await asyncio.to_thread(self._read)
            added: list[CachedFile] = []
            gone: list[str] = []
            for folder in reading.folders.keys() | (self._names.keys() - reading.settled.keys()):
                found = reading.folders.get(folder, {})
                added += [file for file in found.values() if self._is_news(file.name, file)]
                lost = [name for name in self._names.get(folder, ()) if self._is_news(name, found.get(name))]
                for name in lost:
                    self._drop(name)
                gone += lost
                await asyncio.sleep(0)  # a folder takes about a millisecond
            self._take_up([file for file in added if file.name not in self._changed_meanwhile])
            self._remember(reading)
            return gone

    def announce_change(self) -> None:
        """Let a running server know that this process has added or removed files."""
        self._files.announce_change()

    def has(self, name: str) -> bool:
        """Whether there is such a variant, as far as is known; it does not count as used."""
        return name in self._entries

    def find(self, name: str, now: int) -> Path | None:
        """The file of a variant, which is whole, marked as used, or None when it must be made."""
        path = self._use(name, now)
        try:
            return path if path and self._is_whole(name, path.stat()) else None
        except FileNotFoundError:  # somebody emptied the directory
            self.forget(name)
            return None

    def open(self, name: str, now: int) -> int | None:
        """A descriptor of the file that `find` gives; from then on it may be evicted. The caller closes it."""
        path = self._use(name, now)
        if path is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            self.forget(name)
            return None
        if self._is_whole(name, os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        return None

    def _use(self, name: str, now: int) -> Path | None:
        """Where the file of a variant should be, marked as used."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        self._entries.move_to_end(name)
        path = self._files.path(name, entry.size_bytes)
        if now - entry.used_at > TOUCH_AFTER_SECONDS:
            entry.used_at = now
            with contextlib.suppress(OSError):  # it is missed when it is opened
                os.utime(path, (now, now))
        return path

    def _is_whole(self, name: str, status: os.stat_result) -> bool:
        """Whether a file has the length that it was made with. One that has not, is removed."""
        if status.st_size == self._entries[name].size_bytes:
            return True
        self.remove(name)
        return False

    def temporary(self, name: str) -> Path:
        """A path, in the right directory, for a variant that is being made."""
        return self._files.temporary(name)

    def adopt(self, temporary: Path, name: str, now: int) -> Path:
        """Make a finished temporary file the variant of this name."""
        size_bytes = temporary.stat().st_size
        path = self._files.path(name, size_bytes)
        reached("cache.made")
        temporary.replace(path)
        reached("cache.renamed")
        if (entry := self._entries.get(name)) and entry.size_bytes != size_bytes:
            self.remove(name)
        self.forget(name)
        self._insert(name, _Entry(size_bytes, now))
        self._evict()
        return path

    def forget(self, name: str) -> None:
        """Take a variant out of the index, because its file is gone."""
        self._changed_meanwhile.add(name)
        self._drop(name)

    def remove(self, name: str) -> None:
        """Remove a variant, if it is there."""
        if entry := self._entries.get(name):
            self._files.remove(name, entry.size_bytes)
        self.forget(name)

    def remove_files(self, prefixes: Iterable[str]) -> list[str]:
        """Remove the files of variants whose names begin like one of these: the names, for the index to forget.

        It touches no index, so a thread may do it, and so may a command beside the server. Each directory is read once,
        because reading it takes longer than all the rest.
        """
        return self._files.remove_beginning(prefixes)

    def remember_failure(self, name: str, now: int) -> None:
        """Note that a variant could not be made."""
        self._failures[name] = now + FAILURE_SECONDS
        self._failures.move_to_end(name)
        if len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    def forget_failures(self) -> None:
        """Let everything be tried again."""
        self._failures.clear()

    def is_known_failure(self, name: str, now: int) -> bool:
        """Whether a variant could not be made a short while ago."""
        # One that lies further ahead was noted before the clock was set back.
        return now < self._failures.get(name, 0) <= now + FAILURE_SECONDS

    def _insert(self, name: str, entry: _Entry) -> None:
        """Put a variant into the index as the one used last, in the place of one of the same name."""
        self._drop(name)
        self._entries[name] = entry
        self._names.setdefault(name[:2], set()).add(name)
        self._total_bytes += entry.size_bytes

    def _drop(self, name: str) -> None:
        if entry := self._entries.pop(name, None):
            self._names[name[:2]].remove(name)
            self._total_bytes -= entry.size_bytes

    def _evict(self) -> None:
        """Remove the least recently used until the cap holds; the newest stays, whatever its size."""
        while self._total_bytes > self.max_bytes and len(self._entries) > 1:
            self.remove(next(iter(self._entries)))

    def _read(self, half_made_seconds: float = HALF_MADE_SECONDS) -> _Reading:
        """Read the folders that may have changed, and remove from them what is no variant. It runs in a thread."""
        # Every time is noted before what it is for is read, so that what changes meanwhile is seen the next time.
        stamp, now_ns = self._files.stamp(), time.time_ns()
        settled: dict[str, int] = {}
        folders: dict[str, dict[str, CachedFile]] = {}
        for name, modified_ns in self._files.list_folders().items():
            half_made = 0
            if self._settled.get(name) != modified_ns:
                folder = self._files.read_folder(name, half_made_seconds)
                half_made = folder.half_made
                folders[name] = self._tidy(folder)
            if not half_made and now_ns - modified_ns > SETTLED_SECONDS * _NS_PER_SECOND:
                settled[name] = modified_ns
        return _Reading(stamp, settled, folders)

    def _tidy(self, folder: Folder) -> dict[str, CachedFile]:
        """Remove leftovers, and all but the newest of a variant that two processes have made: the variants by name."""
        for leftover in folder.leftovers:
            leftover.unlink(missing_ok=True)
        found: dict[str, CachedFile] = {}
        for file in sorted(folder.variants, key=_by_use):
            if older := found.get(file.name):
                self._files.remove(older.name, older.size_bytes)
            found[file.name] = file
        return found

    def _is_news(self, name: str, file: CachedFile | None) -> bool:
        """Whether a file that was read, or not found, differs from what is known, and is to be believed."""
        entry = self._entries.get(name)
        is_known = file is not None and entry is not None and file.size_bytes == entry.size_bytes
        return not is_known and name not in self._changed_meanwhile

    def _take_up(self, files: list[CachedFile]) -> None:
        """Put files into the index, the one used last at its end."""
        for file in sorted(files, key=_by_use):
            self._insert(file.name, _Entry(file.size_bytes, file.used_at_ns // _NS_PER_SECOND))
        self._evict()

    def _remember(self, reading: _Reading) -> None:
        """Know from now on what needs not be read again."""
        self._stamp, self._settled = reading.stamp, reading.settled


def _by_use(file: CachedFile) -> int:
    return file.used_at_ns
