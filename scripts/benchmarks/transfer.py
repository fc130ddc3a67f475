"""1,000 small images from one server to another on the same machine, beside `imgpro-lite upload` of the same files."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Row, Server, at_most, imgpro, owner_key, photograph, scratch

IMAGES = 1000
LISTED_IMAGES = 100_000
PAGE_IMAGES = 100
MOST_MB = 150  # of the command, of which the interpreter and its libraries are 60


def run() -> Iterator[Row | str]:
    """Each way of copying into a library of its own, from the same source."""
    with scratch() as folder, imgpro(folder / "source") as source:
        key = owner_key(folder / "source")
        seconds = _upload(source, key, _files(folder / "files"))
        with closing(sqlite3.connect(folder / "source" / "imgpro.db")) as conn, conn:
            conn.execute("UPDATE media SET external_id = NULL")  # which `upload` gives; those without cost a sync more
        yield Row(f"upload of {IMAGES} images of 5 KB, 4 at a time", IMAGES / seconds, "/s")
        for title, options in (("in order", []), ("--created-as-date, 4 at a time", ["--created-as-date"])):
            with imgpro(folder / title) as destination:
                taken, _ = _push(folder, source, key, destination, owner_key(folder / title), options)
                yield Row(f"push of the same, {title}", IMAGES / taken, "/s", note=f"{seconds / taken:.2f} of upload")
        yield from _many(folder, source, key)


def _many(folder: Path, source: Server, key: str) -> Iterator[Row]:
    """What a dry run takes of a library that is as large as one gets: rows without files."""
    with closing(sqlite3.connect(folder / "source" / "imgpro.db")) as conn, conn:
        columns = [row[1] for row in conn.execute("PRAGMA table_info(media)") if row[1] not in ("seq", "id")]
        copied = ", ".join(columns)
        for _ in range(LISTED_IMAGES // IMAGES - 1):
            conn.execute(
                f"INSERT INTO media (id, {copied}) SELECT lower(hex(randomblob(7))), {copied} FROM media LIMIT {IMAGES}"
            )
    with imgpro(folder / "many") as destination:
        options = ["--dry-run", "--json"]
        taken, most_mb = _push(folder, source, key, destination, owner_key(folder / "many"), options)
    yield Row(f"push --dry-run of {LISTED_IMAGES} images", taken, "s")
    yield at_most("memory of that", most_mb, "MB", MOST_MB)


def _files(folder: Path) -> Path:
    folder.mkdir()
    content = photograph(folder / "photo.jpg", 0.01).read_bytes()
    (folder / "photo.jpg").unlink()
    for number in range(IMAGES):
        (folder / f"{number}.jpg").write_bytes(content + number.to_bytes(4, "big"))
    return folder


def _upload(server: Server, key: str, files: Path) -> float:
    started_at = time.perf_counter()
    _run(["upload", "-r", str(files), "--server", server.url, "--key", key])
    return time.perf_counter() - started_at


def _push(
    folder: Path, source: Server, key: str, destination: Server, far_key: str, options: list[str]
) -> tuple[float, float]:
    """The seconds that it takes, and the most memory, in MB."""
    where = ["--server", source.url, "--to", destination.url, "--journal", str(folder / f"{destination.pid}.jsonl")]
    started_at = time.perf_counter()
    used = _run(["push", *where, *options], {"IMGPRO_KEY": key, "IMGPRO_FAR_KEY": far_key})
    return time.perf_counter() - started_at, used


def _run(arguments: list[str], environ: dict[str, str] | None = None) -> float:
    """Run a command of ours, which must succeed: the most memory that it had, in MB."""
    measure = "import json, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=-3, stderr=-3)"
    measure += "; print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    command = [sys.executable, "-c", measure, sys.executable, "-m", "imgpro_lite", *arguments]
    return float(json.loads(subprocess.check_output(command, env={**os.environ, **(environ or {})}))) / 1024
