"""Backups and restores that are killed, and disks that are full, vanish, or cannot do much."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import shared as one_server
from backups import rows_of
from checking import NOBODY, check
from library import check_files, owner, picture
from running import WAIT_SECONDS, command, environment, run, servers

from imgpro_lite.clock import Clock
from imgpro_lite.store import sqlite_file
from imgpro_lite.store.failpoints import POINTS, VARIABLE

IMAGES = 12
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="sends signals")]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library, and in `dest` a backup that lacks half of its files."""
    folder = tmp_path_factory.mktemp("original")
    with one_server.serve(folder / "data") as api:
        headers = owner(api)
        for number in range(IMAGES // 2):
            api.upload(picture(number), headers)
    assert run(folder, "backup", "dest", "--data-dir", "data").returncode == 0
    with one_server.serve(folder / "data") as api:
        for number in range(IMAGES // 2, IMAGES):
            api.upload(picture(number), headers)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


def die(folder: Path, point: str, *arguments: str) -> None:
    died = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment() | {VARIABLE: f"{point}=kill"},
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL


def succeed(folder: Path, *arguments: str) -> str:
    ended = run(folder, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("backup.", "copy."))])
def test_a_backup_that_dies(folder: Path, point: str) -> None:
    die(folder, point, "backup", "dest", "--data-dir", "data", "--keep", "2")
    complete = len(list((folder / "dest" / "backups").iterdir()))
    assert complete == (2 if point in ("backup.published", "backup.pruned") else 1)
    succeed(folder, "backup", "verify", "dest")
    succeed(folder, "restore", "dest", "--data-dir", "from-what-there-is")
    assert check(folder / "from-what-there-is") == []
    succeed(folder, "backup", "dest", "--data-dir", "data", "--keep", "1")
    assert not (folder / "dest" / "tmp").exists()
    succeed(folder, "backup", "verify", "dest")


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("restoring.", "copy."))])
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "replaced"])
def test_a_restore_that_dies(folder: Path, point: str, is_empty: bool) -> None:
    data_dir = folder / ("new" if is_empty else "data")
    die(folder, point, "restore", "dest", "--data-dir", str(data_dir), "--replace")
    if point.startswith("restoring."):
        with servers(folder) as start:  # its data directory is `data`
            if is_empty:
                data_dir.rename(folder / "other")
                shutil.rmtree(folder / "data")
                data_dir = (folder / "other").rename(folder / "data")
            assert start().end() == 0
    else:
        succeed(folder, "restore", "dest", "--data-dir", str(data_dir), "--replace")
    assert check(data_dir) == []
    check_files(data_dir)
    assert not (data_dir / "restoring").exists()
    assert rows_of(data_dir / "imgpro.db", "SELECT count(*) FROM media") == [(IMAGES // 2,)]


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("upgrade.")])
def test_an_upgrade_that_dies_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    database, scripts = tmp_path / "data" / "imgpro.db", sqlite_file._migration_scripts()
    database.parent.mkdir(mode=0o700)
    with monkeypatch.context() as patch, closing(sqlite_file.connect_file(database)) as conn:
        patch.setattr(sqlite_file, "_migration_scripts", lambda: scripts[:-1])
        sqlite_file.migrate(conn, Clock())
        conn.execute(
            "INSERT INTO teams (kind, hash, email, plan, created_at) VALUES ('verified', 'abcde', 'a@b.c', 'free', 0)"
        )
    die(tmp_path, point, "teams", "list", "--data-dir", "data")
    assert rows_of(database, "PRAGMA user_version") == [(len(scripts) - 1,)]
    assert "a@b.c" in succeed(tmp_path, "teams", "list", "--data-dir", "data")
    (copy,) = sorted(path.name for path in (tmp_path / "data" / "before-upgrade").iterdir())
    assert copy.startswith(f"imgpro-{len(scripts) - 1}-")
    assert check(tmp_path / "data") == []


# ── users ──


def belong_to(*directories: Path) -> set[int]:
    return {path.lstat().st_uid for directory in directories for path in (directory, *directory.rglob("*"))}


@needs_root
def test_what_root_makes_belongs_to_the_server_user(original: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(shutil.copytree(original, Path(directory) / "copy"))
        (folder / "new").mkdir()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        succeed(folder, "backup", "dest", "--data-dir", "data")
        succeed(folder, "restore", "dest", "--data-dir", "new")
        succeed(folder, "restore", "dest", "--data-dir", "data", "--replace")
        assert belong_to(folder / "data", folder / "dest", folder / "new") == {NOBODY}
        modes = {path.stat().st_mode & 0o777 for path in (folder / "new").rglob("*")}
        assert modes == {0o600, 0o700}
        folder.chmod(0o755)
        os.chown(folder, 0, 0)  # as of a disk that root has mounted
        succeed(folder, "backup", "dest2", "--data-dir", "data")
        assert belong_to(folder / "dest2") == {NOBODY}
        assert "Everything belongs to root" in succeed(folder, "restore", "dest", "--data-dir", "of-root")
