"""The SQLite file itself: connections with the right pragmas, explicit transactions, numbered migrations."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError, Overloaded, StorageFull
from imgpro_lite.store import account_rows
from imgpro_lite.store.before_upgrade import end_upgrade, keep_copy
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import disk_full_as_refusal, free_bytes, is_out_of_room

BUSY_TIMEOUT_MS = 5_000  # an operator's command or a backup may hold the write lock for a moment
RETRY_AFTER_LOCKED_SECONDS = 5  # by then another BUSY_TIMEOUT_MS has passed
RETRY_WAL_SECONDS = 0.01  # a migration of a new file takes about as long
# "imgp": marks the file as ours, in the place that SQLite keeps for this.
APPLICATION_ID = 0x696D6770
# Reads go through the page cache of the system instead of copies of it: lists of a large library are a third faster.
MMAP_BYTES = 1024 * 1024 * 1024
# For the index of its log, 32 KB, and the first pages of the log.
LEAST_TO_OPEN_BYTES = 1024 * 1024
_MAKE_ROOM = "The disk is full; make room first. Nothing was changed."
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True)
class Tx:
    """An open write transaction. `now` is the one time, in Unix seconds, of everything it writes."""

    conn: sqlite3.Connection
    now: int


def connect_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the pragmas that every one of ours has. Used by the server and by the operator's commands.

    Raises OperatorError for a file that is not ours, and then has changed nothing in it.
    """
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # First of all, so that the statements below already wait for other processes.
        conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _refuse_foreign(conn, path)
        # Readers never wait for the writer, and a crash leaves a log that the next start applies.
        _use_wal(conn)
        # A commit is on the disk before it is acknowledged; NORMAL would lose the last ones with the power (0.24 ms).
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
        if read_only:
            conn.execute("PRAGMA query_only = ON")
    except BaseException:
        conn.close()
        raise
    return conn


def connect_unwritable(path: Path) -> sqlite3.Connection:
    """A connection for reading where nothing can be written: a snapshot or a backup that is mounted read-only.

    Raises OperatorError, also for a database whose log cannot be read there.
    """
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    has_log = log.exists() and log.stat().st_size > 0
    if has_log and not index.exists():
        raise OperatorError(
            f"The database {path} has a log, {log.name}, but not {index.name}, and SQLite cannot make that where "
            "nothing can be written. Copy the whole directory to where it can be, and look at the copy."
        )
    # Without a log SQLite has to be told that nobody writes: it would make one.
    return _connect_read_only(path, is_written=has_log)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that leaves everything as it is, beside a running server or alone, also for another user than the
    server's: it makes no file that would then be its. Raises OperatorError and sqlite3.Error."""
    # The index of the log is there while anybody has the database open, and after a crash.
    return _connect_read_only(path, is_written=Path(f"{path}-shm").exists())


def _connect_read_only(path: Path, *, is_written: bool) -> sqlite3.Connection:
    """A connection that changes nothing. Where somebody may write there is a log, which has to be read too."""
    mode = "mode=ro" if is_written else "immutable=1"
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
    try:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _refuse_foreign(conn, path)
    except BaseException:
        conn.close()
        raise
    return conn


