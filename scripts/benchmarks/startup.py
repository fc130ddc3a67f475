"""Ready (first 200 of /healthz) within 1 s of the command, also with 10,000 images."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, imgpro, owner_key, photograph, scratch, upload

GOAL_SECONDS = 1.0
IMAGES = 10_000
RUNS = 5


def run() -> Iterator[Row]:
    """The median of some starts, on an empty directory and on a large one."""
    with scratch() as folder:
        yield _row("ready, empty data directory", [_ready(folder / f"empty{number}") for number in range(RUNS)])
        _fill(folder / "full", photograph(folder / "photo.jpg", 1))
        yield _row(f"ready, {IMAGES:,} images and variants", [_ready(folder / "full") for _ in range(RUNS)])


def _ready(data_dir: Path) -> float:
    with imgpro(data_dir) as server:
        return server.ready_seconds


def _row(what: str, seconds: list[float]) -> Row:
    median = sorted(seconds)[len(seconds) // 2]
    return Row(what, median, "s", f"<= {GOAL_SECONDS} s", median > GOAL_SECONDS)


def _fill(data_dir: Path, photo: Path) -> None:
    """One real upload, and its row, file and variant repeated under other names."""
    with imgpro(data_dir) as server:
        upload(server, owner_key(data_dir), photo)
    content = photo.read_bytes()
    conn = sqlite3.connect(data_dir / "imgpro.db")
    columns = [row[1] for row in conn.execute("PRAGMA table_info(media)") if row[1] != "seq"]
    names = ", ".join(columns)
    for number in range(IMAGES):
        sha256 = bytes([number & 255, number >> 8]) * 16
        path = data_dir / "blobs" / sha256.hex()[:2] / sha256.hex()[2:4] / sha256.hex()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:1000])
        variant = data_dir / "cache" / sha256.hex()[:2] / f"{sha256.hex()}-320-q80-v1.webp.1000"  # its length
        variant.parent.mkdir(parents=True, exist_ok=True)
        variant.write_bytes(content[:1000])
        values = names.replace("sha256", ":sha256").replace("id,", ":id,", 1)
        conn.execute(
            f"INSERT INTO media ({names}) SELECT {values} FROM media WHERE seq = 1",
            {"sha256": sha256, "id": f"{number:014d}"},
        )
    conn.commit()
    conn.close()
