"""What manifests cost: the same small uploads with and without them, and a rebuild of 10,000 images."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Row, Server, at_most, imgpro, owner_key, photograph, scratch
from benchmarks.small_uploads import FILES, _files, _our_seconds

ROUNDS = 5
GOAL_RATIO = 1.03
IMAGES = 10_000
GOAL_REBUILD_SECONDS = 10
SETTLE_SECONDS = 2.5  # by then the manifests are written


def run() -> Iterator[Row]:
    """Both servers in turns. The one without has a file in the place of the directory."""
    with scratch() as folder:
        yield from _uploads(folder)
        yield from _rebuild(folder / "many")


def _uploads(folder: Path) -> Iterator[Row]:
    original = photograph(folder / "photo.jpg", 0.55).read_bytes()
    (folder / "without").mkdir()
    (folder / "without" / "manifests").touch()
    with imgpro(folder / "with") as with_, imgpro(folder / "without", log=folder / "log") as without:
        servers = {"with": (with_, owner_key(folder / "with")), "without": (without, owner_key(folder / "without"))}
        seconds: dict[str, list[float]] = {name: [] for name in servers}
        for round_ in range(ROUNDS):
            files = _files(folder, original, round_)
            for name, (server, key) in servers.items():
                seconds[name].append(_cpu_seconds(server, key, files))
    for name, taken in seconds.items():
        yield Row(f"processor time of {FILES} uploads of 200 KB, {name} manifests (least)", min(taken), "s")
    ratio = min(seconds["with"]) / min(seconds["without"])
    yield at_most("small uploads: processor time with / without manifests", ratio, "x", GOAL_RATIO)


def _cpu_seconds(server: Server, key: str, files: list[Path]) -> float:
    before = server.cpu_seconds()
    _our_seconds(server, key, files)
    time.sleep(SETTLE_SECONDS)
    return server.cpu_seconds() - before


def _rebuild(data_dir: Path) -> Iterator[Row]:
    with imgpro(data_dir) as server:
        owner_key(data_dir)
        _add_images(data_dir)
        written_at = time.monotonic()
        while _count_due(data_dir):
            time.sleep(0.1)
        yield Row(f"{IMAGES:,} images until their manifests are written", time.monotonic() - written_at, "s")
        yield Row("memory of the server after that", server.peak_rss_mb(), "MB")
    size_bytes = sum(path.stat().st_size for path in (data_dir / "manifests").rglob("*.jsonl"))
    yield Row("manifests, bytes for each image", size_bytes / IMAGES, "B")
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "imgpro_lite", "rebuild", "--data-dir", str(data_dir), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - started_at
    yield at_most(f"rebuild of {IMAGES:,} images", taken, "s", GOAL_REBUILD_SECONDS)
    shutil.rmtree(data_dir)


def _add_images(data_dir: Path) -> None:
    """Rows with files of a few bytes: what is in them does not matter here."""
    with closing(sqlite3.connect(data_dir / "imgpro.db", isolation_level=None, timeout=30)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        for number in range(IMAGES):
            content = number.to_bytes(8, "big")
            digest = hashlib.sha256(content)
            path = data_dir / "blobs" / digest.hexdigest()[:2] / digest.hexdigest()[2:4] / digest.hexdigest()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            conn.execute(
                "INSERT INTO media (id, team_id, team_hash, sha256, format, width_px, height_px, frames, has_alpha, "
                "filesize_bytes, name, tags, public, metadata, created_at) VALUES "
                "(?, 2, 'abcd1', ?, 'jpeg', 1920, 1080, 1, 0, 8, ?, '[\"one\", \"two\"]', 1, '{\"camera\": \"X\"}', ?)",
                (f"{number:014d}", digest.digest(), f"photo {number}.jpg", 1_700_000_000 + number),
            )
        conn.execute("COMMIT")


def _count_due(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "imgpro.db", timeout=30)) as conn:
        (count,) = conn.execute("SELECT count(*) FROM manifests_due").fetchone()
    return int(count)
