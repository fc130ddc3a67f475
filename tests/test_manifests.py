"""The manifests: written of everything that changes, soon and whatever happens, and looked at by fsck."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checking import check, execute, told
from conftest import Api, ApiFactory
from library import add, add_rows, connect, owner, picture, run_media, run_teams, sweep_now
from manifests import count_due, read_tree, rebuild, wait_for_manifests
from running import until
from shared import serve

from imgpro_lite.dev.mode import DevMode


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped server's data, with its manifests."""
    data_dir = tmp_path_factory.mktemp("manifests") / "data"
    with serve(data_dir) as api:
        headers = owner(api)
        for number in range(2):
            api.upload(picture(number), headers, tags="a")
        sha256 = hashlib.sha256(picture()).digest()
        add_rows(data_dir, headers, 200, sha256=sha256, filesize_bytes=len(picture()))
        wait_for_manifests(data_dir)
    return data_dir


@pytest.fixture
def data_dir(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def lines(data_dir: Path, name: str) -> list[dict[str, Any]]:
    path = data_dir / "manifests" / f"{name}.jsonl"
    return [json.loads(line)["content"] for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_they_follow_every_change(tmp_path: Path) -> None:
    with serve(tmp_path / "data", storage={"grace_days": 1}) as api:
        headers = owner(api)
        image, other = add(api, headers, name="before"), add(api, headers)
        wait_for_manifests(api.data_dir)
        assert [line["name"] for line in lines(api.data_dir, "images/0/0")] == ["before", "photo.jpg"]
        used = lines(api.data_dir, "teams/0/2")[0]["uploads_used"]
        api.client.patch(f"/v1/media/{image['id']}", headers=headers, json={"name": "after"})
        api.client.delete(f"/v1/media/{other['id']}", headers=headers)
        api.upload(picture(1), headers)
        run_teams(api.data_dir, "set-plan", "ops@example.com", "pro")
        wait_for_manifests(api.data_dir)
        shown = lines(api.data_dir, "images/0/0")
        assert [line["name"] for line in shown] == ["after", "photo.jpg", "photo.jpg"]
        assert [line["deleted_at"] for line in shown] == [None, api.clock.at, None]
        team = lines(api.data_dir, "teams/0/2")[0]
        assert (team["plan"], team["uploads_used"], len(team["keys"])) == ("pro", used + 1, 1)
        api.client.delete(f"/v1/media/{image['id']}", headers=headers)
        api.client.delete("/v1/media/batch?namespace=none", headers=headers)
        api.clock.advance(days=2)
        sweep_now(api)
        wait_for_manifests(api.data_dir)
        assert [line["created_at"] for line in lines(api.data_dir, "images/0/0")] == [api.clock.at - 172_800]
        assert check(api.data_dir) == []
        files = [path for path in (api.data_dir / "manifests").rglob("*") if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        for (media_id,) in [(line["id"],) for line in lines(api.data_dir, "images/0/0")]:
            run_media(api.data_dir, "delete", media_id, "--purge")
        wait_for_manifests(api.data_dir)
        assert not (api.data_dir / "manifests" / "images" / "0" / "0.jsonl").exists()


def test_what_a_command_changes_without_a_server_is_written_by_the_next(data_dir: Path) -> None:
    before = lines(data_dir, "images/0/0")
    run_media(data_dir, "delete", before[0]["id"])
    assert count_due(data_dir) == 1
    assert check(data_dir) == []  # it is known
    with serve(data_dir):
        wait_for_manifests(data_dir)
    assert lines(data_dir, "images/0/0")[0]["deleted_at"] is not None


def downgrade(data_dir: Path) -> None:
    """The database as the version before manifests had it."""
    with connect(data_dir) as conn:
        for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%_manifest'").fetchall():
            conn.execute(f"DROP TRIGGER {name}")
        conn.execute("DROP TABLE manifests_due")
        conn.execute("DROP TABLE manifest_backlog")
        conn.execute("DROP TABLE manifest_state")
        conn.execute("PRAGMA user_version = 5")


def leave_as_it_is(_data_dir: Path) -> None:
    """The directory was deleted."""


@pytest.mark.parametrize("prepare", [downgrade, leave_as_it_is])
def test_they_are_all_written_where_there_are_none(data_dir: Path, prepare: Callable[[Path], None]) -> None:
    before = read_tree(data_dir)
    assert len(before) == 7  # images/0/0 to 3, teams/0/1 and 2, and library
    shutil.rmtree(data_dir / "manifests")
    prepare(data_dir)
    with serve(data_dir):
        wait_for_manifests(data_dir)
    assert read_tree(data_dir) == before


def go_back(data_dir: Path) -> None:
    """An older program had it meanwhile, with a copy from before the upgrade."""
    execute(data_dir, "UPDATE media SET deleted_at = 1 WHERE seq > 70", "DELETE FROM media WHERE seq > 70")
    downgrade(data_dir)


def put_back(data_dir: Path) -> None:
    """A copy from before the last uploads."""
    copied = {path: path.read_bytes() for path in data_dir.glob("imgpro.db*")}
    with serve(data_dir) as api:
        headers = owner(api)
        wait_for_manifests(data_dir)
        add_rows(data_dir, headers, 100, sha256=hashlib.sha256(picture()).digest(), filesize_bytes=len(picture()))
        wait_for_manifests(data_dir)
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()
    for path, content in copied.items():
        path.write_bytes(content)


@pytest.mark.parametrize("prepare", [put_back, pytest.param(go_back, marks=pytest.mark.slow)])
def test_an_older_database_does_not_get_back_what_only_the_manifests_know(
    data_dir: Path, prepare: Callable[[Path], None]
) -> None:
    """They are set aside, in case the database was put there by mistake."""
    prepare(data_dir)
    with serve(data_dir) as api:
        api.upload(picture(), owner(api))
        until((data_dir / "set-aside" / "manifests").exists)
        wait_for_manifests(data_dir)
    with connect(data_dir) as conn:
        (images,) = conn.execute("SELECT count(*) FROM media").fetchone()
    assert {problem.kind for problem in check(data_dir)} <= {"file_without_image"}
    with serve(data_dir):  # now they are of each other
        wait_for_manifests(data_dir)
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()
    assert rebuild(data_dir)[2]["images"] == images
    shutil.rmtree(data_dir / "manifests")
    (data_dir / "set-aside" / "manifests").rename(data_dir / "manifests")
    (data_dir / "imgpro.db").unlink()
    assert rebuild(data_dir)[2]["images"] == (202 if prepare is go_back else 302)


@pytest.mark.slow
def test_where_it_is_not_known_what_they_were_written_from_they_are_all_compared(data_dir: Path) -> None:
    """As after a power cut, or with a copy of them from before."""
    before = read_tree(data_dir)
    images = data_dir / "manifests" / "images" / "0"
    (images / "9.jsonl").write_bytes((images / "3.jsonl").read_bytes())
    change("images/0/2.jsonl", b"{}\n")(data_dir)
    change("state", b"")(data_dir)
    with serve(data_dir):
        until(lambda: not (images / "9.jsonl").exists())
        wait_for_manifests(data_dir)
    assert read_tree(data_dir) == before
    assert not (data_dir / "set-aside").exists()


def change(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda data_dir: (data_dir / "manifests" / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], Any]:
    return lambda data_dir: (data_dir / "manifests" / name).unlink()


def to_pipe(data_dir: Path) -> None:
    remove("images/0/1.jsonl")(data_dir)
    os.mkfifo(data_dir / "manifests" / "images" / "0" / "1.jsonl")


def unseen(data_dir: Path) -> None:
    execute(data_dir, "UPDATE media SET name = 'other' WHERE seq = 1", "DELETE FROM manifests_due")


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (remove("images/0/0.jsonl"), "manifest"),
    "empty": (change("images/0/3.jsonl", b""), "manifest"),
    "of a team": (change("teams/0/2.jsonl", b"{}\n"), "manifest"),
    "a pipe": (to_pipe, "manifest"),
    "of no image": (change("images/0/4.jsonl", b"{}\n"), "manifest"),
    "a change that nobody noted": (unseen, "manifest"),
    "something else": (change("notes.txt", b""), "stray"),
    "in the wrong folder": (change("teams/library.jsonl", b""), "stray"),
}


# The others with `--full`: each is a library of its own.
QUICK = {"missing", "a pipe", "of no image", "something else"}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=() if what in QUICK else pytest.mark.slow) for what in WRONG]
)
def test_fsck_finds_what_is_wrong(data_dir: Path, what: str) -> None:
    damage, kind = WRONG[what]
    damage(data_dir)
    assert told(data_dir) == [(kind, False)]
    assert told(data_dir, quick=True) == []
    assert told(data_dir, repair=True) == [(kind, True)]
    assert told(data_dir) == []


