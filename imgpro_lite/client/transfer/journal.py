"""The journal of a transfer: one JSON object a line, from which it goes on however it ended.

    {"journal": 1, "from": …, "to": …}      the two servers
    {"begin": old id, "at": …, …}           an upload is about to be sent
    {"refused": old id}                     it was not taken, so nothing of it is there
    {"done": old id, "id": new id, …}       the image is there

A process that is killed between an upload and its `done` leaves a `begin` alone: that image is in doubt, and is looked
for at the destination before it is sent again.
"""

import csv
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgpro_lite.client.transfer.images import Image, parse_id
from imgpro_lite.errors import OperatorError
from imgpro_lite.store.files import DirectoryLock, sync_file

VERSION = 1
NAME_CHARS = 16  # of a hash: of 2**64 addresses no two will meet
MAP_COLUMNS = ("old_id", "new_id", "old_src", "new_src", "old_url", "new_url")


@dataclass(frozen=True, slots=True)
class Doubt:
    """An image that may be at the destination already, and by what it is known there. `at` is the time there."""

    old_id: str
    at: int
    src: str
    url: str
    name: str
    filesize_bytes: int
    width: int
    height: int
    namespace: str | None
    tags: tuple[str, ...] = ()
    public: bool = True


def doubt_about(image: Image, sent_bytes: int, at: int) -> Doubt:
    """What is noted before an upload of so many bytes is sent."""
    size = (sent_bytes, image.width, image.height)
    return Doubt(image.id, at, image.src, image.url, image.name, *size, image.namespace, image.tags, image.public)


def default_path(source: tuple[str, str], destination: tuple[str, str]) -> Path:
    """Where the journal for two servers is, each with its key: in the user's directory for such things.

    A key stands for its team, which the API does not name. Raises OperatorError when there is a journal for the same
    servers with other keys: keys of the same teams, perhaps, whose images would be copied a second time.
    """
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(home) / "imgpro-lite" / "transfers"
    servers = _hash(source[0], destination[0])
    path = folder / f"{servers}-{_hash(source[1], destination[1])}.jsonl"
    if not path.exists() and (others := sorted(folder.glob(f"{servers}-*.jsonl"))):
        raise OperatorError(
            f"Between these two servers images were copied before, with other keys. If the keys are of the same teams, "
            f"go on with --journal {others[0]} so that nothing is copied twice. If not, begin with --journal {path}"
        )
    return path


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:NAME_CHARS]


class Journal:
    """An open journal. Threads may share it; no other process may have it. Closing it lets it go."""

    def __init__(self, path: Path, source: str, destination: str) -> None:
        """Open it; a new one comes into being with its first line. Raises OperatorError, OSError."""
        self.path = path
        self.known: dict[str, str] = {}
        """The new id of each old one."""
        self.doubts: dict[str, Doubt] = {}
        self._head = {"journal": VERSION, "from": source, "to": destination}
        self._descriptor: int | None = None
        self._writing = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _hold(path)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._lock.release()

    def _read(self) -> None:
        lines = self._lines()
        if (head := next(lines, None)) is None:
            if self.path.exists() and self.path.stat().st_size:
                raise OperatorError(f"{self.path} is no journal of a transfer. Choose another file with --journal.")
            return
        if head.get("journal") != VERSION:
            raise OperatorError(f"{self.path} is no journal of a transfer. Choose another file with --journal.")
        if head != self._head:
            raise OperatorError(
                f"The journal {self.path} is of a transfer from {head.get('from')} to {head.get('to')}. "
                "Choose another file with --journal."
            )
        for line in lines:
            self._take(line)

    def _open(self) -> int:
        """The file, to write behind what is there; Windows would write other ends of lines into a text."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        if not os.fstat(descriptor).st_size:
            os.write(descriptor, _encode(self._head))
            return descriptor
        os.lseek(descriptor, -1, os.SEEK_END)
        if os.read(descriptor, 1) != b"\n":  # killed while it was being written
            os.write(descriptor, b"\n")
        return descriptor

    def _take(self, line: Mapping[str, Any]) -> None:
        """What a line says, if it is whole."""
        try:
            if "begin" in line:
                fields = {name: line[name] for name in Doubt.__slots__ if name != "old_id"}
                self.doubts[line["begin"]] = Doubt(line["begin"], **{**fields, "tags": tuple(fields["tags"])})
            elif "refused" in line:
                self.doubts.pop(line["refused"], None)
            elif "done" in line:
                self.known[line["done"]] = line["id"]
                self.doubts.pop(line["done"], None)
        except (KeyError, TypeError):
            return

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Every line that is whole: the last one may not be, after a kill or on a full disk. None without a file."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for raw in file:
                try:
                    line = json.loads(raw)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict):
                    yield line

    def begin(self, doubt: Doubt) -> None:
        """An upload is about to be sent. It is on the disk before that."""
        fields = {name: getattr(doubt, name) for name in Doubt.__slots__ if name != "old_id"}
        self.doubts[doubt.old_id] = doubt
        sync_file(self._append({"begin": doubt.old_id, **fields}))

    def refuse(self, old_id: str) -> None:
        """It was not taken."""
        self._append({"refused": old_id})
        self.doubts.pop(old_id, None)

    def finish(self, doubt: Doubt, media: Mapping[str, Any]) -> str:
        """It is there, as `media` shows it: its new id. Raises Unusable."""
        new_id = parse_id(media)
        new = {name: media.get(name) for name in ("src", "url") if isinstance(media.get(name), str)}
        self._append({"done": doubt.old_id, "id": new_id, "old_src": doubt.src, "old_url": doubt.url, **new})
        self.known[doubt.old_id] = new_id
        self.doubts.pop(doubt.old_id, None)
        return new_id

    def _append(self, line: Mapping[str, Any]) -> int:
        """Write a line; the descriptor of the file."""
        data = _encode(line)
        with self._writing:
            if self._descriptor is None:
                self._descriptor = self._open()
            while data:
                data = data[os.write(self._descriptor, data) :]
            return self._descriptor

    def write_map(self, path: Path) -> int:
        """Write which image has become which, as CSV; how many there are. Raises OSError."""
        count = 0
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(MAP_COLUMNS)
            for line in self._lines():
                if "done" in line:
                    names = ("done", "id", "old_src", "src", "old_url", "url")
                    writer.writerow([line.get(name, "") for name in names])
                    count += 1
        return count


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _hold(path: Path) -> DirectoryLock:
    try:
        return DirectoryLock(path.with_name(path.name + ".lock"))
    except OperatorError:
        raise OperatorError(f"Another transfer is using the journal {path}. Wait until it has ended.") from None
