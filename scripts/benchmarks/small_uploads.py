"""200 KB JPEG uploads, 8 at a time, beside a bare script that does the same work with as many processes."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Row, Server, imgpro, owner_key, photograph, scratch

PARALLEL = 8
FILES = 400
FILE_BYTES = 200_000
GOAL_RATIO = 0.5
ROUNDS = 3

# Each process: decode and thumbnail, write and sync the file, commit one row.
_BARE = """
import hashlib, os, sqlite3, sys, pyvips
folder, files = sys.argv[1], sys.argv[2:]
conn = sqlite3.connect(f"{folder}/bare.db", isolation_level=None, timeout=30)
conn.execute("PRAGMA synchronous = FULL")
for name in files:
    content = open(name, "rb").read()
    digest = hashlib.sha256(content).hexdigest()
    image = pyvips.Image.thumbnail_buffer(content, 320, fail_on="truncated").copy_memory()
    descriptor = os.open(f"{folder}/{digest}", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    conn.execute("INSERT INTO media VALUES (?, ?)", (digest, image.width))
"""


def run() -> Iterator[Row]:
    """Ours and the bare script in turns; every file is different."""
    with scratch() as folder:
        original = photograph(folder / "photo.jpg", 0.55).read_bytes()
        ours, theirs = [], []
        with imgpro(folder / "data") as server:
            key = owner_key(folder / "data")
            for round_ in range(ROUNDS):
                files = _files(folder, original, round_)
                theirs.append(FILES / _bare_seconds(folder / f"bare{round_}", files))
                ours.append(FILES / _our_seconds(server, key, files))
        yield Row(f"uploads of {len(original) // 1000} KB, {PARALLEL} at a time: bare", sorted(theirs)[1], "/s")
        yield Row(f"uploads of {len(original) // 1000} KB, {PARALLEL} at a time: ours", sorted(ours)[1], "/s")
        ratio = sorted(ours)[1] / sorted(theirs)[1]
        yield Row("small uploads: ours / bare (medians)", ratio, "x", f">= {GOAL_RATIO}", ratio < GOAL_RATIO)


def _files(folder: Path, original: bytes, round_: int) -> list[Path]:
    paths = []
    for number in range(FILES):
        path = folder / f"photo{round_}-{number}.jpg"
        path.write_bytes(original + round_.to_bytes(2, "big") + number.to_bytes(4, "big"))
        paths.append(path)
    return paths


def _bare_seconds(folder: Path, files: list[Path]) -> float:
    folder.mkdir()
    # Here and not in the processes, which would lock each other out of changing the journal mode.
    with closing(sqlite3.connect(folder / "bare.db")) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("CREATE TABLE media (sha256 TEXT, width INTEGER)")
    processes = os.cpu_count() or 1
    started_at = time.perf_counter()
    environ = {"VIPS_CONCURRENCY": "1", "PATH": "/usr/bin"}
    running = [
        subprocess.Popen([sys.executable, "-c", _BARE, str(folder), *map(str, files[start::processes])], env=environ)
        for start in range(processes)
    ]
    assert [process.wait() for process in running] == [0] * processes
    return time.perf_counter() - started_at


def _our_seconds(server: Server, key: str, files: list[Path]) -> float:
    """curl sends the files of each of PARALLEL connections one after the other."""

    def send(batch: list[Path]) -> None:
        command = ["curl", "-sS", "-H", f"Authorization: Bearer {key}"]
        for number, path in enumerate(batch):
            command += ["--next", "-sS", "-H", f"Authorization: Bearer {key}"] if number else []
            command += ["-o", "/dev/null", "-f", "-F", f"file=@{path}", f"{server.url}/v1/upload"]
        subprocess.run(command, check=True)

    started_at = time.perf_counter()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(send, [files[start::PARALLEL] for start in range(PARALLEL)]))
    return time.perf_counter() - started_at
