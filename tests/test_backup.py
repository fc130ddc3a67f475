"""`imgpro-lite backup`: beside a running server, incremental, refused where it would do harm, and verified."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from backups import (
    back_up,
    change_about,
    fail_backup,
    fail_restore,
    in_backup,
    newest,
    restore,
    rows_of,
    run_backup,
    verify,
)
from checking import check, flip_a_bit
from commands import run_main
from conftest import Api
from library import add, blob_path, check_counts, check_files, connect, owner, picture, somebody
from shared import serve

from imgpro_lite.cli import backup as backup_command
from imgpro_lite.errors import OperatorError
from imgpro_lite.store import backup_dir, backup_place, blob_copies, failpoints, sqlite_snapshot
from imgpro_lite.store.data_dir import hold_data_dir, make_data_dir

NEW, SHARED, PURGED = picture(31), picture(32), picture(33)


@pytest.fixture(autouse=True)
def ordinary_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, whose priority could not be raised again."""
    monkeypatch.setattr(backup_command, "yield_to_others", lambda: None)


@pytest.fixture
def at_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Have something happen where a point is reached."""

    def arm(point: str, action: Callable[[], None]) -> None:
        assert point in failpoints.POINTS
        monkeypatch.setattr(failpoints, "_armed", {point: action})

    return arm


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ── the drill ──


def uploaded(api: Api, headers: dict[str, str], numbers: range) -> dict[str, bytes]:
    """Upload pictures: ids and bytes of those that were acknowledged."""
    return {str(api.upload(picture(number), headers).json()["id"]): picture(number) for number in numbers}


@pytest.mark.parametrize("images", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_library_that_is_lost_is_there_again(tmp_path: Path, images: int) -> None:
    """Backed up while uploads and deletes go on, destroyed, restored: every image from before is what it was."""
    data_dir, dest = tmp_path / "data", tmp_path / "dest"
    with serve(data_dir) as api:
        headers = owner(api)
        before = uploaded(api, headers, range(images))
        doomed = list(before)[::10]

        def delete_some() -> None:
            for media_id in doomed:
                assert api.client.delete(f"/v1/media/{media_id}", headers=headers).status_code == 200

        with ThreadPoolExecutor() as threads:
            working = [
                threads.submit(uploaded, api, headers, range(images, images + images // 5)),
                threads.submit(delete_some),
            ]
            first = back_up(data_dir, dest)
            for task in working:
                task.result()
        assert images - len(doomed) <= first["images"] <= images + images // 5
    shutil.rmtree(data_dir)
    restored = restore(dest, data_dir)
    assert restored["images"] == first["images"]
    assert check(data_dir) == []
    check_counts(data_dir)
    check_files(data_dir)
    with serve(data_dir) as api:
        for media_id, content in before.items():
            answer = api.client.get(f"/v1/media/{media_id}", headers=headers)
            if media_id in doomed and answer.status_code == 404:
                continue
            assert api.fetch(answer.json()["src"]).content == content
        assert api.upload(picture(7), headers).status_code == 201


# ── one library for the rest ──


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("server") / "data") as api:
        headers = owner(api)
        uploaded(api, headers, range(3))
        yield api


def test_what_is_unchanged_is_not_copied_and_old_backups_go(running: Api, tmp_path: Path) -> None:
    dest, data_dir, headers = tmp_path / "dest", running.data_dir, somebody(running)
    first = back_up(data_dir, dest)
    assert (first["copied_files"], first["there_files"]) == (first["files"], 0)
    in_backup_before = in_backup(dest, sha256_of(picture(0))).stat().st_mtime_ns
    doomed = running.upload(NEW, headers).json()["id"]
    second = back_up(data_dir, dest, "--keep", "2")
    assert (second["copied_files"], second["copied_bytes"]) == (1, len(NEW))
    assert in_backup(dest, sha256_of(picture(0))).stat().st_mtime_ns == in_backup_before
    assert in_backup(dest, sha256_of(NEW)).read_bytes() == NEW
    purge(running, doomed)
    third = back_up(data_dir, dest, "--keep", "2")
    assert (third["removed_backups"], third["removed_files"]) == (1, 0)  # the second still needs it
    assert (dest / "backups" / second["name"]).exists()
    assert not (dest / "backups" / first["name"]).exists()
    assert verify(dest) == (0, [])
    last = back_up(data_dir, dest, "--keep", "1")
    assert (last["copied_files"], last["removed_backups"], last["removed_files"]) == (0, 2, 1)
    assert not in_backup(dest, sha256_of(NEW)).exists()
    assert sorted(path.name for path in dest.iterdir()) == ["backup.json", "backups", "blobs", "lock"]
    assert [path.name for path in (dest / "backups").iterdir()] == [last["name"]]
    assert sorted(path.name for path in newest(dest).iterdir()) == ["about.json", "imgpro.db", "secret"]
    assert (newest(dest) / "secret").read_bytes() == (data_dir / "secret").read_bytes()


def purge(api: Api, media_id: str) -> None:
    """Delete an image and its bytes for good, as an operator does."""
    code, _, err = run_main("media", "delete", media_id, "--purge", "--data-dir", str(api.data_dir))
    assert code == 0, err


def test_an_image_that_is_purged_meanwhile_is_deleted_in_the_backup(
    running: Api, tmp_path: Path, at_point: Callable[[str, Callable[[], None]], None]
) -> None:
    media_id = running.upload(PURGED, somebody(running)).json()["id"]
    at_point("backup.database", lambda: purge(running, media_id))
    back_up(running.data_dir, tmp_path / "dest")
    (row,) = rows_of(
        newest(tmp_path / "dest") / "imgpro.db", f"SELECT deleted_at IS NOT NULL FROM media WHERE id = '{media_id}'"
    )
    assert row == (1,)
    assert verify(tmp_path / "dest") == (0, [])
    restore(tmp_path / "dest", tmp_path / "again")
    assert check(tmp_path / "again") == []


def test_uploads_go_on_while_the_database_is_copied(
    running: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pages at a time, with an upload after each of the first: what is copied is one state of before them."""
    monkeypatch.setattr(sqlite_snapshot, "STEP_PAGES", 5)
    headers, steps = somebody(running), list[int]()
    real = sqlite_snapshot.copy_beside_writers

    def copy(conn: Any, target: Path, advance: Callable[[int], None]) -> None:
        def slow(copied_bytes: int) -> None:
            steps.append(copied_bytes)
            if len(steps) < 4:
                assert running.upload(picture(40 + len(steps)), headers).status_code == 201
            advance(copied_bytes)

        real(conn, target, slow)

    with connect(running.data_dir) as conn:
        (before,) = conn.execute("SELECT count(*) FROM media WHERE deleted_at IS NULL").fetchone()
    monkeypatch.setattr("imgpro_lite.services.backup.making.copy_beside_writers", copy)
    made = back_up(running.data_dir, tmp_path / "dest")
    assert len(steps) > 4
    assert sum(steps) == made["database_bytes"]  # no step was done twice
    assert made["images"] == before
    assert verify(tmp_path / "dest") == (0, [])


