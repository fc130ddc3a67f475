"""A server, or a command, that dies at each of its steps: nothing acknowledged is lost, nothing half done is left."""

import contextlib
import hashlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import running
import shared as one_server
from library import Headers, add, check_counts, check_files, connect, owner, picture
from running import WAIT_SECONDS, Running, command, environment, servers, until

import imgpro_lite
from imgpro_lite.store.data_dir import read_secrets
from imgpro_lite.store.failpoints import POINTS, VARIABLE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")

NEW = picture(7)


@dataclass
class Library:
    """A data directory that is copied for each test."""

    data_dir: Path
    headers: Headers
    kept: dict[str, str]
    """Addresses and SHA-256 of the images that must stay."""
    doomed: str
    """The id of an image that a test may delete. Others are due to be swept."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Made at a time long past, so that a server's first sweep has something to mark, to delete and to remove."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with one_server.serve(data_dir) as api:
        headers = owner(api)
        kept = [api.upload(picture(number), headers).json()["src"] for number in (1, 2)]
        paths = [src.removeprefix("http://localhost:4647") for src in kept]
        hashes = {path: hashlib.sha256(api.client.get(path).content).hexdigest() for path in paths}
        api.upload(picture(3), headers, ttl="1h")
        deleted = api.upload(picture(4), headers).json()["id"]
        api.client.delete(f"/v1/media/{deleted}", headers=headers)
        return Library(data_dir, headers, hashes, add(api, headers, namespace="doomed")["id"])


def upload(server: Running, library: Library) -> None:
    server.upload(NEW, headers=library.headers)


def view(server: Running, library: Library) -> None:
    server.get(f"{next(iter(library.kept)).removesuffix('.png')}.webp")


def delete(server: Running, library: Library) -> None:
    path = f"/v1/media/{library.doomed}"
    httpx2.delete(server.url + path, headers=library.headers, timeout=WAIT_SECONDS, trust_env=False)


def delete_namespace(server: Running, library: Library) -> None:
    path = "/v1/media/batch?namespace=doomed"
    httpx2.delete(server.url + path, headers=library.headers, timeout=WAIT_SECONDS, trust_env=False)


def ask_for_key(server: Running, _library: Library) -> None:
    body = {"email": "somebody@example.com"}
    httpx2.post(f"{server.url}/v1/keys", json=body, timeout=WAIT_SECONDS, trust_env=False)
    server.process.wait(WAIT_SECONDS)


def nothing(server: Running, _library: Library) -> None:
    """It dies by itself: in its start, or in its first sweep."""
    server.process.wait(WAIT_SECONDS)


def leave_orphan(data_dir: Path) -> None:
    orphan = data_dir / "blobs" / "00" / "00" / ("0" * 64)
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"left")
    (data_dir / "running").touch()


def forget_database(data_dir: Path) -> None:
    shutil.rmtree(data_dir)


def forget_secret(data_dir: Path) -> None:
    (data_dir / "secret").unlink()


def as_it_is(_data_dir: Path) -> None:
    """Prepare nothing."""


# What reaches each point, and what it takes before.
Trigger = Callable[[Running, Library], None]
CASES: dict[str, tuple[Trigger, Callable[[Path], None]]] = {
    **{point: (upload, as_it_is) for point in POINTS if point.startswith("upload.")},
    **dict.fromkeys(("blob.sync", "blob.renamed", "blob.durable"), (upload, as_it_is)),
    **dict.fromkeys(("delete.marked", "delete.committed"), (delete, as_it_is)),
    "delete.step": (delete_namespace, as_it_is),
    **{point: (nothing, as_it_is) for point in POINTS if point.startswith("sweep.")},
    "blob.purged": (nothing, as_it_is),
    "orphans.set_aside": (nothing, leave_orphan),
    **{point: (upload, as_it_is) for point in POINTS if point.startswith("manifests.")},
    **{point: (view, as_it_is) for point in POINTS if point.startswith("cache.")},
    **{point: (nothing, forget_database) for point in POINTS if point.startswith("migration.")},
    **{point: (nothing, forget_secret) for point in POINTS if point.startswith("secrets.")},
    **{point: (ask_for_key, as_it_is) for point in POINTS if point.startswith(("mail.", "outbox."))},
}
# Each is two starts of a server, so the suite does with the one where a file has its name and the row is not committed.
QUICK = {"upload.inserted"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[running.Start]:
    with servers(tmp_path) as start:
        yield start


def is_quick(point: str) -> "pytest.MarkDecorator | tuple[()]":
    return () if point in QUICK else pytest.mark.slow


def is_settled(data_dir: Path) -> bool:
    """Whether all that is due is swept, sent and written, and every file has a row."""
    with connect(data_dir) as conn:
        rows = {sha256.hex() for (sha256,) in conn.execute("SELECT sha256 FROM media")}
        due = conn.execute(
            "SELECT (SELECT count(*) FROM mail_queue) + (SELECT count(*) FROM purgeable_blobs) "
            "+ (SELECT count(*) FROM manifests_due) + (SELECT count(*) FROM manifest_backlog)"
        ).fetchone()
    return due == (0,) and rows == {path.name for path in (data_dir / "blobs").rglob("*") if path.is_file()}


def die_at(point: str, directory: Path, library: Library, trigger: Trigger) -> None:
    with contextlib.closing(Running.spawn(directory, env={VARIABLE: f"{point}=kill"})) as server:
        if server.is_ready():
            with contextlib.suppress(httpx2.TransportError):
                trigger(server, library)
        assert server.process.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert f"{VARIABLE} is set, at {point}" in server.stderr


@pytest.mark.parametrize("point", [pytest.param(point, marks=is_quick(point)) for point in CASES])
def test_a_server_that_dies_at(point: str, library: Library, tmp_path: Path, start: running.Start) -> None:
    trigger, prepare = CASES[point]
    data_dir = tmp_path / "data"
    shutil.copytree(library.data_dir, data_dir)
    prepare(data_dir)
    is_fresh = not data_dir.exists()
    die_at(point, tmp_path, library, trigger)
    if not is_fresh:
        check_files(data_dir)
        check_counts(data_dir)
    server = start()
    until(lambda: is_settled(data_dir))
    check_files(data_dir)
    check_counts(data_dir)
    assert list((data_dir / "tmp").iterdir()) == list((data_dir / "cache").rglob("*.tmp")) == []
    assert not (data_dir / "secret.new").exists()
    assert not list((data_dir / "outbox").glob(".*"))
    assert not list((data_dir / "manifests").rglob("*.new"))
    if not is_fresh:
        check_images(server, library, point)
    assert server.upload(NEW).status_code == 201
    assert server.end() == 0


def check_images(server: Running, library: Library, point: str) -> None:
    """What was acknowledged is there, what was not is there as a whole or not at all."""
    for path, sha256 in library.kept.items():
        assert hashlib.sha256(server.get(path).content).hexdigest() == sha256
        assert server.get(path.replace(".png", ".webp")).status_code == 200
    listed = server.get("/v1/media", headers=library.headers).json()["items"]
    expected = len(library.kept) + 1
    if point == "upload.committed" or point.startswith("manifests."):
        (added,) = (image for image in listed if image["name"].startswith("photo") and image["width"] == 11)
        assert server.get(added["src"]).content == NEW
        expected += 1
    if point in ("delete.committed", "delete.step"):
        expected -= 1
    assert len(listed) == expected
    if point.startswith(("mail.", "outbox.")):
        assert list((server.data_dir / "outbox").glob("*-verify-*.eml"))


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("secrets.")])
def test_a_rotation_of_the_secrets_that_dies_at(
    point: str, library: Library, tmp_path: Path, start: running.Start
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(library.data_dir, data_dir)
    (old,) = read_secrets(data_dir)
    died = subprocess.run(
        command("secrets", "rotate", "--data-dir", str(data_dir)),
        env=environment() | {VARIABLE: f"{point}=kill"},
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert read_secrets(data_dir)[0].text == old.text
    assert len(read_secrets(data_dir)) == (2 if point == "secrets.renamed" else 1)
    assert start().get("/healthz").status_code == 200
    assert running.run(tmp_path, "secrets", "rotate", "--data-dir", str(data_dir)).returncode == 0
    assert not (data_dir / "secret.new").exists()


def test_every_point_is_reached_somewhere_and_tested() -> None:
    """Those of snapshots in test_dev_kills.py, those of backups and upgrades in test_backup_faults.py."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(imgpro_lite.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"reached\(['\"]([a-z._]+)['\"]\)", source)) == set(POINTS)
    elsewhere = ("snapshot.", "restore.", "backup.", "copy.", "restoring.", "upgrade.")
    assert {point for point in POINTS if not point.startswith(elsewhere)} == set(CASES)


def test_a_point_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(Running.spawn(tmp_path, env={VARIABLE: "upload.nowhere=kill"})) as server:
        assert not server.is_ready()
        assert "upload.nowhere" in server.stderr
