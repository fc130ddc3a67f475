"""The SQLite file: one writer, a few readers, explicit transactions, numbered migrations.

A transaction is a plain function that gets a connection and runs from its first to its last statement in that
connection's own thread. So transactions can never interleave, a cancelled request can never leave one open, and a
transaction costs one hop between threads instead of one for each statement.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError, Overloaded, StorageFull
from imgpro_lite.store import account_rows

P = ParamSpec("P")
T = TypeVar("T")

READERS = 3  # one for short reads, which take well under a millisecond, and two for lists: a small server has two cores
BUSY_TIMEOUT_MS = 5_000  # an operator's command or a backup may hold the write lock for a moment
RETRY_AFTER_LOCKED_SECONDS = 5  # by then another BUSY_TIMEOUT_MS has passed
# "imgp": marks the file as ours, in the place that SQLite keeps for this.
APPLICATION_ID = 0x696D6770
# Reads go through the page cache of the system instead of copies of it: lists of a large library are a third faster.
MMAP_BYTES = 1024 * 1024 * 1024
# A server that writes without a pause writes up to 30 MB of log in a second (batch updates, measured).
FOLD_EVERY_SECONDS = 5
PAUSE_SECONDS = 1
CUT_LOG_BYTES = 512 * 1024 * 1024
CUT_AGAIN_SECONDS = 60
# Cutting the log holds the writer while it waits for readers, so it hardly waits.
CHECKPOINT_BUSY_TIMEOUT_MS = 50
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True)
class Tx:
    """An open write transaction. `now` is the one time, in Unix seconds, of everything it writes."""

    conn: sqlite3.Connection
    now: int


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs whole functions in its thread."""

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        result: T = await self._execute(function, self._conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


class Database:
    """The open database of a server."""

    def __init__(
        self, path: Path, writer: _Connection, checkpointer: _Connection, readers: list[_Connection], clock: Clock
    ) -> None:
        self._log_path = Path(f"{path}-wal")
        self._writer = writer
        self._checkpointer = checkpointer
        self._written_at = self._folded_at = self._cut_again_at = time.monotonic()
        self._scans = asyncio.Semaphore(len(readers) - 1)
        self._readers = readers
        self._clock = clock
        self._free_readers: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._free_readers.put_nowait(reader)

    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run function(tx, …) in a write transaction: committed when it returns, rolled back when it raises.

        Once started it runs to its end, also when the caller is cancelled. Raises Overloaded when another process
        holds the database, StorageFull when the disk is full, and whatever the function raises.
        """

        def transaction(conn: sqlite3.Connection) -> T:
            with write_transaction(conn, self._clock) as tx:
                return function(tx, *args, **kwargs)

        try:
            return await self._writer.run(transaction)
        finally:
            self._written_at = time.monotonic()

    async def read(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run function(connection, …) on a read-only connection, in one consistent view of the data."""

        def snapshot(conn: sqlite3.Connection) -> T:
            conn.execute("BEGIN")
            try:
                return function(conn, *args, **kwargs)
            finally:
                conn.execute("ROLLBACK")

        reader = await self._free_readers.get()
        try:
            return await reader.run(snapshot)
        finally:
            self._free_readers.put_nowait(reader)

    async def scan(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`read`, for what may take long: one reader is always left for short reads."""
        async with self._scans:
            return await self.read(function, *args, **kwargs)

    async def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, beside the writer, not in its commits. Called every second.

        Both compete for the disk, so a commit that meets it takes a tenth of a second in a large library. Therefore it
        waits for a pause, or at most FOLD_EVERY_SECONDS. While others write all the time the log is never quite folded;
        one that has become very long is cut, for which the writer waits once.
        """
        now = time.monotonic()
        is_due = now - self._folded_at > FOLD_EVERY_SECONDS or now - self._written_at > PAUSE_SECONDS
        if self._written_at < self._folded_at or not is_due:
            return
        self._folded_at = now
        cut = self._log_path.stat().st_size > CUT_LOG_BYTES and now > self._cut_again_at
        mode = "TRUNCATE" if cut else "PASSIVE"
        rows = await self._checkpointer.run(lambda conn: conn.execute(f"PRAGMA wal_checkpoint({mode})").fetchall())
        if cut and rows[0][0]:  # somebody reads an old state, a backup for example
            self._cut_again_at = now + CUT_AGAIN_SECONDS

    async def close(self) -> None:
        """Close every connection. The last one folds the write-ahead log into the file."""
        for connection in [*self._readers, self._checkpointer, self._writer]:
            await connection.close()


@contextlib.asynccontextmanager
async def open_database(path: Path, clock: Clock) -> AsyncIterator[Database]:
    """The database at `path`, created or brought up to this version. Raises OperatorError, and then changes nothing."""
    connections: list[_Connection] = []

    async def connect(**options: bool) -> _Connection:
        connection = _Connection(lambda: connect_file(path, **options), iter_chunk_size=64)
        try:
            opened = await connection
        except BaseException:
            # aiosqlite tells its thread to stop, but does not wait until it has reported to this event loop.
            await asyncio.to_thread(connection._thread.join)
            raise
        assert isinstance(opened, _Connection)
        connections.append(opened)
        return opened

    with _operator_errors(path):
        try:
            writer = await connect()
            await writer.run(migrate, clock)
            await writer.run(lambda conn: conn.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
            checkpointer = await connect()
            busy_timeout = f"PRAGMA busy_timeout = {CHECKPOINT_BUSY_TIMEOUT_MS}"
            await checkpointer.run(lambda conn: conn.execute(busy_timeout).fetchall())
            readers = [await connect(read_only=True) for _ in range(READERS)]
        except BaseException:
            for connection in connections:
                await connection.close()
            raise
    database = Database(path, writer, checkpointer, readers, clock)
    try:
        yield database
    finally:
        await database.close()


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
        conn.execute("PRAGMA journal_mode = WAL")
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


def _refuse_foreign(conn: sqlite3.Connection, path: Path) -> None:
    """Raise OperatorError for a database of another program, or of a newer version of this one."""
    (application_id,) = conn.execute("PRAGMA application_id").fetchone()
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    (objects,) = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
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
        if primary_code == sqlite3.SQLITE_FULL:
            raise StorageFull from error
        raise


@contextlib.contextmanager
def open_for_command(path: Path, clock: Clock) -> Iterator[sqlite3.Connection]:
    """A connection for an operator's command, beside a running server or alone. Raises OperatorError."""
    with _operator_errors(path):
        conn = connect_file(path)
    try:
        with _operator_errors(path):
            migrate(conn, clock)
        yield conn
    except Overloaded as error:
        raise OperatorError(f"The database {path} is held by another program. Try again when it has ended.") from error
    except StorageFull as error:
        raise OperatorError("The disk is full; make room first. Nothing was changed.") from error
    finally:
        conn.close()


def migrate(conn: sqlite3.Connection, clock: Clock) -> None:
    """Apply the migrations that the file does not have yet."""
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(_migration_scripts()[version:], start=version + 1):
        # executescript commits what is open, so each script brings its own transaction.
        conn.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    with write_transaction(conn, clock) as tx:
        account_rows.ensure_anonymous_team(tx.conn, tx.now)


def _migration_scripts() -> list[str]:
    folder = resources.files("imgpro_lite.store").joinpath("schema")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


@contextlib.contextmanager
def _operator_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong while opening into words that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = "Restore it from a backup; nothing was changed."
        if error.sqlite_errorcode & 0xFF in _LOCKED:
            hint = "Another program holds it; try again when that has ended."
        elif error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            hint = "Check that the directory and its files belong to the user that runs imgpro-lite."
        elif error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            hint = "The disk is full; make room first."
        raise OperatorError(f"The database {path} cannot be opened: {error}. {hint}") from error
    except Overloaded as error:
        raise OperatorError(
            f"The database {path} is held by another program. Try again when that has ended."
        ) from error