def test_broken_files_of_the_library_are_told_and_good_copies_stay(running: Api, tmp_path: Path) -> None:
    dest, headers = tmp_path / "dest", somebody(running)
    old, damaged, lost = (picture(number) for number in (34, 35, 36))
    running.upload(old, headers)
    back_up(running.data_dir, dest)
    ids = [running.upload(content, headers, name="Sunset").json()["id"] for content in (damaged, lost)]
    paths = [blob_path(running.data_dir, sha256_of(content)) for content in (old, damaged, lost)]
    try:
        flip_a_bit(paths[0])
        flip_a_bit(paths[1])
        paths[2].unlink()
        code, out, err = run_backup(running.data_dir, dest)
        assert code == 1
        assert f"  {ids[0]} 'Sunset', of somebody" in err
        assert f"  {ids[1]} 'Sunset'" in err
        assert "is damaged: its bytes are not those that were uploaded. It is not in the backup." in err
        assert "2 files are missing or damaged in the library" in out
        assert in_backup(dest, sha256_of(old)).read_bytes() == old
        assert not in_backup(dest, sha256_of(damaged)).exists()
        assert "2" in run_main("backup", "list", str(dest))[1].splitlines()[-1]
        assert "Nothing was changed" in fail_restore(dest, tmp_path / "again")
        code, out, _ = run_main("restore", str(dest), "--data-dir", str(tmp_path / "again"), "--skip-damaged")
        assert (code, "2 files are missing" in out) == (1, True)
    finally:
        for content in (old, damaged, lost):
            assert running.upload(content, headers).status_code == 201
    assert back_up(running.data_dir, dest)["copied_files"] == 2
    assert verify(dest) == (0, [])


