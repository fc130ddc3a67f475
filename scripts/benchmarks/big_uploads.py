"""20 parallel uploads of 70 MB: memory of the server, and throughput beside a bare application."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Server, bare, imgpro, owner_key, photograph, scratch

PARALLEL = 20
FILE_BYTES = 70 * 1024 * 1024
ROUNDS = 3
GOAL_RSS_MB = 200
GOAL_RATIO = 0.6


def run() -> Iterator[Row]:
    """Ours and the bare one in turns, so that a slow moment of the disk meets both."""
    with scratch() as folder:
        photos = _padded_photographs(folder)
        data_dir, bare_dir = folder / "data", folder / "bare"
        bare_dir.mkdir()
        ours: list[float] = []
        theirs: list[float] = []
        with imgpro(data_dir) as server, bare("benchmarks.bare_upload", str(bare_dir)) as other:
            key = owner_key(data_dir)
            for _ in range(ROUNDS):
                theirs.append(_upload_all(other, "none", photos))
                for leftover in bare_dir.iterdir():
                    leftover.unlink()
                ours.append(_upload_all(server, key, photos))
            peak_mb = server.peak_rss_mb()
        yield Row("20 x 70 MB: bare Starlette", max(theirs), "MB/s")
        yield Row("20 x 70 MB: ours", max(ours), "MB/s")
        ratio = sorted(ours)[ROUNDS // 2] / sorted(theirs)[ROUNDS // 2]
        yield Row("20 x 70 MB: ours / bare (medians)", ratio, "x", f">= {GOAL_RATIO}", ratio < GOAL_RATIO)
        yield Row("20 x 70 MB: peak memory of the server", peak_mb, "MB", f"<= {GOAL_RSS_MB}", peak_mb > GOAL_RSS_MB)


def _padded_photographs(folder: Path) -> list[Path]:
    photo = photograph(folder / "photo.jpg", 1).read_bytes()
    paths = []
    for number in range(PARALLEL):
        path = folder / f"photo{number}.jpg"
        padding = FILE_BYTES - len(photo) - 4
        path.write_bytes(photo + bytes(padding) + number.to_bytes(4, "big"))
        paths.append(path)
    return paths


def _upload_all(server: Server, key: str, photos: list[Path]) -> float:
    """Megabytes in a second."""
    started_at = time.perf_counter()
    command = ["curl", "-sS", "-H", "Expect:", "-H", f"Authorization: Bearer {key}", "-o", "/dev/null"]
    command += ["-w", "%{http_code}"]
    clients = [
        subprocess.Popen([*command, "-F", f"file=@{photo}", f"{server.url}/v1/upload"], stdout=subprocess.PIPE)
        for photo in photos
    ]
    statuses = [client.communicate()[0] for client in clients]
    assert statuses == [b"201"] * PARALLEL, statuses
    return PARALLEL * FILE_BYTES / 1_000_000 / (time.perf_counter() - started_at)
