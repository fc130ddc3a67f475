"""A server in dev mode that dies while it makes a snapshot or goes back to one: there is never half of a library."""

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import running
import shared as one_server
from checking import check
from library import picture
from mailing import read_outbox
from running import WAIT_SECONDS, Running, servers

from imgpro_lite.dev.mode import DevMode
from imgpro_lite.store.failpoints import POINTS, VARIABLE

# Each is two or three starts of a server.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="sends signals")]

DEV = ("--dev",)


def points(prefix: str) -> list[str]:
    return [point for point in POINTS if point.startswith(prefix)]


@dataclass
class Library:
    """A data directory that is copied for each test, with a snapshot `a` of what is no more."""

    data_dir: Path
    key: dict[str, str]
    src_before: str
    src_now: str
    mail_before: int


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with one_server.serve(data_dir, dev=DevMode()) as api:
        api.clock.at = int(time.time())  # that of the servers below
        key = api.new_key()
        before = api.upload(picture(1), key).json()
        mail_before = len(read_outbox(api))
        api.client.post("/_dev/clock/advance", json={"seconds": 90})
        assert api.client.put("/_dev/snapshots/a").status_code == 201
        api.client.delete(f"/v1/media/{before['id']}", headers=key)
        api.client.post("/_dev/clock/advance", json={"days": 8})
        now = api.upload(picture(2), key).json()
        api.new_key("later@example.com")
        assert len(read_outbox(api)) > mail_before
    return Library(data_dir, key, path_of(before["src"]), path_of(now["src"]), mail_before)


def path_of(src: str) -> str:
    return src.removeprefix("http://localhost:4647")


@pytest.fixture
def start(tmp_path: Path, library: Library) -> Iterator[running.Start]:
    shutil.copytree(library.data_dir, tmp_path / "data")
    with servers(tmp_path) as start:
        yield start


def die_at(point: str, directory: Path, method: str, path: str) -> None:
    with contextlib.closing(Running.spawn(directory, args=DEV, env={VARIABLE: f"{point}=kill"})) as server:
        if server.is_ready():  # a start writes a snapshot too
            with contextlib.suppress(httpx2.TransportError):
                httpx2.request(method, server.url + path, timeout=WAIT_SECONDS, trust_env=False)
        assert server.process.wait(WAIT_SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize("point", points("restore."))
def test_a_restore_is_finished_by_the_next_start(
    point: str, library: Library, tmp_path: Path, start: running.Start
) -> None:
    die_at(point, tmp_path, "POST", "/_dev/snapshots/a/restore")
    refused = Running.spawn(tmp_path)
    assert not refused.is_ready()
    assert "--dev" in refused.stderr
    server = start(args=DEV)
    assert server.get(library.src_before).content == picture(1)
    assert server.get(library.src_now).status_code == 404
    assert server.get("/_dev/clock").json()["offset_seconds"] < 86_400
    assert len(list((server.data_dir / "outbox").glob("*.eml"))) == library.mail_before
    assert server.end() == 0
    assert check(server.data_dir) == []
    assert not (server.data_dir / "set-aside").exists()


@pytest.mark.parametrize("point", points("snapshot."))
def test_a_snapshot_is_whole_or_not_there(point: str, library: Library, tmp_path: Path, start: running.Start) -> None:
    die_at(point, tmp_path, "PUT", "/_dev/snapshots/b")
    server = start(args=DEV)
    assert [shown["name"] for shown in server.get("/_dev/snapshots").json()["snapshots"]] == ["a"]
    assert not list((server.data_dir / "dev").rglob(".*"))
    assert server.get(library.src_now).content == picture(2)
    assert server.end() == 0
    assert check(server.data_dir) == []
