"""What every check gets, and what it tells: problems, each of a kind, and how far it has come."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from imgpro_lite.clock import Clock
from imgpro_lite.store.sqlite_file import Tx, write_transaction

SET_ASIDE_NAME = "set-aside"


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
    STRAY = "stray"
    LEFTOVER = "leftover"
    CACHE = "cache"
    ACCESS = "access"


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
        return {key: value for key, value in asdict(self).items() if value != () or self.image_count}


@dataclass(frozen=True)
class Options:
    """How much is looked at, and what may be changed."""

    quick: bool = False
    repair: bool = False
    remove_broken: bool = False


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
    counted: Counted = field(default_factory=Counted)

    @cached_property
    def owner_uid(self) -> int:
        """Whom the data directory belongs to, and so everything in it."""
        return self.data_dir.stat().st_uid

    def write(self) -> AbstractContextManager[Tx]:
        """A write transaction. Short ones only: a running server waits meanwhile."""
        return write_transaction(self.conn, self.clock)

    def set_aside(self, path: Path) -> Path:
        """Move something out of the way, to where nothing is ever removed by itself: where it is now."""
        target = self.data_dir / SET_ASIDE_NAME / path.relative_to(self.data_dir)
        self._make_folders(target.parent)
        number = 1
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        path.rename(target)
        return target

    def relative(self, path: Path) -> str:
        """A path as the report shows it."""
        return str(path.relative_to(self.data_dir))

    def _make_folders(self, folder: Path) -> None:
        """Make folders, which belong to whom the data directory belongs: the command may be run by root."""
        if folder.exists():
            return
        self._make_folders(folder.parent)
        folder.mkdir(mode=0o700)
        give_to_owner(folder, self.data_dir)


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
