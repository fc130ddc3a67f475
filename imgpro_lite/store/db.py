"""The open database of a server: one writer, a few readers, explicit transactions.

A transaction is a plain function that gets a connection and runs from its first to its last statement in that
connection's own thread. So transactions can never interleave, a cancelled request can never leave one open, and a
transaction costs one hop between threads instead of one for each statement.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from imgpro_lite.clock import Clock
from imgpro_lite.errors import StorageFull
from imgpro_lite.store.changes import Changes
from imgpro_lite.store.reserve import Reserve
from imgpro_lite.store.sqlite_file import Tx, check_writable, connect_file, database_errors, migrate, write_transaction

P = ParamSpec("P")
T = TypeVar("T")

READERS = 3  # one for short reads, which take well under a millisecond, and two for lists: a small server has two cores
# A server that writes without a pause writes up to 30 MB of log in a second (batch updates, measured).
FOLD_EVERY_SECONDS = 5
PAUSE_SECONDS = 1
CUT_LOG_BYTES = 512 * 1024 * 1024
CUT_AGAIN_SECONDS = 60
# Cutting the log holds the writer while it waits for readers, so it hardly waits.
CHECKPOINT_BUSY_TIMEOUT_MS = 50


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
        self,
        path: Path,
        writer: _Connection,
        checkpointer: _Connection,
        readers: list[_Connection],
        changes: Changes,
        clock: Clock,
        reserve: Reserve,
    ) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._log_path = Path(f"{path}-wal")
        self._writer = writer
        self._checkpointer = checkpointer
        self._written_at = self._folded_at = self._cut_again_at = time.monotonic()
        self._scans = asyncio.Semaphore(len(readers) - 1)
        self._readers = readers
        self._changes = changes
        self._data_version = 0
        self._clock = clock
        self._reserve = reserve
        self._free_readers: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._free_readers.put_nowait(reader)

    async def write(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run function(tx, …) in a write transaction: committed when it returns, rolled back when it raises.

        Once started it runs to its end, also when the caller is cancelled. Raises Overloaded when another process
        holds the database, StorageFull when the disk is full, and whatever the function raises.
        """

        def transaction(conn: sqlite3.Connection) -> T:
            self._changes.discard()  # what one that was rolled back had noted
            self._require_in_place()
            with write_transaction(conn, self._clock) as tx:
                result = function(tx, *args, **kwargs)
            # Told even if the caller is cancelled, and before it hears that the transaction is done.
            self._changes.tell(loop)
            return result

        loop = asyncio.get_running_loop()

        try:
            return await self._writer.run(transaction)
        finally:
            self._written_at = time.monotonic()

    def _require_in_place(self) -> None:
        """What is written to a file that was removed or replaced would be gone when the server stops."""
        try:
            is_in_place = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            is_in_place = False
        if not is_in_place:
            raise RuntimeError(f"{self._path} was removed or replaced while the server runs. Stop the server.")

    async def write_freeing(self, function: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write`, for what makes room: on a full disk it is tried again with the reserve's. It may run twice."""
        try:
            return await self.write(function, *args, **kwargs)
        except StorageFull:
            if not await asyncio.to_thread(self._reserve.release):
                raise
        return await self.write(function, *args, **kwargs)

    async def run_alone(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run function(connection, …) between two write transactions, for what is more than one. It runs to its end,
        also when the caller is cancelled."""
        try:
            return await self._writer.run(function, *args, **kwargs)
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

    async def has_changed_outside(self) -> bool:
        """Whether another process, such as an operator's command, has written since the last time this was asked."""
        rows = await self._writer.run(lambda conn: conn.execute("PRAGMA data_version").fetchall())
        before, self._data_version = self._data_version, rows[0][0]
        return before != self._data_version

    async def close(self) -> None:
        """Close every connection. The last one folds the write-ahead log into the file."""
        for connection in [*self._readers, self._checkpointer, self._writer]:
            await connection.close()


@contextlib.asynccontextmanager
async def open_database(
    path: Path,
    clock: Clock,
    on_media_change: Callable[[list[str]], None] = lambda _ids: None,
    on_mail: Callable[[], None] = lambda: None,
    reserve: Reserve | None = None,
) -> AsyncIterator[Database]:
    """The database at `path`, created or brought up to this version. Raises OperatorError, and then changes nothing.

    `on_media_change` is called, in the event loop, with the ids of the images that a transaction has changed or
    removed, before the one who asked for it hears that it is done; `on_mail` in the same way when mail was queued.
    `write_freeing` uses the reserve.
    """
    changes = Changes(on_media_change, on_mail)
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

    with database_errors(path):
        try:
            writer = await connect()
            await writer.run(migrate, clock)
            await writer.run(check_writable, clock)
            await writer.run(changes.watch)
            await writer.run(lambda conn: conn.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
            checkpointer = await connect()
            busy_timeout = f"PRAGMA busy_timeout = {CHECKPOINT_BUSY_TIMEOUT_MS}"
            await checkpointer.run(lambda conn: conn.execute(busy_timeout).fetchall())
            readers = [await connect(read_only=True) for _ in range(READERS)]
        except BaseException:
            for connection in connections:
                await connection.close()
            raise
    reserve = reserve or Reserve(path.with_name("reserve"), 0, 0)
    database = Database(path, writer, checkpointer, readers, changes, clock, reserve)
    await database.has_changed_outside()  # from now on
    try:
        yield database
    finally:
        await database.close()
