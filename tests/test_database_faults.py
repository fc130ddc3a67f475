"""A database that is held by others, lost, or older: what the server says, and that nothing is overwritten."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from conftest import Api, ApiFactory, FakeClock
from library import add, check_counts, check_files, owner, picture
from test_db import held_by_another_process, put, schema, subjects, with_database
from views import call, files_below, runtime_of
from wire import check_refusal

from imgpro_lite.errors import OperatorError
from imgpro_lite.store import failpoints, sqlite_file
from imgpro_lite.store.sqlite_file import connect_file, migrate, open_for_command, write_transaction


def test_while_another_process_holds_the_database(api: Api) -> None:
    """Writes are 503, everything else goes on."""
    headers = owner(api)
    shown = add(api, headers)
    stored = files_below(api.data_dir / "blobs")
    # Waiting the whole time-out would only make this test slow; it is 5 s, and the lock outlasts it.
    call(api, runtime_of(api).db._writer.run, lambda conn: conn.execute("PRAGMA busy_timeout = 50"))
    with held_by_another_process(api.data_dir / "imgpro.db") as let_go:
        media = f"/v1/media/{shown['id']}"
        for answer in (
            api.upload(picture(3), headers),
            api.upload(picture(3)),
            api.client.delete(media, headers=headers),
            api.client.patch(media, headers=headers, json={"name": "new"}),
            api.client.post("/v1/keys", json={"email": "a@example.com"}),
        ):
            check_refusal(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert api.client.get("/healthz").status_code == 503
        assert api.fetch(shown["src"]).content == picture()
        assert api.fetch(shown["src"].replace(".png", ".webp")).status_code == 200
        assert len(api.client.get("/v1/media", headers=headers).json()["items"]) == 1
        let_go()
    assert files_below(api.data_dir / "blobs") == stored
    assert api.upload(picture(3), headers).status_code == 201
    assert api.client.get("/healthz").status_code == 200


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def head_only(path: Path) -> None:
    """As SQLite leaves a file that it has made, and then lost what was in its log."""
    path.unlink()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("lose", [remove, empty, head_only])
def test_a_database_that_was_lost_is_not_made_anew(start: ApiFactory, lose: Callable[[Path], None]) -> None:
    """A new one would know none of the images, and the files of all of them would be removed as left by a crash."""
    api = start()
    add(api, owner(api))
    api.client.__exit__(None, None, None)
    (api.data_dir / "running").touch()
    lose(api.data_dir / "imgpro.db")
    before = files_below(api.data_dir / "blobs")
    with pytest.raises(OperatorError, match="restore DEST") as refusal:
        start()
    assert "blobs" in str(refusal.value)
    assert files_below(api.data_dir / "blobs") == before
    with pytest.raises(OperatorError), open_for_command(api.data_dir / "imgpro.db", FakeClock()):
        pass
    for name in ("blobs", "manifests"):
        shutil.rmtree(api.data_dir / name, ignore_errors=True)
    assert start().client.get("/healthz").status_code == 200


def test_images_without_a_single_file_are_not_served(start: ApiFactory) -> None:
    """The disk of the files may not be mounted; what is uploaded now would be below its mount point."""
    api = start()
    headers = owner(api)
    shown = add(api, headers)
    blobs = api.data_dir / "blobs"
    blobs.rename(api.data_dir / "elsewhere")
    for entry in ("lost+found", ".keep"):
        with pytest.raises(OperatorError, match="Mount its disk"):
            start()
        (blobs / entry).mkdir()
    with pytest.raises(OperatorError, match="Mount its disk"):
        start()
    shutil.rmtree(blobs)
    (api.data_dir / "elsewhere").rename(blobs)
    api = start()
    assert api.fetch(shown["src"]).content == picture()
    api.client.delete(f"/v1/media/{shown['id']}", headers=headers)
    shutil.rmtree(blobs)
    assert start().client.get("/healthz").status_code == 200


@pytest.mark.parametrize("lose", [remove, lambda path: path.rename(f"{path}.old")])
def test_what_a_lost_database_would_take_is_not_acknowledged(start: ApiFactory, lose: Callable[[Path], None]) -> None:
    api = start()
    headers = owner(api)
    shown = add(api, headers)
    lose(api.data_dir / "imgpro.db")
    check_refusal(api.upload(picture(3), headers), 500, "internal_error")
    check_refusal(api.client.delete(f"/v1/media/{shown['id']}", headers=headers), 500, "internal_error")
    assert api.client.get("/healthz").status_code == 503
    assert api.fetch(shown["src"]).content == picture()


def bring_up_to_date(path: Path) -> None:
    with closing(connect_file(path)) as conn:
        migrate(conn, FakeClock())


def know_only(patch: pytest.MonkeyPatch, scripts: list[str]) -> None:
    patch.setattr(sqlite_file, "_migration_scripts", lambda: scripts)


SCRIPTS = sqlite_file._migration_scripts()


@pytest.mark.parametrize("version", range(len(SCRIPTS)))
def test_an_older_schema_is_brought_up_to_date_or_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    newest, older = tmp_path / "newest.db", tmp_path / "older.db"
    bring_up_to_date(newest)
    if version:
        with monkeypatch.context() as patch:
            know_only(patch, SCRIPTS[:version])
            bring_up_to_date(older)
    before = schema(older)
    with monkeypatch.context() as patch:
        know_only(patch, [*SCRIPTS[:version], f"{SCRIPTS[version]}\nINSERT INTO nowhere VALUES (1);"])
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            bring_up_to_date(older)
    assert schema(older) == before != schema(newest)
    bring_up_to_date(older)
    assert schema(older) == schema(newest)


@pytest.mark.parametrize("version", range(len(SCRIPTS)))
def test_two_processes_that_bring_the_same_database_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A command beside the first start after an upgrade: one of the two applies each script."""
    path = tmp_path / "imgpro.db"
    if version:
        with monkeypatch.context() as patch:
            know_only(patch, SCRIPTS[:version])
            bring_up_to_date(path)
    begun, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert may_go_on.wait(10)

    monkeypatch.setattr(failpoints, "_armed", {"migration.begun": wait})
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(bring_up_to_date, path)
        assert begun.wait(10)
        second = threads.submit(bring_up_to_date, path)
        with suppress(TimeoutError):
            second.result(0.05)  # it knows the old version, and waits
        may_go_on.set()
        first.result()
        second.result()
    bring_up_to_date(tmp_path / "other.db")
    assert schema(path) == schema(tmp_path / "other.db")


