"""Reset, snapshots and restore in dev mode: everything is as it was, nothing is left, and nobody meets half of it."""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from checking import check
from conftest import Api, ApiFactory
from library import connect, owner, picture
from mailing import outbox_files, read_outbox
from running import WAIT_SECONDS, form, servers, until
from shared import serve

from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import OperatorError
from imgpro_lite.store import failpoints
from imgpro_lite.store.dev_dir import clock_of

DAY_SECONDS = 86_400
ANONYMOUS_PER_HOUR = 2
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    limits = {"anonymous_uploads_per_hour": ANONYMOUS_PER_HOUR}
    with serve(tmp_path_factory.mktemp("dev") / "data", dev=DevMode(), limits=limits) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    """As it was at the start."""
    assert server.client.post("/_dev/reset").status_code == 200
    for shown in server.client.get("/_dev/snapshots").json()["snapshots"]:
        assert server.client.delete(f"/_dev/snapshots/{shown['name']}").status_code == 204
    return server


def put(dev: Api, name: str = "a") -> Any:
    answer = dev.client.put(f"/_dev/snapshots/{name}")
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def restore(dev: Api, name: str = "a", **options: Any) -> Any:
    answer = dev.client.post(f"/_dev/snapshots/{name}/restore", json=options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def advance(dev: Api, **step: int) -> None:
    assert dev.client.post("/_dev/clock/advance", json=step).status_code == 200


def upload(dev: Api, key: dict[str, str] | None, number: int, **fields: str) -> dict[str, Any]:
    answer = dev.upload(picture(number), key, **fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def seen(dev: Api, key: dict[str, str]) -> dict[str, Any]:
    """All that the API shows of a team."""
    listed = dev.client.get("/v1/media", headers=key).json()
    shown = {path: dev.client.get(path, headers=key).json() for path in ("/v1/usage", "/v1/namespaces")}
    images = {item["src"]: hashlib.sha256(dev.fetch(item["src"]).content).hexdigest() for item in listed["items"]}
    return {"items": listed["items"], "images": images, "mail": [path.name for path in outbox_files(dev)], **shown}


def files(dev: Api, *names: str) -> list[Path]:
    return [path for name in names for path in (dev.data_dir / name).rglob("*") if path.is_file()]


def test_a_reset_leaves_nothing(dev: Api) -> None:
    key = dev.new_key()
    images = [upload(dev, key, number, external_id=str(number)) for number in range(3)]
    assert dev.fetch(images[0]["src"].replace(".png", ".webp")).status_code == 200
    dev.client.delete(f"/v1/media/{images[1]['id']}", headers=key)
    assert len(read_outbox(dev)) == 1
    advance(dev, hours=5)
    shown = dev.client.post("/_dev/reset", json={"seed": True}).json()
    assert shown == {"images": 0, "clock": dev.client.get("/_dev/clock").json()}
    assert shown["clock"]["offset_seconds"] == 0
    assert files(dev, "blobs", "outbox", "cache", "intermediates", "tmp") == []
    assert dev.client.get("/v1/usage", headers=key).status_code == 401
    assert dev.fetch(images[0]["src"]).status_code == 404
    assert check(dev.data_dir) == []
    assert upload(dev, dev.new_key(), 0, external_id="0")["external_id"] == "0"


def test_a_restored_library_is_as_it_was(dev: Api) -> None:
    key = dev.new_key()
    first, second = (upload(dev, key, number, namespace="pets", tags="cat") for number in (1, 2))
    variant = second["src"].replace(".png", ".jpeg")
    pixels = dev.fetch(variant).content
    read_outbox(dev)
    advance(dev, days=1)
    shown = put(dev)
    assert shown == {"name": "a", "created_at": dev.clock.at + DAY_SECONDS, "offset_seconds": DAY_SECONDS, "images": 2}
    before = seen(dev, key)
    dev.client.delete(f"/v1/media/{first['id']}", headers=key)
    dev.client.patch(f"/v1/media/{second['id']}", headers=key, json={"name": "other"})
    later = upload(dev, key, 3)
    dev.fetch(later["src"].replace(".png", ".jpeg"))
    other = dev.new_key("later@example.com")
    read_outbox(dev)
    advance(dev, days=31)  # the retention and the grace period
    advance(dev, days=8)
    assert files(dev, "blobs") == []
    assert restore(dev)["clock"]["offset_seconds"] == DAY_SECONDS
    assert seen(dev, key) == before
    assert dev.fetch(variant).content == pixels
    assert dev.client.get("/v1/usage", headers=other).status_code == 401
    assert dev.fetch(later["src"]).status_code == 404
    assert len(files(dev, "blobs")) == 2
    assert check(dev.data_dir) == []


def test_a_snapshot_can_be_restored_again_and_again(dev: Api) -> None:
    key = dev.new_key()
    upload(dev, key, 1)
    put(dev)
    before = seen(dev, key)
    for number in (2, 3):
        upload(dev, key, number)
        restore(dev)
        assert seen(dev, key) == before
    dev.client.post("/_dev/reset")
    restore(dev)
    assert seen(dev, key) == before


def test_the_clock_may_go_on(dev: Api) -> None:
    key = dev.new_key()
    upload(dev, key, 1, ttl="1h")
    put(dev)
    advance(dev, days=2)
    assert restore(dev, clock=False)["clock"]["offset_seconds"] == 2 * DAY_SECONDS
    assert dev.client.get("/v1/usage", headers=key).json()["storage_used_bytes"] == 0
    assert restore(dev)["clock"]["offset_seconds"] == 0
    assert dev.client.get("/v1/usage", headers=key).json()["storage_used_bytes"] == len(picture(1))


def test_rate_limits_are_those_of_the_snapshot(dev: Api) -> None:
    upload(dev, None, 1)
    put(dev)
    upload(dev, None, 2)
    assert dev.upload(picture(3)).status_code == 429
    restore(dev)
    upload(dev, None, 2)
    assert dev.upload(picture(3)).status_code == 429
    dev.client.post("/_dev/reset")
    upload(dev, None, 3)


def test_faults_and_usage_that_were_set(dev: Api) -> None:
    key = dev.new_key("set@example.com")
    usage = dev.client.get("/v1/usage", headers=key).json()
    dev.client.patch("/_dev/teams/set@example.com", json={"storage_used_bytes": 1000, "uploads_used": 7})
    put(dev)
    dev.client.patch("/_dev/teams/set@example.com", json={"storage_used_bytes": 5, "uploads_used": 8})
    dev.client.post("/_dev/faults", json={"method": "GET", "path": "/v1/usage", "status": 500})
    restore(dev)
    used = {"storage_used_bytes": 1000, "uploads_used": 7, "uploads_remaining": usage["uploads_limit"] - 7}
    assert dev.client.get("/v1/usage", headers=key).json() == {**usage, **used}
    dev.client.post("/_dev/reset")
    made = dev.client.post("/_dev/keys", json={"email": "set@example.com"}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert dev.client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == 0


def test_the_sweep_of_a_later_time_touches_nothing_of_an_earlier_one(dev: Api) -> None:
    key = dev.new_key()
    for number in range(5):
        upload(dev, key, number, ttl="1h")
    put(dev)
    before = seen(dev, key)
    for _ in range(5):
        dev.clock.advance(seconds=1)  # so that something is always due
        advance(dev, days=40)
        restore(dev)
    dev.clock.advance(seconds=-5)
    assert seen(dev, key) == before


def test_mail_on_its_way_does_not_arrive_after_a_reset(dev: Api) -> None:
    for _ in range(5):
        dev.new_key()
        dev.client.post("/_dev/reset")
        assert outbox_files(dev) == []
    assert read_outbox(dev) == []


def test_mail_that_waits_is_sent_after_a_restore(dev: Api) -> None:
    dev.new_key("waits@example.com")
    put(dev)
    for _ in range(2):
        dev.client.post("/_dev/reset")
        restore(dev)
        assert [message["To"] for message in read_outbox(dev)] == ["waits@example.com"]


def test_requests_meanwhile_meet_the_one_or_the_other(dev: Api) -> None:
    key = dev.new_key()
    kept = upload(dev, key, 1)
    put(dev)
    before = seen(dev, key)

    def use(worker: int) -> set[int]:
        statuses = set()
        for number in range(6):
            answer = dev.upload(picture(10 * (worker + 1) + number), key)
            answers = [answer, dev.client.get("/v1/media", headers=key), dev.fetch(f"{kept['src']}?size=s")]
            if answer.status_code == 201:
                src = answer.json()["src"].replace(".png", ".webp")
                statuses |= {dev.fetch(src).status_code}  # gone, when it was restored in between
            statuses |= {answer.status_code for answer in answers}
        return statuses

    with ThreadPoolExecutor(4) as pool:
        users = [pool.submit(use, worker) for worker in range(4)]
        while not all(user.done() for user in users):
            restore(dev)
    assert set().union(*(user.result() for user in users)) <= {200, 201, 404}
    restore(dev)
    assert seen(dev, key) == before
    assert check(dev.data_dir) == []


@pytest.mark.slow  # 5 s of waiting
def test_a_request_that_does_not_end_is_told(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(args=("--dev",))
        connection = server.connect()
        connection.send_upload_head("Content-Length: 1000")
        connection.send(form(picture(1))[:100])
        until(lambda: list((server.data_dir / "tmp").iterdir()))
        url = f"{server.url}/_dev/reset"
        refused = httpx2.post(url, timeout=WAIT_SECONDS, trust_env=False)
        assert refused.status_code == 503
        assert "1 of the other requests" in refused.json()["message"]
        assert server.upload(picture(2)).status_code == 201  # nobody is held any more
        connection.close()
        assert httpx2.post(url, timeout=WAIT_SECONDS, trust_env=False).status_code == 200


def leave_restoring(dev: Api, name: str) -> None:
    """What a process leaves that dies."""
    text = json.dumps({"folder": f"snapshots/{name}", "offset_seconds": 60})
    (dev.data_dir / "dev" / "restoring").write_text(text)


def test_a_restore_that_was_cut_short(start: ApiFactory) -> None:
    dev = start(dev=DevMode())
    key = dev.new_key()
    upload(dev, key, 1)
    read_outbox(dev)
    put(dev)
    before = seen(dev, key)
    upload(dev, key, 2)
    leave_restoring(dev, "a")
    with pytest.raises(OperatorError, match="--dev"):
        start(crashed=True)
    dev = start(crashed=True, dev=DevMode())
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 60
    assert seen(dev, key) == before
    assert len(files(dev, "blobs")) == 1
    assert check(dev.data_dir) == []
    leave_restoring(dev, "gone")
    with pytest.raises(OperatorError, match="is gone"):
        start(crashed=True, dev=DevMode())


def test_names_and_statuses(dev: Api) -> None:
    assert dev.client.put("/_dev/snapshots/b.2").status_code == 201
    assert dev.client.put("/_dev/snapshots/a").status_code == 201
    assert dev.client.put("/_dev/snapshots/a").status_code == 200
    assert [shown["name"] for shown in dev.client.get("/_dev/snapshots").json()["snapshots"]] == ["a", "b.2"]
    assert dev.client.delete("/_dev/snapshots/a").status_code == 204
    for answer in (dev.client.delete("/_dev/snapshots/a"), dev.client.post("/_dev/snapshots/a/restore")):
        assert answer.status_code == 404
        assert answer.json()["error"] == "not_found"


@pytest.mark.parametrize("name", ["A", ".a", "-a", "a%2Fb", "%2e%2e", "a b", "a" * 65, "ä"])
def test_wrong_names(dev: Api, name: str) -> None:
    for answer in (dev.client.put(f"/_dev/snapshots/{name}"), dev.client.post(f"/_dev/snapshots/{name}/restore")):
        assert answer.status_code in (404, 422)
    assert dev.client.get("/_dev/snapshots").json() == {"snapshots": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("reset", {"seed": "yes"}),
        ("reset", {"sed": True}),
        ("snapshots/a/restore", {"clock": 1}),
        ("snapshots/a/restore", {"time": True}),
    ],
)
def test_wrong_bodies_change_nothing(dev: Api, path: str, body: dict[str, Any]) -> None:
    put(dev)
    key = dev.new_key()
    answer = dev.client.post(f"/_dev/{path}", json=body)
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == list(body)
    assert dev.client.get("/v1/usage", headers=key).status_code == 200


def test_a_snapshot_of_a_newer_version_is_refused(dev: Api) -> None:
    put(dev)
    key = dev.new_key()
    image = upload(dev, key, 1)
    with contextlib.closing(sqlite3.connect(dev.data_dir / "dev" / "snapshots" / "a" / "imgpro.db")) as conn:
        conn.execute("PRAGMA user_version = 1000")
    answer = dev.client.post("/_dev/snapshots/a/restore")
    assert answer.status_code == 422
    assert "newer" in answer.json()["message"]
    assert dev.fetch(image["src"]).content == picture(1)
    assert check(dev.data_dir) == []


@pytest.mark.slow  # 5 s of waiting
def test_a_database_that_is_held_is_told(dev: Api) -> None:
    put(dev)
    key = dev.new_key()
    upload(dev, key, 1)
    before = seen(dev, key)
    with connect(dev.data_dir) as conn:
        conn.execute("BEGIN IMMEDIATE")
        answer = dev.client.post("/_dev/snapshots/a/restore")
        conn.execute("ROLLBACK")
    assert answer.status_code == 503
    assert answer.json()["error"] == "overloaded"
    assert seen(dev, key)["images"] == before["images"]
    restore(dev)
    assert check(dev.data_dir) == []


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs two disks")
def test_where_files_cannot_have_two_names_they_are_copied(dev: Api) -> None:
    elsewhere = SHARED_MEMORY / f"imgpro-test-{os.getpid()}"
    snapshots = dev.data_dir / "dev" / "snapshots"
    if SHARED_MEMORY.stat().st_dev == snapshots.stat().st_dev:
        pytest.skip("needs two disks")
    elsewhere.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(elsewhere.rmdir)
        snapshots.rmdir()
        stack.callback(snapshots.mkdir)
        snapshots.symlink_to(elsewhere)
        stack.callback(snapshots.unlink)
        key = dev.new_key()
        upload(dev, key, 1)
        read_outbox(dev)
        put(dev)
        stack.callback(dev.client.delete, "/_dev/snapshots/a")
        before = seen(dev, key)
        dev.client.post("/_dev/reset")
        restore(dev)
        assert seen(dev, key) == before
        assert check(dev.data_dir) == []


@pytest.mark.parametrize("point", ["restore.begun", "restore.replaced", "restore.purged"])
def test_a_restore_that_fails_is_done_by_the_next(dev: Api, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    key = dev.new_key()
    upload(dev, key, 1)
    read_outbox(dev)
    put(dev)
    before = seen(dev, key)
    advance(dev, days=3)
    upload(dev, key, 2)
    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "_armed", {point: failpoints._fail})
        assert dev.client.post("/_dev/snapshots/a/restore").status_code >= 500
    # A start would finish it too, unless nothing was replaced yet.
    assert (dev.data_dir / "dev" / "restoring").exists() == (point != "restore.begun")
    restore(dev)
    assert seen(dev, key) == before
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 0
    assert check(dev.data_dir) == []
    dev.client.delete("/_dev/snapshots/a")


def test_one_of_two_snapshots_is_left(start: ApiFactory) -> None:
    """A process that dies while one takes the place of the other."""
    dev = start(dev=DevMode())
    put(dev)
    snapshots = dev.data_dir / "dev" / "snapshots"
    (snapshots / "a").rename(snapshots / ".a.old")
    (snapshots / ".a.new").mkdir()
    dev = start(dev=DevMode())
    assert [one["name"] for one in dev.client.get("/_dev/snapshots").json()["snapshots"]] == ["a"]
    assert [path.name for path in snapshots.iterdir()] == ["a"]


def test_time_and_snapshots_outlive_a_restart(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    dev = start(dev=DevMode())
    key = dev.new_key()
    upload(dev, key, 1)
    put(dev)
    advance(dev, days=20)
    dev = start(dev=DevMode())
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 20 * DAY_SECONDS
    # Commands have the server's time. Its real one is the test's, theirs is that of the machine.
    owner(dev)
    with connect(dev.data_dir) as conn:
        ((created_at, now),) = conn.execute("SELECT max(created_at), unixepoch() FROM api_keys").fetchall()
    assert abs(created_at - now - 20 * DAY_SECONDS) < DAY_SECONDS
    restore(dev)
    assert len(seen(dev, key)["items"]) == 1
    advance(dev, days=3)
    caplog.clear()
    real = start()
    assert "3 days" in caplog.text
    assert real.client.get("/v1/usage", headers=real.new_key()).status_code == 200
    with pytest.raises(OperatorError, match="was not begun in dev mode"):
        start(dev=DevMode())
    (dev.data_dir / "dev" / "may-be-reset").touch()
    dev = start(dev=DevMode())
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 0
    assert dev.client.get("/_dev/snapshots").json()["snapshots"]


def test_a_damaged_clock_is_told(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "clock").write_text("soon")
    with pytest.raises(OperatorError, match="clock is damaged"):
        clock_of(tmp_path)
