"""A server that is killed while it sweeps, at every stage: nothing is lost, nothing comes back, every count is right.

IMGPRO_TEST_KILLS says how often. Other requests meanwhile are in the crash loop, and every step is in the fail-points.
"""

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from commands import authorization, make_key
from library import Headers, add_rows, blob_path, check_counts, check_files, connect
from running import Running, servers, until

KILLS = int(os.environ.get("IMGPRO_TEST_KILLS", "6"))
DUE = 600  # each time: the sweep takes about half a second
NO_GRACE = "[storage]\ngrace_days = 0\n"  # rows and files go in the same sweep

# In the order in which a sweep does them: what is left to do.
STAGES = {
    "out of the counts": "SELECT count(*) FROM media WHERE deleted_at IS NULL AND expires_at <= :now",
    "rows": "SELECT count(*) FROM media WHERE expires_at <= :now",
    "files": "SELECT count(*) FROM media WHERE expires_at <= :now UNION SELECT count(*) FROM purgeable_blobs",
}


def add_images(
    data_dir: Path, headers: Headers, count: int, ends_at: int | None, digest: bytes | None = None
) -> set[str]:
    """Rows with a file each, or with one file together: their ids."""
    columns = {"tags": '["a", "b", "c"]', "namespace": "ns", "ttl_expires_at": ends_at}
    ids = add_rows(data_dir, headers, count, sha256=digest or bytes(32), **columns)
    with connect(data_dir) as conn:
        if digest is None:
            conn.execute("UPDATE media SET sha256 = randomblob(32) WHERE sha256 = zeroblob(32)")
        of_ids = "SELECT DISTINCT sha256 FROM media WHERE id IN (SELECT value FROM json_each(?))"
        digests = [sha256.hex() for (sha256,) in conn.execute(of_ids, (json.dumps(ids),))]
    for name in digests:
        path = blob_path(data_dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return set(ids)


def left(data_dir: Path, stage: str) -> int:
    with closing(sqlite3.connect(f"file:{data_dir}/imgpro.db?mode=ro", uri=True, timeout=30)) as conn:
        return sum(count for (count,) in conn.execute(STAGES[stage], {"now": int(time.time())}))


def live_ids(data_dir: Path) -> set[str]:
    with connect(data_dir) as conn:
        return {media_id for (media_id,) in conn.execute("SELECT id FROM media WHERE deleted_at IS NULL")}


def blobs(data_dir: Path) -> set[str]:
    return {path.name for path in (data_dir / "blobs").rglob("*") if path.is_file()}


def kill_within(server: Running, stage: str) -> None:
    """Kill the server as soon as it has done a part of a stage."""
    begun_with = left(server.data_dir, stage)
    if stage == "files":
        until(lambda: not left(server.data_dir, "rows"))
        begun_with = left(server.data_dir, stage)
    until(lambda: left(server.data_dir, stage) < begun_with or not begun_with)
    server.end(signal.SIGKILL)


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_sweeps(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    headers = authorization(make_key(data_dir, "--verified"))
    shared = random.randbytes(32)
    kept = add_images(data_dir, headers, 20, None) | add_images(data_dir, headers, 20, int(time.time()) + 86_400)
    kept |= add_images(data_dir, headers, 2, None, shared)
    due: set[str] = set()
    gone: set[str] = set()
    with servers(tmp_path) as start:
        for kill in range(KILLS):
            due |= add_images(data_dir, headers, DUE, int(time.time()) - 1)
            due |= add_images(data_dir, headers, 5, int(time.time()) - 1, shared)
            kill_within(start(config=NO_GRACE), list(STAGES)[kill % len(STAGES)])
            check_counts(data_dir)
            check_files(data_dir)
            live = live_ids(data_dir)
            assert kept <= live <= kept | due
            assert not gone & live
            gone |= due - live
        server = start(config=NO_GRACE)
        until(lambda: not left(data_dir, "files"))
        usage = server.get("/v1/usage", headers=headers).json()
        assert usage["storage_used_bytes"] == 100 * len(kept)
        assert server.get("/v1/namespaces", headers=headers).status_code == 200
    check_counts(data_dir)
    check_files(data_dir)
    assert live_ids(data_dir) == kept
    with connect(data_dir) as conn:
        digests = {sha256.hex() for (sha256,) in conn.execute("SELECT sha256 FROM media")}
    assert blobs(data_dir) == digests