def test_a_new_database_that_two_open_at_once(tmp_path: Path) -> None:
    """SQLite does not wait by itself for one that makes the file's log, and an empty file may be one that is made."""
    path = tmp_path / "imgpro.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("PRAGMA application_id = 0x696D6770")
        with ThreadPoolExecutor(1) as threads:
            opened = threads.submit(lambda: connect_file(path).close())
            with suppress(TimeoutError):
                opened.result(0.05)
            other.execute("COMMIT")
            opened.result()


def test_a_log_without_its_index_or_its_end(tmp_path: Path) -> None:
    """What a crash may leave is read as far as it goes; what is there is consistent."""
    path = tmp_path / "imgpro.db"
    with closing(connect_file(path)) as conn, closing(sqlite3.connect(path)) as other:
        migrate(conn, FakeClock())
        for name in "abcdef":
            with write_transaction(conn, FakeClock()) as tx:
                put(tx, name)
        other.execute("SELECT 1 FROM teams")  # so that the log stays
        for name in ("imgpro.db", "imgpro.db-wal"):
            for copy in ("no-index", "cut", "cut-to-nothing"):
                (tmp_path / copy).mkdir(exist_ok=True)
                shutil.copy(tmp_path / name, tmp_path / copy)
    log = tmp_path / "cut" / "imgpro.db-wal"
    os.truncate(log, log.stat().st_size - 5000)
    assert read_subjects(tmp_path / "no-index") == list("abcdef")
    assert read_subjects(tmp_path / "cut") == list("abcde")
    os.truncate(tmp_path / "cut-to-nothing" / "imgpro.db-wal", 0)
    assert read_subjects(tmp_path / "cut-to-nothing") == []  # the same as a database that was just made


def read_subjects(directory: Path) -> list[str]:
    found: list[str] = with_database(directory / "imgpro.db", lambda db: db.read(subjects))
    return found


@pytest.mark.slow
def test_a_lock_that_outlasts_the_time_out(api: Api) -> None:
    """Ten seconds: some writes give up after five, those that come later are done, and reads never wait."""
    headers = owner(api)
    shown = add(api, headers)
    with ThreadPoolExecutor(4) as threads, held_by_another_process(api.data_dir / "imgpro.db") as let_go:
        uploads = [threads.submit(api.upload, picture(10 + number), headers) for number in range(4)]
        ends_at = time.monotonic() + 10
        while time.monotonic() < ends_at:
            assert api.fetch(shown["src"]).status_code == 200
            assert api.client.get("/v1/media", headers=headers).status_code == 200
            time.sleep(0.5)
        let_go()
        answers = [upload.result() for upload in uploads]
    assert {answer.status_code for answer in answers} == {201, 503}
    for answer in answers:
        assert answer.status_code == 201 or answer.json()["error"] == "overloaded"
    check_counts(api.data_dir)
    check_files(api.data_dir)
    assert len(files_below(api.data_dir / "blobs")) == 1 + sum(answer.status_code == 201 for answer in answers)