# ── what is refused ──


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A library whose server has ended, and a directory with its backup."""
    folder = tmp_path_factory.mktemp("stopped")
    with serve(folder / "data") as api:
        uploaded(api, owner(api), range(3))
    patch = pytest.MonkeyPatch()
    patch.setattr(backup_command, "yield_to_others", lambda: None)
    back_up(folder / "data", folder / "dest")
    patch.undo()
    return folder / "data", folder / "dest"


@pytest.fixture
def data_dir(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the library."""
    return Path(shutil.copytree(stopped[0], tmp_path / "data"))


@pytest.fixture
def dest(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the backup."""
    return Path(shutil.copytree(stopped[1], tmp_path / "dest"))


def test_a_backup_into_the_library_or_around_it_is_refused(data_dir: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data_dir)
    for inside in (data_dir, data_dir / "backups", data_dir / "blobs" / "x", link / "x", tmp_path):
        assert "in each other" in fail_backup(data_dir, inside)
    elsewhere = tmp_path / "elsewhere"
    (data_dir / "blobs").rename(elsewhere)
    (data_dir / "blobs").symlink_to(elsewhere)
    assert "in each other" in fail_backup(data_dir, elsewhere / "x")


def test_a_backup_to_where_something_else_is_is_refused(data_dir: Path, dest: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert "is not empty" in fail_backup(data_dir, tmp_path / "full")
    assert "is not a directory" in fail_backup(data_dir, tmp_path / "full" / "letter.txt")
    assert "Is its disk mounted" in fail_backup(data_dir, tmp_path / "nowhere" / "x")
    assert "is inside of" in fail_backup(data_dir, dest / "x")
    with connect(data_dir) as conn:
        conn.execute("UPDATE library SET id = ?", ("0" * 32,))
    assert "another library" in fail_backup(data_dir, dest)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "newer imgpro-lite"),
        ({"what": "something"}, "not as imgpro-lite writes it"),
        (None, "not as imgpro-lite writes it"),
    ],
)
def test_backups_that_are_not_understood_are_left_alone(
    data_dir: Path, dest: Path, tmp_path: Path, change: dict[str, Any] | None, says: str
) -> None:
    mark = dest / "backup.json"
    mark.write_text("{" if change is None else json.dumps(json.loads(mark.read_text()) | change))
    assert says in fail_backup(data_dir, dest)
    assert says in fail_restore(dest, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_two_backups_at_the_same_time_are_refused(
    data_dir: Path, dest: Path, at_point: Callable[[str, Callable[[], None]], None]
) -> None:
    seen: list[str] = []
    at_point("backup.files", lambda: seen.append(run_backup(data_dir, dest)[2]))
    back_up(data_dir, dest)
    assert "Another backup, verification or restore is running" in seen[0]


def test_a_file_system_without_locks_links_and_syncs_of_directories(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT and those of networks may be. Nothing of them is needed."""

    def fail(number: int) -> Callable[..., None]:
        def failing(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return failing

    monkeypatch.setattr(backup_place, "lock_file", fail(errno.ENOLCK))
    monkeypatch.setattr(backup_dir, "sync_directory", fail(errno.EINVAL))
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    monkeypatch.setattr(os, "chown", fail(errno.EPERM))
    back_up(data_dir, tmp_path / "new")
    back_up(data_dir, tmp_path / "new", "--keep", "1")
    assert verify(tmp_path / "new") == (0, [])
    restore(tmp_path / "new", tmp_path / "again")
    assert check(tmp_path / "again") == []


def test_a_damaged_database_takes_no_place_of_earlier_backups(data_dir: Path, dest: Path) -> None:
    with connect(data_dir) as conn:
        (pages,) = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'media'").fetchone()
        (page_bytes,) = conn.execute("PRAGMA page_size").fetchone()
    with (data_dir / "imgpro.db").open("r+b") as file:
        file.seek((pages - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)
    code, _, err = run_backup(data_dir, dest, "--keep", "1")
    assert (code, "is damaged, and was not backed up" in err) == (1, True)
    assert verify(dest) == (0, [])


@pytest.mark.parametrize("point", ["backup.database", "copy.written", "copy.renamed", "backup.files"])
def test_a_backup_that_is_cut_short_leaves_the_earlier_ones(
    data_dir: Path, dest: Path, at_point: Callable[[str, Callable[[], None]], None], point: str
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    wanted = in_backup(dest, sha256_of(picture(0)))
    wanted.unlink()  # so that something is copied
    at_point(point, interrupt)
    code, _, err = run_backup(data_dir, dest)
    assert (code, "Interrupted." in err) == (130, True)
    assert len(list((dest / "backups").iterdir())) == 1
    at_point("backup.pruned", lambda: None)
    again = back_up(data_dir, dest)
    assert again["copied_files"] == (1 if point in ("backup.database", "copy.written") else 0)
    assert verify(dest) == (0, [])


@pytest.mark.parametrize("point", ["copy.written", "copy.renamed", "backup.files"])
@pytest.mark.parametrize(
    ("number", "says"), [(errno.EIO, "Is its disk still there?"), (errno.ENOSPC, "is full"), (errno.EROFS, "failed")]
)
def test_a_backup_disk_that_fails_is_told_in_words(
    data_dir: Path,
    dest: Path,
    at_point: Callable[[str, Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    says: str,
    point: str,
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for count in range(2):
        in_backup(dest, sha256_of(picture(count))).unlink()
    monkeypatch.setattr(blob_copies, "BATCH_FILES", 1)
    at_point(point, fail)
    code, _, err = run_backup(data_dir, dest)
    assert code == 1
    assert str(dest) in err
    assert says in err
    assert "The earlier backups are as they were" in err
    assert list((dest / "tmp").iterdir()) == []
    at_point("backup.pruned", lambda: None)
    back_up(data_dir, dest)
    assert verify(dest) == (0, [])


def test_a_name_that_the_backup_disk_does_not_take(data_dir: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_folder: Path, _owner: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    in_backup(dest, sha256_of(picture(0))).unlink()
    monkeypatch.setattr(blob_copies, "BATCH_FILES", 1)
    monkeypatch.setattr(blob_copies, "_make_folders", fails)
    code, _, err = run_backup(data_dir, dest)
    assert (code, "Is its disk still there?" in err) == (1, True)
    assert list((dest / "tmp").iterdir()) == []


def test_a_failed_sync_is_never_tried_again_with_the_same_file(
    data_dir: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one that failed, the next may well succeed without anything being on the disk."""
    wanted, synced = in_backup(dest, sha256_of(picture(0))), list[int]()
    wanted.unlink()

    def fails_once(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(blob_copies, "sync_file", fails_once)
    assert run_backup(data_dir, dest)[0] == 1
    assert len(synced) == 1
    assert not wanted.exists()
    assert back_up(data_dir, dest)["copied_files"] == 1


# ── verify ──


def test_what_verify_finds_is_mended_by_the_next_backup(data_dir: Path, dest: Path) -> None:
    flipped, cut, lost = (in_backup(dest, sha256_of(picture(number))) for number in range(3))
    flip_a_bit(flipped)
    cut.write_bytes(b"cut")
    lost.unlink()
    code, problems = verify(dest, "--quick")
    assert (code, sorted(problem["kind"] for problem in problems)) == (1, ["damaged_file", "missing_file"])
    code, problems = verify(dest)
    assert (code, sorted(problem["kind"] for problem in problems)) == (
        1,
        ["damaged_file", "missing_file", "missing_file"],
    )
    assert all(problem["images"][0]["email"] == "ops@example.com" for problem in problems)
    assert sorted(path.name for path in (dest / "damaged").iterdir()) == sorted([flipped.name, cut.name])
    assert back_up(data_dir, dest)["copied_files"] == 3
    assert verify(dest) == (0, [])
    assert list((dest / "damaged").iterdir()) == []


def test_a_database_or_secret_of_a_backup_that_is_damaged(data_dir: Path, dest: Path, tmp_path: Path) -> None:
    folder = newest(dest)
    good = (folder / "imgpro.db").read_bytes()
    flip_a_bit(folder / "imgpro.db")
    assert verify(dest)[1][0]["kind"] == "database"
    assert "is damaged" in fail_restore(dest, tmp_path / "again")
    (folder / "imgpro.db").write_bytes(good[:-1])
    assert verify(dest, "--quick")[0] == 1
    (folder / "imgpro.db").unlink()
    assert "the database is missing" in verify(dest)[1][0]["message"]
    (folder / "imgpro.db").write_bytes(good)
    assert verify(dest) == (0, [])
    flip_a_bit(folder / "secret")
    assert "the secret" in verify(dest)[1][0]["message"]
    (folder / "about.json").write_text("")
    assert "There is no complete backup" in run_main("backup", "verify", str(dest))[2]
    assert run_backup(data_dir, dest)[0] == 1
    assert "about.json" in verify(dest)[1][0]["message"]


@pytest.mark.parametrize(
    "damage", [{"number": "x"}, {"number": None}, {"made_at": 10**18}, {"made_at": -1}, {"images": "many"}, None]
)
def test_nothing_is_removed_while_a_backup_cannot_be_read(
    data_dir: Path, dest: Path, damage: dict[str, Any] | None
) -> None:
    """A flipped bit in its about.json must not cost it its files."""
    folder = newest(dest)
    if damage is None:
        about = folder / "about.json"
        about.write_text(about.read_text().replace("number", "numbxr"))
    else:
        change_about(folder, **damage)
    with connect(data_dir) as conn:
        conn.execute("UPDATE media SET deleted_at = 1 WHERE seq = 1")
        conn.execute("DELETE FROM media WHERE seq = 1")
    for number in range(2):
        code, out, err = run_backup(data_dir, dest, "--keep", "1", "--json")
        problem, summary = [json.loads(line) for line in out.splitlines()]
        assert (code, err.count("Traceback")) == (1, 0)
        assert (summary["ok"], summary["removed_files"], summary["removed_backups"]) == (False, 0, 0)
        assert folder.name in problem["message"]
        assert summary["kept_backups"] == number + 1
    assert f"The backup {folder.name} is damaged" in run_backup(data_dir, dest, "--keep", "1")[2]
    assert in_backup(dest, sha256_of(picture(0))).exists()
    assert len(run_main("backup", "list", str(dest))[1].splitlines()) == 4
    shutil.rmtree(folder)
    again = back_up(data_dir, dest, "--keep", "1")
    assert (again["removed_backups"], again["removed_files"]) == (3, 1)


def test_nothing_is_removed_while_a_database_cannot_be_read(data_dir: Path, dest: Path) -> None:
    """Not even a backup that is older, and may be the last good one."""
    first = newest(dest)
    second = dest / "backups" / back_up(data_dir, dest)["name"]
    (second / "imgpro.db").write_bytes(b"")
    code, _, err = run_backup(data_dir, dest, "--keep", "2")
    assert (code, f"The backup {second.name} cannot be read" in err) == (1, True)
    assert first.exists()


def test_what_a_file_manager_leaves_among_damaged_files_harms_nothing(data_dir: Path, dest: Path) -> None:
    (dest / "damaged").mkdir()
    for name in (".DS_Store", "Thumbs.db", "0" * 63):
        (dest / "damaged" / name).touch()
    back_up(data_dir, dest)
    assert back_up(data_dir, dest, "--keep", "1")["removed_backups"] == 2


@pytest.mark.parametrize("point", ["backup.published", "backup.pruned"])
def test_a_disk_that_fails_when_the_backup_is_complete(
    data_dir: Path, dest: Path, at_point: Callable[[str, Callable[[], None]], None], point: str
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_point(point, fail)
    code, _, err = run_backup(data_dir, dest)
    assert (code, f"The backup {newest(dest).name} is complete; older ones could not be removed" in err) == (1, True)
    assert len(list((dest / "backups").iterdir())) == 2


def test_an_empty_database_is_not_taken_for_an_older_one(data_dir: Path, tmp_path: Path) -> None:
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()
    (data_dir / "imgpro.db").touch()
    code, _, err = run_backup(data_dir, tmp_path / "new")
    assert (code, "imgpro-lite restore DEST --replace" in err, "imgpro-lite rebuild" in err) == (1, True, True)


# ── restore ──


def test_restoring_chooses_a_backup_and_keeps_what_was_there(data_dir: Path, dest: Path, tmp_path: Path) -> None:
    with serve(data_dir) as api:
        headers = somebody(api)
        add(api, headers)
        second = back_up(data_dir, dest)
        assert "already running" in fail_restore(dest, data_dir, "--replace")
    assert "is not empty" in fail_restore(dest, data_dir)
    first = min(path.name for path in (dest / "backups").iterdir())
    done = restore(dest, data_dir, "--replace", "--at", first)
    assert (done["backup"], done["images"]) == (first, 3)
    assert check(data_dir) == []
    aside = Path(done["aside"])
    assert aside.parent == data_dir / "set-aside"
    assert rows_of(aside / "imgpro.db", "SELECT count(*) FROM media WHERE deleted_at IS NULL") == [(4,)]
    assert not (data_dir / "imgpro.db-wal").exists()
    assert not (data_dir / "restoring").exists()
    assert restore(dest, tmp_path / "new")["backup"] == second["name"]
    assert (tmp_path / "new" / "secret").read_bytes() == (data_dir / "secret").read_bytes()
    assert "There is no backup of 1999" in fail_restore(dest, tmp_path / "other", "--at", "1999")


def test_a_file_that_is_found_damaged_while_it_is_copied(dest: Path, tmp_path: Path) -> None:
    flip_a_bit(in_backup(dest, sha256_of(picture(1))))
    assert "Nothing was changed" in fail_restore(dest, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_backup_of_a_newer_version_is_refused(dest: Path, tmp_path: Path) -> None:
    folder = newest(dest)
    database = folder / "imgpro.db"
    with contextlib.closing(sqlite3.connect(database)) as conn:
        conn.execute("PRAGMA user_version = 9999")
    change_about(folder, database_sha256=hashlib.sha256(database.read_bytes()).hexdigest())
    assert "newer imgpro-lite" in fail_restore(dest, tmp_path / "again")


@pytest.mark.parametrize("point", ["copy.renamed", "restoring.ready", "restoring.moved_out", "restoring.moved_in"])
def test_a_restore_that_dies_is_finished_by_the_next_or_by_a_start(
    data_dir: Path,
    dest: Path,
    tmp_path: Path,
    at_point: Callable[[str, Callable[[], None]], None],
    point: str,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with connect(data_dir) as conn:  # so that one can tell the two
        conn.execute("UPDATE media SET name = 'from before'")
    at_point(point, interrupt)
    code, _, err = run_main("restore", str(dest), "--data-dir", str(data_dir), "--replace")
    assert (code, "Interrupted" in err) == (130, True)
    at_point("backup.pruned", lambda: None)
    if point == "copy.renamed":
        assert rows_of(data_dir / "imgpro.db", "SELECT DISTINCT name FROM media") == [("from before",)]
        assert restore(dest, data_dir, "--replace")["there_files"] == 1
    elif point == "restoring.moved_out":
        with pytest.raises(OperatorError, match="was interrupted at its end"):
            make_data_dir(data_dir)
        for command in (("keys", "list"), ("fsck",), ("stats",), ("backup", str(tmp_path / "new")), ("rebuild",)):
            code, out, err = run_main(*command, "--data-dir", str(data_dir))
            assert (code, out, "run `imgpro-lite restore` again" in err) == (1, "", True), command
        expected = {"ok": True, "problems": 0, "finished": True, "backup": newest(dest).name, "directory": str(dest)}
        assert restore(dest, data_dir) == expected
    else:
        with hold_data_dir(data_dir):
            pass
    assert rows_of(data_dir / "imgpro.db", "SELECT DISTINCT name FROM media") == [("photo.jpg",)]
    assert check(data_dir) == []


def test_an_earlier_restore_is_not_mistaken_for_the_one_that_is_asked_for(
    data_dir: Path, dest: Path, tmp_path: Path, at_point: Callable[[str, Callable[[], None]], None]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    name = newest(dest).name
    for asked in ((str(tmp_path / "elsewhere"),), (str(dest), "--at", "1999"), (str(dest), "--at", name[:10])):
        at_point("restoring.ready", interrupt)
        assert run_main("restore", str(dest), "--data-dir", str(data_dir), "--replace")[0] == 130
        at_point("backup.pruned", lambda: None)
        assert "run `imgpro-lite restore` again" in fail_backup(data_dir, dest)
        code, out, err = run_main("restore", *asked, "--data-dir", str(data_dir), "--replace")
        assert f"was finished: of the backup {name} in {dest}." in out
        is_asked = asked[-1] == name[:10]
        assert (code, "not what was asked for" in err) == (0 if is_asked else 1, not is_asked)
        assert check(data_dir) == []


@pytest.mark.parametrize("damage", ["emptied", "flipped"])
def test_what_an_interrupted_restore_has_copied_is_not_trusted(
    data_dir: Path, dest: Path, at_point: Callable[[str, Callable[[], None]], None], damage: str
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_point("copy.renamed", interrupt)
    assert run_main("restore", str(dest), "--data-dir", str(data_dir), "--replace")[0] == 130
    (copied,) = [path for path in (data_dir / "restoring" / "blobs").rglob("*") if path.is_file()]
    if damage == "emptied":
        copied.write_bytes(b"")
    else:
        flip_a_bit(copied)
    at_point("backup.pruned", lambda: None)
    done = restore(dest, data_dir, "--replace")
    assert (done["files"], done["there_files"]) == (3, 0)
    assert check(data_dir) == []


def test_what_an_interrupted_restore_has_left_is_told(
    data_dir: Path,
    dest: Path,
    at_point: Callable[[str, Callable[[], None]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_point("copy.renamed", interrupt)
    assert run_main("restore", str(dest), "--data-dir", str(data_dir), "--replace")[0] == 130
    at_point("backup.pruned", lambda: None)
    with serve(data_dir):
        pass
    assert f"{data_dir / 'restoring'} was left by a restore that did not end" in caplog.text
    assert [(problem.kind, problem.repaired) for problem in check(data_dir)] == [("leftover", False)]
    assert [(problem.kind, problem.repaired) for problem in check(data_dir, repair=True)] == [("leftover", True)]
    assert not (data_dir / "restoring").exists()
    assert check(data_dir) == []


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_without_its_secret_a_backup_is_restored_only_where_that_is_asked_for(
    dest: Path, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    damage(newest(dest) / "secret")
    assert "restore the rest with --skip-damaged" in fail_restore(dest, tmp_path / "new")
    code, out, _ = run_main("restore", str(dest), "--data-dir", str(tmp_path / "new"), "--skip-damaged")
    assert (code, "Its secret is left out" in out) == (1, True)
    assert not (tmp_path / "new" / "secret").exists()
    assert check(tmp_path / "new") == []


def test_no_library_begins_where_one_is_half_restored(
    dest: Path, tmp_path: Path, at_point: Callable[[str, Callable[[], None]], None]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_point("copy.renamed", interrupt)
    assert run_main("restore", str(dest), "--data-dir", str(tmp_path / "new"))[0] == 130
    with pytest.raises(OperatorError, match="has not ended"), hold_data_dir(tmp_path / "new"):
        pass
    at_point("backup.pruned", lambda: None)
    assert restore(dest, tmp_path / "new")["there_files"] == 1
