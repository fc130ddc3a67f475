"""Before migrations change a library, a copy of its database is kept, with which one can go back."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from backups import fail_backup, rows_of
from conftest import FakeClock

from imgpro_lite.cli.backup import LEAST_SCHEMA
from imgpro_lite.errors import OperatorError
from imgpro_lite.store import before_upgrade, failpoints, sqlite_file
from imgpro_lite.store.sqlite_file import connect_file, migrate

SCRIPTS = sqlite_file._migration_scripts()
TEAM = (
    "INSERT INTO teams (kind, hash, email, plan, created_at) VALUES ('verified', 'abcde', 'ops@example.com', 'free', 0)"
)


def know_only(patch: pytest.MonkeyPatch, scripts: list[str]) -> None:
    patch.setattr(sqlite_file, "_migration_scripts", lambda: scripts)


def bring_up_to_date(path: Path, clock: FakeClock | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(connect_file(path)) as conn:
        migrate(conn, clock or FakeClock())


def copies(directory: Path) -> list[str]:
    folder = directory / "before-upgrade"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of the version before, with a team."""
    path = tmp_path / "imgpro.db"
    with monkeypatch.context() as patch:
        know_only(patch, SCRIPTS[:-1])
        bring_up_to_date(path)
    with closing(connect_file(path)) as conn:
        conn.execute(TEAM)
    return path


def test_a_copy_is_kept_and_is_the_older_database(older: Path) -> None:
    bring_up_to_date(older)
    (name,) = copies(older.parent)
    assert name == f"imgpro-{len(SCRIPTS) - 1}-2023-11-14T221320Z.db"
    copy = older.parent / "before-upgrade" / name
    assert rows_of(copy, "SELECT email FROM teams WHERE kind = 'verified'") == [("ops@example.com",)]
    assert rows_of(copy, "PRAGMA user_version") == [(len(SCRIPTS) - 1,)]
    bring_up_to_date(older)  # nothing is left to do
    assert copies(older.parent) == [name]


def test_nothing_is_kept_of_a_new_library_or_one_that_nobody_has_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        know_only(patch, SCRIPTS[:-1])
        bring_up_to_date(tmp_path / "imgpro.db")
    bring_up_to_date(tmp_path / "imgpro.db")
    assert copies(tmp_path) == []


def test_the_two_newest_stay(older: Path, tmp_path: Path) -> None:
    shutil.copy(older, tmp_path / "kept")
    names = []
    for at in (1_700_000_000, 1_700_000_100, 1_700_000_200):
        shutil.copy(tmp_path / "kept", older)
        bring_up_to_date(older, FakeClock(at))
        names.append(copies(tmp_path)[-1])
    assert copies(tmp_path) == names[-2:]


@pytest.mark.parametrize("point", ["upgrade.kept", "migration.begun", "migration.applied", "migration.versioned"])
def test_an_upgrade_that_keeps_failing_keeps_one_copy_and_those_of_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Whatever fails, and in whichever migration: nothing between two versions is ever there, or copied."""
    with monkeypatch.context() as patch:
        know_only(patch, SCRIPTS[:-3])
        bring_up_to_date(tmp_path / "imgpro.db")
        with closing(connect_file(tmp_path / "imgpro.db")) as conn:
            conn.execute(TEAM)
        know_only(patch, SCRIPTS[:-2])
        bring_up_to_date(tmp_path / "imgpro.db", FakeClock(1_600_000_000))
    (earlier,) = copies(tmp_path)
    version, reached = len(SCRIPTS) - 2, list[int]()

    def fail() -> None:
        reached.append(1)
        if point == "upgrade.kept" or len(reached) % 2 == 0:  # the last migration
            raise KeyboardInterrupt

    for at in range(1_700_000_000, 1_700_000_004):
        monkeypatch.setattr(failpoints, "_armed", {point: fail})
        with pytest.raises(KeyboardInterrupt):
            bring_up_to_date(tmp_path / "imgpro.db", FakeClock(at))
        assert rows_of(tmp_path / "imgpro.db", "PRAGMA user_version") == [(version,)]
    monkeypatch.setattr(failpoints, "_armed", {})
    bring_up_to_date(tmp_path / "imgpro.db", FakeClock(1_700_000_100))
    names = copies(tmp_path)
    assert earlier in names
    assert {rows_of(tmp_path / "before-upgrade" / name, "PRAGMA user_version")[0][0] for name in names} == {
        version - 1,
        version,
    }
    assert len(names) == 2


@pytest.mark.parametrize("room_bytes", [0, None])
def test_without_a_copy_nothing_is_changed(
    older: Path, monkeypatch: pytest.MonkeyPatch, room_bytes: int | None
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if room_bytes is None:
        monkeypatch.setattr(before_upgrade, "sync_file", fails)
    else:
        monkeypatch.setattr(before_upgrade, "free_bytes", lambda _path: room_bytes)
    with pytest.raises(OperatorError, match="Nothing was changed"):
        bring_up_to_date(older)
    assert rows_of(older, "PRAGMA user_version") == [(len(SCRIPTS) - 1,)]
    assert copies(older.parent) == []
    monkeypatch.undo()
    bring_up_to_date(older)
    assert len(copies(older.parent)) == 1


def test_a_library_without_a_name_of_its_own_is_not_backed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        know_only(patch, SCRIPTS[: LEAST_SCHEMA - 1])
        bring_up_to_date(tmp_path / "data" / "imgpro.db")
    monkeypatch.setattr("imgpro_lite.cli.backup.yield_to_others", lambda: None)
    assert "is of an older version" in fail_backup(tmp_path / "data", tmp_path / "dest")


def test_of_several_only_one_makes_a_copy(older: Path) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            bring_up_to_date(older)
        except (OperatorError, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(copies(older.parent)) == 1
    assert rows_of(older, "PRAGMA user_version") == [(len(SCRIPTS),)]
