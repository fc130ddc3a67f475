"""A disk that is really full: a server on a small file system of its own, in a mount namespace that ends with it."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from commands import authorization
from images import make_image
from library import check_counts, check_files
from mounts import in_namespace, needs_mounts
from running import WAIT_SECONDS, Running, command, environment, until
from views import files_below

from imgpro_lite.services.sweeper import SWEEP_EVERY_SECONDS
from imgpro_lite.store.blobs import MIN_FREE_INODES

pytestmark = needs_mounts()


@contextmanager
def serve_on_small_disk(directory: Path, options: str, config: str) -> Iterator[Running]:
    """A server whose data directory is a file system of its own. `data_dir` is where this process sees it."""
    data_dir = directory / "data"
    data_dir.mkdir(exist_ok=True)
    wrapper = in_namespace('mount -t tmpfs -o "$1" tmpfs "$2"', options, str(data_dir))
    server = Running.spawn(directory, config=config, wrapper=wrapper)
    try:
        assert server.is_ready(), server.stderr
        server.data_dir = Path(f"/proc/{server.process.pid}/root{data_dir}")
        yield server
    finally:
        server.close()


def make_key(server: Running) -> dict[str, str]:
    """A key made by command, in the server's own namespace."""
    inside = ("nsenter", "--mount", "--target", str(server.process.pid))
    create = command("keys", "create", "--email", "ops@example.com", "--verified", "--json")
    made = subprocess.run(
        [*inside, *create, "--data-dir", str(server.directory / "data")],
        env=environment(),
        cwd=server.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return authorization(json.loads(made.stdout))


def send(server: Running, method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
    return httpx2.request(method, server.url + path, headers=headers, timeout=WAIT_SECONDS, trust_env=False, **options)


def fill(server: Running, leave_bytes: int = 0) -> Path:
    """Take up all that is left, to the last block, but for so much."""
    filler = server.data_dir / "filler"
    status = os.statvfs(server.data_dir)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - leave_bytes))
    return filler


def check_full(answer: Any) -> None:
    assert (answer.status_code, answer.json()["error"]) == (503, "storage_full"), answer.text
    assert int(answer.headers["retry-after"]) >= 1


