"""The files of the manifests: `manifests/` in the data directory, beside `blobs/`.

library.jsonl          what the library is called
teams/0/7.jsonl        a team with its keys, and a thousand such files in each folder
images/0/12.jsonl      images, 64 in each, and a thousand such files in each folder
blocked/9f.jsonl       bytes that the operator refuses, by the beginning of their hash
state                  which database they were written from, and how often
.….jsonl.new           beside each while it is written; what a crash leaves of one is written over

Each line is a JSON object with the SHA-256 of what it says, as it is written, so that nobody takes a damaged one for
true, and damage harms nothing but its line.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import sync_directory, sync_file
from imgpro_lite.store.manifest_rows import State

MANIFESTS_NAME = "manifests"
# An image has 16 KB of metadata at most, as JSON in JSON 100 KB; a team with a thousand keys has 300 KB.
MAX_LINE_BYTES = 16 * 1024 * 1024
FILES_IN_FOLDER = 1000

_NAME = re.compile(r"library|(teams|images)/(0|[1-9][0-9]{0,18})|blocked/[0-9a-f]{2}")
_SEALED = re.compile(rb'\{"checksum":"([0-9a-f]{64})","content":(.*)\}\n')
_STATE = re.compile(rb"([0-9a-f]{16}) ([0-9]{18})\n")
_SUFFIX = ".jsonl"
_NEW = ".new"


class Written(NamedTuple):
    """What became of manifests: the names of those that are on the disk as they should be, and why others are not."""

    done: set[str]
    error: OSError | None


class Manifests:
    """The manifests of a data directory, whether there are any or not."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / MANIFESTS_NAME
        self._state = self.root / "state"

    def has_library(self) -> bool:
        """Whether there are manifests at all: the library's is always written."""
        return self.path("library").exists()

    def read_state(self) -> State | None:
        """What they were written from; None where that cannot be read."""
        try:
            found = _STATE.fullmatch(self._state.read_bytes())
        except OSError:
            return None
        return State(found[1].decode(), int(found[2])) if found else None

    def write_state(self, state: State) -> None:
        """Say what they were written from. Over what is there, and without waiting for the disk: after a power cut it
        may be an older one, which costs a comparison of all. Raises OSError."""
        descriptor = os.open(self._state, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"%s %018d\n" % (state.line.encode(), state.batches))
            file.truncate()

    def path(self, name: str) -> Path:
        """Where a manifest is, or would be. Raises ValueError for what is no name."""
        if not _NAME.fullmatch(name):
            raise ValueError(name)
        kind, _, subject = name.partition("/")
        if kind in ("images", "teams"):
            return self.root / kind / str(int(subject) // FILES_IN_FOLDER) / f"{subject}{_SUFFIX}"
        return self.root / f"{name}{_SUFFIX}"

    def is_written(self, name: str, lines: list[bytes]) -> bool:
        """Whether a manifest is on the disk, and says this. False for one that cannot be read."""
        path, wanted = self.path(name), seal(lines)
        try:
            # What a failing disk has made of a file may be anything: a pipe, for example, which would never end.
            status = path.lstat()
            return stat.S_ISREG(status.st_mode) and status.st_size == len(wanted) and path.read_bytes() == wanted
        except OSError:
            return False

    def write(self, contents: Iterable[tuple[str, list[bytes]]]) -> Written:
        """Have manifests say this, durably; those that are to say nothing are removed. One that fails keeps none of the
        others from being written."""
        batch = _Batch()
        for name, lines in contents:
            with batch.attempt(name):
                path = self.path(name)
                if lines:
                    self._make_folder(batch, path.parent)
                    batch.open(name, path.with_name(f".{path.name}{_NEW}"), seal(lines))
                else:
                    self._remove(batch, name, path)
        batch.sync_files()
        reached("manifests.written")
        for name, temporary in batch.temporary.items():
            with batch.attempt(name):
                temporary.replace(self.path(name))
                batch.changed.setdefault(temporary.parent, set()).add(name)
        reached("manifests.renamed")
        batch.sync_folders()
        batch.clear()
        return Written(batch.done, batch.error)

    def _remove(self, batch: "_Batch", name: str, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.with_name(f".{path.name}{_NEW}").unlink(missing_ok=True)
            path.unlink()
            batch.changed.setdefault(path.parent, set()).add(name)

    def _make_folder(self, batch: "_Batch", folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self.root:
            self._make_folder(batch, folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        batch.changed.setdefault(folder.parent, set())

    def walk(self) -> Iterator[tuple[Path, str | None]]:
        """Every file, with the name of its manifest; without one for what does not belong there. Raises OSError."""
        for path in _files_below(self.root):
            if path.name.endswith(f"{_SUFFIX}{_NEW}") or path == self._state:
                continue
            kind = path.relative_to(self.root).parts[0]
            name = path.stem if path.parent == self.root else f"{kind}/{path.stem}"
            is_ours = path.suffix == _SUFFIX and _NAME.fullmatch(name) and self.path(name) == path
            yield path, name if is_ours and not path.is_symlink() else None


class _Batch:
    """Manifests that are written together, so that they share the waiting for the disk."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.error: OSError | None = None
        self.temporary: dict[str, Path] = {}
        self.changed: dict[Path, set[str]] = {}
        """The folders that have new entries, or have lost some, with the names of those."""
        self._open: dict[str, int] = {}

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """It is done unless the block, or a later one, fails."""
        self.done.add(name)
        try:
            yield
        except OSError as error:
            self.done.discard(name)
            self.error = error

    def open(self, name: str, path: Path, data: bytes) -> None:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._open[name], self.temporary[name] = descriptor, path
        while data:  # a write may be short: on a disk that is nearly full the first one is
            data = data[os.write(descriptor, data) :]

    def sync_files(self) -> None:
        """All are written by now: most syncs find that an earlier one has done their work."""
        for name, descriptor in self._open.items():
            try:
                if name in self.done:
                    with self.attempt(name):
                        sync_file(descriptor)
            finally:
                os.close(descriptor)
        for name in self.temporary.keys() - self.done:
            self.temporary.pop(name).unlink(missing_ok=True)

    def sync_folders(self) -> None:
        for folder, names in self.changed.items():
            try:
                sync_directory(folder)
            except OSError as error:
                self.done -= names
                self.error = error

    def clear(self) -> None:
        """Leave nothing of what failed."""
        for path in self.temporary.values():
            path.unlink(missing_ok=True)


def seal(lines: list[bytes]) -> bytes:
    """The bytes of a manifest with these JSON objects."""
    return b"".join(
        b'{"checksum":"%s","content":%s}\n' % (hashlib.sha256(line).hexdigest().encode(), line) for line in lines
    )


def unseal(line: bytes) -> bytes | None:
    """The JSON object of a line; None for one that is damaged."""
    found = _SEALED.fullmatch(line)
    if not found or hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
        return None
    return found[2]


def read_sealed(path: Path) -> Iterator[bytes | None]:
    """The JSON objects of a manifest, None in the place of each that is damaged. Raises OSError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        yield None
        return
    with path.open("rb") as file:
        is_empty = True
        while line := file.readline(MAX_LINE_BYTES):
            is_empty = False
            yield unseal(line)
        if is_empty:
            yield None


def _files_below(folder: Path) -> Iterator[Path]:
    """Everything that is not a directory, in the order of the names. Links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry))
        else:
            yield Path(entry)