def test_repaired_ones_are_written_anew_and_the_wrong_ones_kept(data_dir: Path) -> None:
    before = read_tree(data_dir)
    for name in ("images/0/0.jsonl", "teams/0/2.jsonl", "library.jsonl"):
        change(name, b"wrong\n")(data_dir)
    check(data_dir, repair=True)
    with serve(data_dir):
        wait_for_manifests(data_dir)
    assert read_tree(data_dir) == before
    assert (data_dir / "set-aside" / "manifests" / "teams" / "0" / "2.jsonl").read_bytes() == b"wrong\n"


@pytest.mark.slow
def test_one_that_cannot_be_written_keeps_nothing_else_back(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Uploads go on, the others are written, and it is told once."""
    images = data_dir / "manifests" / "images" / "0"
    (images / "0.jsonl").unlink()
    (images / "0.jsonl").mkdir()
    with serve(data_dir) as api:
        execute(data_dir, "UPDATE media SET name = 'other' WHERE seq IN (1, 200)")
        headers = owner(api)
        until(lambda: count_due(data_dir) == 1)
        assert api.upload(picture(9), headers).status_code == 201
        until(lambda: any("Manifests cannot be written now" in text for text in caplog.messages))
    assert lines(data_dir, "images/0/3")[200 - 192]["name"] == "other"
    (images / "0.jsonl").rmdir()
    with serve(data_dir):
        wait_for_manifests(data_dir)
    assert lines(data_dir, "images/0/0")[0]["name"] == "other"


def test_a_full_disk_leaves_them_for_later(data_dir: Path) -> None:
    run_media(data_dir, "delete", lines(data_dir, "images/0/0")[0]["id"])
    before = read_tree(data_dir)
    with serve(data_dir, storage={"min_free_mb": 10**9}) as api:
        until(lambda: api.client.get("/healthz").status_code == 503)
        until(lambda: (data_dir / "imgpro.db-wal").exists())
    assert (read_tree(data_dir), count_due(data_dir) > 0) == (before, True)


def test_dev_mode_writes_none_and_leaves_none_that_are_wrong(start: ApiFactory) -> None:
    data_dir = start(dev=DevMode()).data_dir
    (data_dir / "manifests" / "teams").mkdir(parents=True)
    change("library.jsonl", b"")(data_dir)
    api: Api = start(dev=DevMode())
    assert not (data_dir / "manifests").exists()
    image = add(api, owner(api))
    assert check(data_dir) == []
    start()
    wait_for_manifests(data_dir)
    assert [line["id"] for line in lines(data_dir, "images/0/0")] == [image["id"]]


def test_what_a_crash_kept_from_being_written_is_rebuilt(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes between the commit and the manifest: the note is in the database, for the next server."""
    with serve(data_dir) as api:
        wait_for_manifests(data_dir)
        until(lambda: count_due(data_dir) == 0)
        monkeypatch.setattr("imgpro_lite.store.manifests.Manifests.write", lambda *_: pytest.fail("killed"))
        image = add(api, owner(api))
    monkeypatch.undo()
    assert count_due(data_dir) > 0
    with serve(data_dir):
        wait_for_manifests(data_dir)
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()
    rebuild(data_dir)
    with connect(data_dir) as conn:
        assert conn.execute("SELECT count(*) FROM media WHERE id = ?", (image["id"],)).fetchone() == (1,)