def check_library(server: Running, copy: Path) -> None:
    """All that is counted, and every file. SQLite resolves links, so it cannot look into another mount namespace."""
    shutil.copytree(server.data_dir / "blobs", copy / "blobs")
    for name in ("imgpro.db", "imgpro.db-wal"):  # in this order; nobody writes now
        shutil.copy(server.data_dir / name, copy)
    check_counts(copy)
    check_files(copy)
    for path in files_below(copy / "blobs"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def unfinished(server: Running) -> list[Path]:
    return files_below(server.data_dir / "tmp") + files_below(server.data_dir / "cache", "*.tmp")


def picture(number: int, tail_bytes: int = 0) -> bytes:
    return make_image("png", 20 + number, 10) + bytes(tail_bytes)


# A block is less than any of these pictures, but not than an AVIF of them.
@pytest.mark.parametrize(("extension", "left_bytes"), [("jpeg", 4096), ("png", 4096), ("webp", 4096), ("avif", 0)])
def test_a_variant_without_room(tmp_path: Path, extension: str, left_bytes: int) -> None:
    """The worker meets the full disk: the picture is not remembered as one that cannot be made."""
    config = "[storage]\nmin_free_mb = 0\nreserve_mb = 0\n[cache]\nintermediates_mb = 0\n"
    with serve_on_small_disk(tmp_path, "size=24m", config) as server:
        original = make_image("bmp", 900, 700) if extension != "png" else make_image("tiff", 900, 700)
        src = server.upload(original).json()["src"].rpartition(".")[0]
        filler = fill(server, left_bytes)
        check_full(server.get(f"{src}.{extension}?size=m"))
        assert unfinished(server) == []
        filler.unlink()
        assert server.get(f"{src}.{extension}?size=m").status_code == 200


def test_no_more_files_can_be_made(tmp_path: Path) -> None:
    config = "[storage]\nmin_free_mb = 1\nreserve_mb = 0\n[cache]\nintermediates_mb = 0\n"
    with serve_on_small_disk(tmp_path, f"size=48m,nr_inodes={MIN_FREE_INODES + 60}", config) as server:
        headers = make_key(server)
        stored = []
        while (answer := server.upload(picture(len(stored)), headers=headers)).status_code == 201:
            stored.append(answer.json()["src"])
        check_full(answer)
        assert 5 < len(stored) < 60
        assert server.get("/healthz").status_code == 503
        assert [server.get(src).status_code for src in stored] == [200] * len(stored)


def test_blobs_on_a_disk_of_their_own(tmp_path: Path) -> None:
    """A rename would not work, and so no upload."""
    (tmp_path / "data" / "blobs").mkdir(parents=True)
    wrapper = in_namespace('mount -t tmpfs tmpfs "$1"', str(tmp_path / "data" / "blobs"))
    server = Running.spawn(tmp_path, wrapper=wrapper)
    try:
        assert not server.is_ready()
        assert f"Mount the disk at {tmp_path / 'data'} instead" in server.stderr
    finally:
        server.close()


def test_everything_on_a_full_disk(tmp_path: Path) -> None:
    config = "[storage]\nmin_free_mb = 1\nreserve_mb = 8\ngrace_days = 0\n[cache]\nintermediates_mb = 0\n"
    with serve_on_small_disk(tmp_path, "size=48m", config) as server:
        headers = make_key(server)
        contents = [picture(number, 100_000) for number in range(30)]
        shown = [server.upload(content, headers=headers).json() for content in contents]
        assert server.get(shown[0]["src"].replace(".png", ".webp")).status_code == 200
        blobs = len(files_below(server.data_dir / "blobs"))

        # An upload that does not fit, while it arrives.
        filler = fill(server, leave_bytes=6_000_000)
        check_full(server.upload(picture(100, 20_000_000), headers=headers))
        until(lambda: unfinished(server) == [])

        # Not a byte is left, and the log of the database has to grow.
        filler.unlink()
        filler = fill(server)
        assert (server.data_dir / "reserve").exists()
        check_full(server.upload(picture(101), headers=headers))
        check_full(server.get(shown[1]["src"].replace(".png", ".webp")))
        assert server.get(shown[0]["src"]).content == contents[0]
        assert server.get(shown[0]["src"].replace(".png", ".webp")).status_code == 200
        assert send(server, "GET", "/v1/media", headers).status_code == 200
        assert server.get("/healthz").status_code == 503

        # Changes may or may not still fit; they are never half done, and deleting goes on.
        for number in range(200):
            body = {"name": f"n{number}", "metadata": {"long": "x" * 15_000}}
            answer = send(server, "PATCH", f"/v1/media/{shown[2]['id']}", headers, json=body)
            if answer.status_code != 200:
                break
        check_full(answer)
        for image in shown[10:20]:
            assert send(server, "DELETE", f"/v1/media/{image['id']}", headers).status_code == 200
        batch = {"ids": [image["id"] for image in shown[20:]]}
        assert send(server, "DELETE", "/v1/media/batch", headers, json=batch).json() == {"deleted": 10}
        assert not (server.data_dir / "reserve").exists()
        assert "Removed" in server.stderr
        assert "Make room, or delete images." in server.stderr
        until(lambda: len(files_below(server.data_dir / "blobs")) == blobs - 20, 2 * SWEEP_EVERY_SECONDS)

        # There is room again, by and by; nobody starts anything.
        filler.unlink()
        until(lambda: (server.data_dir / "reserve").exists())
        for content in contents[25:]:
            assert server.upload(content, headers=headers).status_code == 201
        for image, content in zip(shown[:10], contents, strict=False):
            assert server.get(image["src"]).content == content
        assert server.get("/healthz").json() == {"status": "ok"}
        assert unfinished(server) == []
        check_library(server, tmp_path / "copy")


def test_no_inodes(tmp_path: Path) -> None:
    config = "[storage]\nmin_free_mb = 1\nreserve_mb = 1\ngrace_days = 0\n"
    with serve_on_small_disk(tmp_path, "size=32m,nr_inodes=150", config) as server:
        headers = make_key(server)
        shown = server.upload(picture(1), headers=headers).json()
        others: list[Path] = []
        try:
            while True:
                others.append(server.data_dir / f"filler{len(others)}")
                others[-1].touch()
        except OSError:
            others.pop()
        check_full(server.upload(picture(2), headers=headers))
        others.pop().unlink()  # enough for the temporary file, not for its directories
        check_full(server.upload(picture(2), headers=headers))
        check_full(server.get(shown["src"].replace(".png", ".webp")))
        assert server.get(shown["src"]).status_code == 200
        assert send(server, "DELETE", f"/v1/media/{shown['id']}", headers).status_code == 200
        assert unfinished(server) == []
        for path in others:
            path.unlink()
        again = server.upload(picture(2), headers=headers)
        assert again.status_code == 201
        assert server.get(again.json()["src"]).content == picture(2)
