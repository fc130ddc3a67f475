"""A copy of a database that others write to meanwhile, for keeping: in backups, and before upgrades."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

# 4 MB at a time, after which an interruption is noticed and progress is shown.
STEP_PAGES = 1024
# Where a database file says how it is written and read, and what it says when it needs no log beside it.
# https://www.sqlite.org/fileformat2.html#file_format_version_numbers
_FORMAT_VERSIONS_AT = 18
_NO_LOG = b"\1\1"


def copy_beside_writers(conn: sqlite3.Connection, target: Path, advance: Callable[[int], None]) -> None:
    """Write what is committed now to a new file, which needs no log beside it, on any kind of file system.

    Writers go on meanwhile. `advance` is called with the bytes that each step has copied. Raises sqlite3.Error.
    """
    (page_bytes,) = conn.execute("PRAGMA page_size").fetchone()
    left: int | None = None

    def step(_status: int, remaining: int, total: int) -> None:
        nonlocal left
        advance(((total if left is None else left) - remaining) * page_bytes)
        left = remaining

    with contextlib.closing(open_copy(target)) as copy:
        # All steps within one view of the database: else each write of another process would begin the copy anew.
        conn.execute("BEGIN")
        try:
            conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            conn.backup(copy, pages=STEP_PAGES, progress=step)
        finally:
            conn.execute("ROLLBACK")
    with target.open("r+b") as file:  # what was copied says that there is a log
        file.seek(_FORMAT_VERSIONS_AT)
        file.write(_NO_LOG)


def open_copy(path: Path) -> sqlite3.Connection:
    """A connection for changing a copy that nobody else knows of yet. It takes no locks, which network file systems
    may not have, makes no files, and does not wait for the disk: the caller syncs the file when it is complete."""
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None)
    conn.execute("PRAGMA journal_mode = MEMORY")
    conn.execute("PRAGMA synchronous = OFF")
    return conn
