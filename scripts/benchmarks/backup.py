"""Backups: the first against `cp -a`, one of a library that has not changed, a restore, and uploads meanwhile."""

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Row, Server, at_most, imgpro, owner_key, photograph, scratch, upload
from benchmarks.library_data import fill

IMAGES = 10_000
IMAGE_BYTES = 100_000
RESTORED_IMAGES = 1_000
RESTORED_BYTES = 1_000_000  # a photograph of a telephone has some
UNCHANGED_GOAL_SECONDS = 5
RESTORE_GOAL_SECONDS = 30
ROWS = int(os.environ.get("IMGPRO_TEST_BENCH_IMAGES", "300000"))
UPLOAD_SECONDS = 10
UPLOAD_GOAL_MS = 250
BYTES_PER_MB = 1024 * 1024

# Copies of the database, one after the other, at the low priority of the command.
COPYING = """
import sqlite3, sys
from pathlib import Path
from imgpro_lite.store.files import yield_to_others
from imgpro_lite.store.sqlite_file import connect_file
from imgpro_lite.store.sqlite_snapshot import copy_beside_writers
yield_to_others()
target = Path(sys.argv[2])
while True:
    target.unlink(missing_ok=True)
    copy_beside_writers(connect_file(Path(sys.argv[1]), read_only=True), target, lambda _: None)
"""


def run() -> Iterator[Row | str]:
    """All of it."""
    with scratch() as folder:
        yield from _first_and_unchanged(folder)
    with scratch() as folder:
        yield from _restore(folder)
    with scratch() as folder:
        yield from _uploads_meanwhile(folder)


def _first_and_unchanged(folder: Path) -> Iterator[Row]:
    data_dir = folder / "data"
    _fill(data_dir, IMAGES, IMAGE_BYTES, folder)
    size_mb = IMAGES * IMAGE_BYTES / BYTES_PER_MB
    copied_seconds = _seconds(
        ["sh", "-c", 'cp -a "$1" "$2" && sync -f "$2"', "sh", str(data_dir), str(folder / "copy")]
    )
    first_seconds = _backup(data_dir, folder / "dest")
    what = f"{IMAGES:,} images of {IMAGE_BYTES / 1000:.0f} KB"
    yield Row(f"cp -a and sync, {what}", size_mb / copied_seconds, "MB/s")
    yield Row(f"first backup, {what}", size_mb / first_seconds, "MB/s", note=f"{first_seconds:.1f} s; read and hashed")
    unchanged = [_backup(data_dir, folder / "dest") for _ in range(3)]
    yield at_most(f"backup, {IMAGES:,} images, nothing new", max(unchanged), "s", UNCHANGED_GOAL_SECONDS)
    yield Row("backup verify of the same", _command("backup", "verify", str(folder / "dest")), "s")


def _restore(folder: Path) -> Iterator[Row]:
    _fill(folder / "data", RESTORED_IMAGES, RESTORED_BYTES, folder)
    _backup(folder / "data", folder / "dest")
    seconds = _command("restore", str(folder / "dest"), "--data-dir", str(folder / "new"))
    what = f"restore, {RESTORED_IMAGES:,} images of {RESTORED_BYTES / 1000:.0f} KB"
    yield at_most(what, seconds, "s", RESTORE_GOAL_SECONDS)


def _uploads_meanwhile(folder: Path) -> Iterator[Row]:
    """While the database of a large library is copied all the time."""
    data_dir = folder / "data"
    with imgpro(data_dir):
        key = owner_key(data_dir)
    fill(data_dir, ROWS)
    content = photograph(folder / "photo.jpg", 0.2).read_bytes()
    with imgpro(data_dir) as server:
        alone = _upload_for(server, key, content, 0)
        copying = subprocess.Popen(
            [sys.executable, "-c", COPYING, str(data_dir / "imgpro.db"), str(folder / "copied.db")]
        )
        try:
            meanwhile = _upload_for(server, key, content, 1)
        finally:
            copying.kill()
            copying.wait()
    size_mb = (data_dir / "imgpro.db").stat().st_size / BYTES_PER_MB
    yield Row("upload, p99, alone", _p99(alone), "ms")
    what = f"upload, p99, while a database of {size_mb:.0f} MB is copied"
    yield at_most(what, _p99(meanwhile), "ms", UPLOAD_GOAL_MS, note=f"{len(meanwhile)} uploads")


def _p99(elapsed_ms: Sequence[float]) -> float:
    return sorted(elapsed_ms)[int(len(elapsed_ms) * 0.99)]


def _upload_for(server: Server, key: str, content: bytes, seed: int) -> Sequence[float]:
    """Upload one file after the other for a while: milliseconds of each."""
    elapsed_ms, ends_at, numbers = list[float](), time.monotonic() + UPLOAD_SECONDS, random.Random(seed)
    while time.monotonic() < ends_at:
        disposition = b'Content-Disposition: form-data; name="file"; filename="a.jpg"'
        body = b"--x\r\n" + disposition + b"\r\n\r\n" + content + numbers.randbytes(8) + b"\r\n--x--\r\n"
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data; boundary=x"}
        begun_at = time.perf_counter()
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/v1/upload", body, headers)) as answer:
            answer.read()
        elapsed_ms.append((time.perf_counter() - begun_at) * 1000)
    return elapsed_ms


def _fill(data_dir: Path, images: int, size_bytes: int, folder: Path) -> None:
    """One real upload, and its row repeated with files of random bytes."""
    with imgpro(data_dir) as server:
        upload(server, owner_key(data_dir), photograph(folder / "photo.jpg", 0.2))
    with closing(sqlite3.connect(data_dir / "imgpro.db")) as conn:
        names = [row[1] for row in conn.execute("PRAGMA table_info(media)") if row[1] != "seq"]
        values = [{"sha256": ":sha256", "id": ":id", "filesize_bytes": ":size"}.get(name, name) for name in names]
        numbers = random.Random(1)
        for number in range(images):
            content = numbers.randbytes(size_bytes)
            digest = hashlib.sha256(content)
            path = data_dir / "blobs" / digest.hexdigest()[:2] / digest.hexdigest()[2:4] / digest.hexdigest()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            conn.execute(
                f"INSERT INTO media ({', '.join(names)}) SELECT {', '.join(values)} FROM media WHERE seq = 1",
                {"sha256": digest.digest(), "id": f"{number:014d}", "size": size_bytes},
            )
        conn.commit()
    os.sync()


def _backup(data_dir: Path, dest: Path) -> float:
    return _command("backup", str(dest), "--data-dir", str(data_dir))


def _command(*arguments: str) -> float:
    return _seconds([sys.executable, "-m", "imgpro_lite", *arguments])


def _seconds(command: list[str]) -> float:
    begun_at = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun_at
