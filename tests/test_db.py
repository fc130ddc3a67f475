"""The SQLite file: migrations, transactions that are whole or not at all, and files that are not ours."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeClock

from imgpro_lite.errors import OperatorError, Overloaded
from imgpro_lite.store import library_rows
from imgpro_lite.store.db import Database, open_database
from imgpro_lite.store.sqlite_file import Tx, connect_file, open_for_command

HOLD_THE_LOCK = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imgpro.db"


def with_database(path: Path, scene: Callable[[Database], Awaitable[Any]]) -> Any:
    """Open the database, run the scene, close it."""

    async def run() -> Any:
        async with open_database(path, FakeClock()) as db:
            return await scene(db)

    return asyncio.run(run())


async def nothing(db: Database) -> None:
    """Only open and close."""


def put(tx: Tx, subject: str) -> None:
    tx.conn.execute("INSERT INTO rate_windows VALUES ('test', ?, ?, 1)", (subject, tx.now))


def subjects(conn: sqlite3.Connection) -> list[str]:
    return [subject for (subject,) in conn.execute("SELECT subject FROM rate_windows ORDER BY subject")]


def on_disk(path: Path) -> dict[str, bytes]:
    """Every file of the directory with its bytes; what SQLite keeps beside an open file must be gone again."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


@contextmanager
def held_by_another_process(path: Path) -> Iterator[Callable[[], Any]]:
    """The write lock is taken, until the block calls what it gets."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder.communicate


def test_a_fresh_file_gets_every_migration_and_a_second_start_none(path: Path) -> None:
    with_database(path, nothing)
    first = schema(path)
    assert {"teams", "api_keys", "media"} <= {name for name, _ in first}
    with_database(path, lambda db: db.write(put, "kept"))
    assert schema(path) == first
    assert with_database(path, lambda db: db.read(subjects)) == ["kept"]
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT kind FROM teams").fetchall() == [("anonymous",)]
        assert conn.execute("PRAGMA user_version").fetchone()[0] > 0
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_clean_end_leaves_one_file(path: Path) -> None:
    with_database(path, lambda db: db.write(put, "kept"))
    assert [file.name for file in path.parent.iterdir()] == ["imgpro.db"]


def make_newer(path: Path) -> None:
    with_database(path, nothing)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA user_version = 9999")


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE recipes (name TEXT)")


def make_foreign_with_a_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript("CREATE TABLE recipes (name TEXT); PRAGMA user_version = 1")


def make_garbage(path: Path) -> None:
    path.write_bytes(b"This is not a database, whatever its name says. " * 100)


def make_damaged(path: Path) -> None:
    with_database(path, nothing)
    path.write_bytes(b"garbage" + path.read_bytes()[7:])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (make_newer, "newer imgpro-lite"),
        (make_foreign, "not one of imgpro-lite"),
        (make_foreign_with_a_version, "imgpro.db"),
        (make_garbage, "not a database"),
        (make_damaged, "not a database"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], says: str
) -> None:
    make(path)
    before = on_disk(path)
    with pytest.raises(OperatorError) as refusal:
        with_database(path, nothing)
    assert says in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert on_disk(path) == before
    with pytest.raises(OperatorError), open_for_command(path, FakeClock()):
        pass
    assert on_disk(path) == before


def test_a_path_that_cannot_be_a_file_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OperatorError, match=r"imgpro\.db"):
        with_database(path, nothing)


def test_what_raises_is_rolled_back(path: Path) -> None:
    def half(tx: Tx) -> None:
        put(tx, "half")
        raise LookupError("changed my mind")

    async def scene(db: Database) -> list[str]:
        await db.write(put, "before")
        with pytest.raises(LookupError, match="changed my mind"):
            await db.write(half)
        await db.write(put, "z after")
        return await db.read(subjects)

    assert with_database(path, scene) == ["before", "z after"]


def test_broken_sql_is_rolled_back_too(path: Path) -> None:
    def broken(tx: Tx) -> None:
        put(tx, "half")
        tx.conn.execute("INSERT INTO rate_windows VALUES ('test', NULL, 1, 1)")

    async def scene(db: Database) -> list[str]:
        with pytest.raises(sqlite3.IntegrityError):
            await db.write(broken)
        await db.write(put, "after")
        return await db.read(subjects)

    assert with_database(path, scene) == ["after"]


def test_a_cancelled_write_is_whole_or_nothing(path: Path) -> None:
    def two(tx: Tx, number: int) -> None:
        put(tx, f"{number:03} a")
        put(tx, f"{number:03} b")

    async def scene(db: Database) -> list[str]:
        tasks = [asyncio.create_task(db.write(two, number)) for number in range(60)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(result, asyncio.CancelledError) for result in ended)
        await db.write(put, "then")
        return await db.read(subjects)

    stored = with_database(path, scene)
    assert stored.pop() == "then"
    whole = {name.split()[0] for name in stored}
    assert stored == sorted(f"{number} {half}" for number in whole for half in "ab")
    assert {f"{number:03}" for number in range(60) if number % 3} <= whole


def test_writes_never_interleave(path: Path) -> None:
    def increment(tx: Tx) -> None:
        (attempts,) = tx.conn.execute("SELECT coalesce(max(attempts), 0) FROM rate_windows").fetchone()
        tx.conn.execute("INSERT OR REPLACE INTO rate_windows VALUES ('test', 'n', 1, ?)", (attempts + 1,))

    async def scene(db: Database) -> int:
        await asyncio.gather(*(db.write(increment) for _ in range(100)))
        return await db.read(lambda conn: conn.execute("SELECT attempts FROM rate_windows").fetchone()[0])

    assert with_database(path, scene) == 100


def test_a_read_sees_one_moment(path: Path) -> None:
    async def scene(db: Database) -> tuple[list[str], list[str], list[str]]:
        loop = asyncio.get_running_loop()

        def twice(conn: sqlite3.Connection) -> tuple[list[str], list[str]]:
            first = subjects(conn)
            asyncio.run_coroutine_threadsafe(db.write(put, "meanwhile"), loop).result()
            return first, subjects(conn)

        await db.write(put, "before")
        first, second = await db.read(twice)
        return first, second, await db.read(subjects)

    first, second, after = with_database(path, scene)
    assert first == second == ["before"]
    assert after == ["before", "meanwhile"]


def test_a_read_cannot_write_and_a_failed_one_does_not_block_the_reader(path: Path) -> None:
    async def scene(db: Database) -> list[str]:
        for _ in range(5):  # more than there are readers
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await db.read(lambda conn: conn.execute("DELETE FROM rate_windows"))
        tasks = [asyncio.create_task(db.read(subjects)) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await db.write(put, "seen")
        return (await asyncio.gather(*(db.read(subjects) for _ in range(10))))[-1]

    assert with_database(path, scene) == ["seen"]


def test_what_is_acknowledged_is_there_for_others_at_once(path: Path) -> None:
    async def scene(db: Database) -> list[str]:
        await db.write(put, "seen")
        with closing(connect_file(path, read_only=True)) as other:
            return subjects(other)

    assert with_database(path, scene) == ["seen"]


def test_a_database_that_another_process_holds(path: Path) -> None:
    async def scene(db: Database) -> list[str]:
        await db.write(put, "before")
        # Waiting the whole time-out of the server would only make this test slow.
        await db._writer.run(sqlite3.Connection.execute, "PRAGMA busy_timeout = 50")
        with held_by_another_process(path) as let_go:
            with pytest.raises(Overloaded) as refusal:
                await db.write(put, "refused")
            assert await db.read(subjects) == ["before"]  # readers never wait
            let_go()
        assert refusal.value.status == 503
        assert int(refusal.value.headers["Retry-After"]) >= 1
        await db.write(put, "later")
        return await db.read(subjects)

    assert with_database(path, scene) == ["before", "later"]


def test_a_write_that_waited_for_another_process_is_done(path: Path) -> None:
    async def scene(db: Database) -> list[str]:
        with held_by_another_process(path) as let_go:
            waiting = asyncio.create_task(db.write(put, "patient"))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            let_go()
            await waiting
        return await db.read(subjects)

    assert with_database(path, scene) == ["patient"]


def test_a_library_has_a_name_of_its_own_that_stays(tmp_path: Path) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    names = [with_database(path, lambda db: db.read(library_rows.get_library_id)) for path in (one, other, one)]
    assert names[0] == names[2] != names[1]
    assert re.fullmatch("[0-9a-f]{32}", names[0])
