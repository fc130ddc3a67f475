"""What every check gets, and what it tells: problems, each of a kind, and how far it has come."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from imgpro_lite.clock import Clock
from imgpro_lite.errors import StorageFull
from imgpro_lite.store.set_aside import set_aside
from imgpro_lite.store.sqlite_file import Tx, write_transaction


class Kind(StrEnum):
    """What can be wrong. Scripts know these words."""

    DATABASE = "database"
    SCHEMA = "schema"
    ROW = "row"
    COUNT = "count"
    MISSING_FILE = "missing_file"
    DAMAGED_FILE = "damaged_file"
    WRONG_LENGTH = "wrong_length"
    FILE_WITHOUT_IMAGE = "file_without_image"
    MANIFEST = "manifest"
    STRAY = "stray"
    LEFTOVER = "leftover"
    CACHE = "cache"
    ACCESS = "access"
    START = "start"


@dataclass(frozen=True)
class BrokenImage:
    """A live image whose file is missing or damaged. `email` is None for an anonymous one."""

    id: str
    name: str
    email: str | None
    created_at: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in a sentence. `images` are some of those that it concerns, `image_count` says how many
    there are."""

    kind: Kind
    message: str
    repaired: bool = False
    images: tuple[BrokenImage, ...] = ()
    image_count: int = 0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {key: value for key, value in asdict(self).items() if "image" not in key or self.image_count}


@dataclass(frozen=True)
class Options:
    """How much is looked at, and what may be changed."""

    quick: bool = False
    repair: bool = False
    remove_broken: bool = False
    force: bool = False


class Progress(Protocol):
    """Who shows how far the checks are."""

    def begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        """Another check begins, of so many files (or images) and bytes, where that is known."""

    def advance(self, files: int, size_bytes: int = 0) -> None:
        """So much more is done."""


@dataclass
class Counted:
    """What was looked at."""

    images: int = 0
    files: int = 0
    checksum_bytes: int = 0
    cache_files: int = 0


@dataclass
class Checkup:
    """The library that is looked at, and who hears of it."""

    data_dir: Path
    conn: sqlite3.Connection
    options: Options
    tell: Callable[[Problem], None]
    progress: Progress
    clock: Clock
    read_only: bool = False
    """Nothing can be written to the directory, so no server runs on it."""
    counted: Counted = field(default_factory=Counted)

    @cached_property
    def owner_uid(self) -> int:
        """Whom the data directory belongs to, and so everything in it."""
        return self.data_dir.stat().st_uid

    def write(self) -> AbstractContextManager[Tx]:
        """A write transaction. Short ones only: a running server waits meanwhile."""
        return self._read() if self.read_only else write_transaction(self.conn, self.clock)

    @contextmanager
    def _read(self) -> Iterator[Tx]:
        self.conn.execute("BEGIN")
        try:
            yield Tx(self.conn, self.clock.now())
        finally:
            self.conn.execute("ROLLBACK")

    def set_aside(self, path: Path) -> str | None:
        """Move something out of the way, to where nothing is ever removed by itself: what keeps it here, or None.

        Raises OSError when the disk is full.
        """
        try:
            set_aside(self.data_dir, path)
        except OSError as error:  # it is of another file system or user, for example
            if error.errno in StorageFull.ERRNOS:
                raise
            return f"It cannot be moved: {error.strerror}."
        return None

    def tell_misplaced(self, kind: Kind, path: Path, message: str) -> None:
        """Tell what should not be where it is, and set it aside."""
        failure = self.set_aside(path) if self.options.repair else None
        self.tell_outcome(kind, message, failure, wants_repair=self.options.repair)

    def tell_outcome(self, kind: Kind, message: str, failure: str | None, *, wants_repair: bool) -> None:
        """Tell a problem that was to be repaired, or not, and what kept it from that."""
        self.tell(Problem(kind, f"{message} {failure}" if failure else message, wants_repair and failure is None))

    def relative(self, path: Path) -> str:
        """A path as the report shows it."""
        return str(path.relative_to(self.data_dir))