def is_damaged(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is not, or no longer, a database."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _use_wal(conn: sqlite3.Connection) -> None:
    """Write to a log. For a new file SQLite does not wait for another process that is about to do the same."""
    ends_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            conn.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _LOCKED or time.monotonic() > ends_at:
                raise
            time.sleep(RETRY_WAL_SECONDS)
        else:
            return


def _refuse_foreign(conn: sqlite3.Connection, path: Path) -> None:
    """Raise OperatorError for a database of another program, or of a newer version of this one."""
    conn.execute("BEGIN")  # another process may be making the database
    try:
        (application_id,) = conn.execute("PRAGMA application_id").fetchone()
        version = schema_version(conn)
        (objects,) = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        if conn.in_transaction:  # an error may have ended it
            conn.execute("ROLLBACK")
    if application_id != APPLICATION_ID and (application_id, version, objects) != (0, 0, 0):
        raise OperatorError(f"The file {path} is an SQLite database, but not one of imgpro-lite. It was left as it is.")
    newest = len(_migration_scripts())
    if version > newest:
        raise OperatorError(
            f"The database {path} was written by a newer imgpro-lite "
            f"(schema {version}; this one knows {newest}). "
            "Upgrade imgpro-lite, or use the data directory that belongs to this version."
        )


@contextlib.contextmanager
def write_transaction(conn: sqlite3.Connection, clock: Clock) -> Iterator[Tx]:
    """BEGIN IMMEDIATE … COMMIT around the block, or ROLLBACK when it raises. Raises Overloaded and StorageFull."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        try:
            with disk_full_as_refusal():
                yield Tx(conn, clock.now())
            conn.execute("COMMIT")
        except BaseException:
            # SQLite may already have rolled back by itself, as it does when the disk is full.
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        primary_code = error.sqlite_errorcode & 0xFF  # the low byte; the rest only says more
        if primary_code in _LOCKED:
            raise Overloaded(RETRY_AFTER_LOCKED_SECONDS) from error
        # SQLite has a word of its own for ENOSPC only. A full quota (EDQUOT), or a limit of sizes (EFBIG), is an I/O
        # error to it, as EIO is.
        is_full = primary_code == sqlite3.SQLITE_FULL
        if is_full or (primary_code == sqlite3.SQLITE_IOERR and _is_out_of_room(_path_of(conn))):
            raise StorageFull from error
        raise


def _is_out_of_room(path: Path) -> bool:
    """Whether the database, or its log, may not grow."""
    files = [path, Path(f"{path}-wal")]
    return is_out_of_room(path.parent, max(file.stat().st_size if file.exists() else 0 for file in files))


def _path_of(conn: sqlite3.Connection) -> Path:
    return Path(conn.execute("PRAGMA database_list").fetchone()[2])


@contextlib.contextmanager
def open_for_command(path: Path, clock: Clock) -> Iterator[sqlite3.Connection]:
    """A connection for an operator's command, beside a running server or alone. Raises OperatorError."""
    with database_errors(path):
        conn = connect_file(path)
    try:
        with database_errors(path):
            migrate(conn, clock)
        yield conn
    except Overloaded as error:
        raise OperatorError(f"The database {path} is held by another program. Try again when it has ended.") from error
    except StorageFull as error:
        message = "The disk is full; make room first. What the command had done before stays done."
        raise OperatorError(message) from error
    finally:
        conn.close()


def migrate(conn: sqlite3.Connection, clock: Clock) -> None:
    """Apply the migrations that the file does not have yet, all or none. Raises OperatorError for one that was lost."""
    scripts = _migration_scripts()
    if schema_version(conn) == 0:
        refuse_lost(conn)
    if schema_version(conn) < len(scripts):
        _upgrade(conn, clock, scripts)
    with write_transaction(conn, clock) as tx:
        account_rows.ensure_anonymous_team(tx.conn, tx.now)


def _upgrade(conn: sqlite3.Connection, clock: Clock, scripts: list[str]) -> None:
    """One transaction for all migrations: a version between two, which no program knows, is never on the disk, and the
    copy that is kept is one that the older program wrote."""
    with write_transaction(conn, clock) as tx:
        found = schema_version(conn)
        if 0 < found < len(scripts):  # else it is new, or another process has just done it: a command beside a server
            keep_copy(conn, _path_of(conn), tx.now)
        for number, script in enumerate(scripts[found:], start=found + 1):
            _apply(conn, number, script)
    reached("migration.committed")
    end_upgrade(_path_of(conn))


def _apply(conn: sqlite3.Connection, number: int, script: str) -> None:
    reached("migration.begun")
    for statement in _statements(script):  # executescript would end the transaction first
        conn.execute(statement)
    reached("migration.applied")
    conn.execute(f"PRAGMA user_version = {number}")
    reached("migration.versioned")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, each of which ends with a line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    yield statement  # only a comment, or SQLite says what is wrong with it


def schema_version(conn: sqlite3.Connection) -> int:
    """How many migrations the database has."""
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    return int(version)


def refuse_lost(conn: sqlite3.Connection) -> None:
    """Raise OperatorError for an empty database where there are images or keys. A new one would know none of them, what
    looks for files without an image would set them all aside, and the manifests would be written over."""
    path = _path_of(conn)
    has_images = any(path.parent.glob("blobs/??/??/*"))
    if has_images or any(path.parent.glob("manifests/teams/*")):
        found = f"{path.parent / 'blobs'} has images" if has_images else f"{path.parent / 'manifests'} has keys"
        raise OperatorError(
            f"The database {path} is missing or empty, but {found}. Run `imgpro-lite restore DEST --replace`, if there "
            "is a backup, or `imgpro-lite rebuild`, which makes the database anew; or move blobs and manifests away to "
            "begin anew. Nothing was changed."
        )


def check_writable(conn: sqlite3.Connection, clock: Clock) -> None:
    """Commit something. SQLite opens a file that it may only read without a word."""
    with contextlib.suppress(StorageFull), write_transaction(conn, clock) as tx:  # what is stored can still be served
        account_rows.touch(tx.conn)


def _migration_scripts() -> list[str]:
    folder = resources.files("imgpro_lite.store").joinpath("schema")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong while opening into words that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = "Restore it from a backup, or do what `imgpro-lite fsck` says; nothing was changed."
        primary_code = error.sqlite_errorcode & 0xFF
        if primary_code in _LOCKED:
            hint = "Another program holds it; try again when that has ended."
        elif primary_code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            hint = "Check that the directory and its files belong to the user that runs imgpro-lite."
        elif primary_code == sqlite3.SQLITE_FULL:
            hint = _MAKE_ROOM
        elif primary_code == sqlite3.SQLITE_IOERR:
            is_full = free_bytes(path.parent) < LEAST_TO_OPEN_BYTES or _is_out_of_room(path)
            hint = _MAKE_ROOM if is_full else "The disk or its file system has failed; the system's log may say more."
        raise OperatorError(f"The database {path} cannot be opened: {error}. {hint}") from error
    except StorageFull as error:
        raise OperatorError(f"The database {path} cannot be opened. {_MAKE_ROOM}") from error
    except Overloaded as error:
        raise OperatorError(
            f"The database {path} is held by another program. Try again when that has ended."
        ) from error
