"""Files that no image has, after a crash or after an older database was put back: set aside, never lost at once."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from checking import check, kinds
from conftest import Api, ApiFactory
from library import connect, owner, picture
from running import until
from shared import serve

from imgpro_lite.services import orphans
from imgpro_lite.services.orphans import KEPT_DAYS, remove_old_orphans

DAY = "2023-11-14"  # on which the tests' clock stands


def aside(api: Api) -> Path:
    return api.data_dir / "set-aside"


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def leave_orphan(api: Api, number: int = 0) -> Path:
    name = f"{number:02x}cd{0:060}"
    orphan = api.data_dir / "blobs" / name[:2] / "cd" / name
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"never acknowledged")
    return orphan


def remove_old(api: Api) -> None:
    app: Any = api.client.app
    portal: Any = api.client.portal
    portal.call(remove_old_orphans, app.state.runtime)


def test_a_file_that_a_crash_left_without_a_row_is_set_aside_after_the_next_start(
    start: ApiFactory, caplog: pytest.LogCaptureFixture
) -> None:
    api = start()
    kept = api.upload(picture(), api.new_key()).json()
    orphan = leave_orphan(api)
    api = start()
    assert orphan.exists()  # after a clean end nothing is looked for
    api = start(crashed=True)
    until(lambda: not orphan.exists())
    moved = aside(api) / f"crash-{DAY}" / orphan.relative_to(api.data_dir)
    assert moved.read_bytes() == b"never acknowledged"
    assert api.fetch(kept["src"]).content == picture()
    (record,) = until(lambda: [record for record in caplog.records if record.name == "imgpro_lite.orphans"])
    assert (record.levelno, record.files) == (logging.WARNING, 1)
    assert f"{aside(api)}/crash-{DAY}" in record.getMessage()
    assert aside(api).stat().st_mode & 0o777 == 0o700


def test_no_image_is_lost_when_an_older_database_is_put_back(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    database = data_dir / "imgpro.db"
    with serve(data_dir) as api:
        api.upload(picture(1))
    older = database.read_bytes()
    with serve(data_dir) as api:
        late = api.upload(picture(2)).json()
    newer = database.read_bytes()
    database.write_bytes(older)
    (data_dir / "running").touch()
    with serve(data_dir) as api:
        until(lambda: len(files_below(data_dir / "blobs")) == 1)
        assert api.fetch(late["src"]).status_code == 404
    database.write_bytes(newer)
    shutil.copytree(aside(api) / f"crash-{DAY}" / "blobs", data_dir / "blobs", dirs_exist_ok=True)
    with serve(data_dir) as api:
        assert api.fetch(late["src"]).content == picture(2)
    assert check(data_dir) == []


def test_a_look_that_did_not_come_to_its_end_is_done_by_the_next_start(
    start: ApiFactory, caplog: pytest.LogCaptureFixture
) -> None:
    api = start()
    orphan = leave_orphan(api)
    aside(api).touch()  # nothing can be moved there
    start(crashed=True)
    until(lambda: "looking for files without an image failed" in caplog.text)
    start()  # the one before has ended properly, but for that
    assert orphan.exists()
    aside(api).unlink()
    start()
    until(lambda: not orphan.exists())


def test_a_database_that_knows_none_of_the_images_costs_a_few_of_them(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "MAX_OF_CRASHES", 3)
    api = start()
    for number in range(8):
        leave_orphan(api, number)
    start(crashed=True)
    until(lambda: "Run `imgpro-lite fsck`" in caplog.text)
    assert len(files_below(api.data_dir / "blobs")) == 4
    start()
    assert len(files_below(api.data_dir / "blobs")) == 4


def test_what_a_sweep_is_about_to_remove_is_not_set_aside(start: ApiFactory) -> None:
    api = start(storage={"grace_days": 0})
    headers = owner(api)
    gone = api.upload(picture(), headers).json()
    orphan = leave_orphan(api)
    with connect(api.data_dir) as conn:  # rows go first; this is what a crash leaves
        conn.execute("UPDATE media SET deleted_at = 1 WHERE id = ?", (gone["id"],))
        conn.execute("DELETE FROM media WHERE id = ?", (gone["id"],))
    api = start(crashed=True)
    until(lambda: not orphan.exists())
    until(lambda: files_below(api.data_dir / "blobs") == [])
    assert [Path(name).name for name in files_below(aside(api))] == [orphan.name]


def test_what_was_set_aside_goes_when_nobody_has_missed_it(start: ApiFactory) -> None:
    api = start()
    api.upload(picture())
    orphan = leave_orphan(api)
    assert kinds(check(api.data_dir, repair=True)) == {"file_without_image"}
    by_fsck = files_below(aside(api))
    own = aside(api) / "crash-of-last-year" / "notes.txt"
    own.parent.mkdir()
    own.write_bytes(b"the operator's")
    leave_orphan(api)
    api = start(crashed=True)
    until(lambda: not orphan.exists())
    assert len(files_below(aside(api))) == 3
    api.clock.advance(days=KEPT_DAYS)
    remove_old(api)
    assert len(files_below(aside(api))) == 3
    api.clock.advance(days=1)
    remove_old(api)
    assert files_below(aside(api)) == sorted([*by_fsck, "crash-of-last-year/notes.txt"])
    assert not (aside(api) / f"crash-{DAY}").exists()
