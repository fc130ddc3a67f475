"""Copies of the whole database, made and taken over page by page while it is open."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.errors import Overloaded
from imgpro_lite.store.sqlite_file import (
    BUSY_TIMEOUT_MS,
    RETRY_AFTER_LOCKED_SECONDS,
    connect_unwritable,
    migrate,
)

_DONE = 101  # SQLITE_DONE


def copy_database(conn: sqlite3.Connection, target: Path) -> None:
    """Write everything that is committed to a new file, which needs no log beside it."""
    with contextlib.closing(_new_file(target)) as copy:
        conn.backup(copy)


def new_database(target: Path, clock: Clock) -> None:
    """Write an empty database of this version to a new file, which needs no log beside it."""
    open_new(target, clock).close()


def open_new(target: Path, clock: Clock) -> sqlite3.Connection:
    """An empty database of this version in a new file, which needs no log beside it. What is written to it is on the
    disk only when the caller syncs the file."""
    conn = _new_file(target)
    try:
        conn.execute("PRAGMA foreign_keys = ON")
        migrate(conn, clock)
    except BaseException:
        conn.close()
        raise
    return conn


def replace_database(conn: sqlite3.Connection, source: Path, clock: Clock) -> None:
    """Have everything be as in a copy, in one transaction. Readers see the one or the other.

    A copy of an earlier version is brought up to this one. Raises OperatorError for one of a later version, Overloaded
    when another process holds the database.
    """
    version = conn.execute("PRAGMA user_version").fetchone()
    with contextlib.closing(connect_unwritable(source)) as copy:
        # Nobody waits for a disk: a power cut may lose it, and then all of it, as the log has checksums.
        conn.execute("PRAGMA synchronous = OFF")
        try:
            copy.backup(conn, progress=_give_up_after(BUSY_TIMEOUT_MS / 1000))
            if conn.execute("PRAGMA user_version").fetchone() != version:
                migrate(conn, clock)
        finally:
            conn.execute("PRAGMA synchronous = FULL")


def list_stored(conn: sqlite3.Connection) -> list[bytes]:
    """The hashes of all files that there may be: those of images, deleted ones too, and those about to be removed."""
    rows = conn.execute("SELECT sha256 FROM media UNION SELECT sha256 FROM purgeable_blobs")
    return [sha256 for (sha256,) in rows]


def count_images(conn: sqlite3.Connection) -> int:
    """How many images there are, without deleted ones."""
    (count,) = conn.execute("SELECT count(*) FROM media WHERE deleted_at IS NULL").fetchone()
    return int(count)


def _new_file(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = MEMORY")
    conn.execute("PRAGMA synchronous = OFF")
    return conn


def _give_up_after(seconds: float) -> Callable[[int, int, int], None]:
    """SQLite itself would try for ever."""
    ends_at = time.monotonic() + seconds

    def check(status: int, remaining: int, total: int) -> None:
        if status != _DONE and time.monotonic() > ends_at:
            raise Overloaded(RETRY_AFTER_LOCKED_SECONDS)

    return check
