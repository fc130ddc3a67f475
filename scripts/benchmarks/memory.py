"""Memory of the server and its workers, idle and after work, and whether all works on a machine with 512 MB."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import fetch, post_image
from benchmarks.harness import Row, Server, at_most, imgpro, owner_key, real_photograph, scratch

GOAL_SERVER_MB = 120.0
GOAL_WORKER_MB = 90.0
SMALL_MB = 512
SAMPLE_SECONDS = 0.02
VARIANTS = [f"{format_}?size={size}" for format_ in ("jpeg", "webp", "avif", "png") for size in ("s", "m", "l")]

# What `serve` chooses by itself on such a machine; here it sees the whole one.
SMALL = {"IMGPRO_IMAGING_WORKERS": "1", "IMGPRO_IMAGING_WORKER_MEMORY_MB": "512"}


def run() -> Iterator[Row | str]:
    """A fresh server, the same after some work, and a small machine."""
    with scratch() as folder:
        content = real_photograph(folder / "photo.jpg", 12).read_bytes()
        with imgpro(folder / "data") as server:
            server.wait_until_idle()
            yield from _idle(server, "fresh")
            _do_everything(server, folder / "data", content)
            server.wait_until_idle()
            yield from _idle(server, "after an upload and its variants")
        prefix, how = _limited()
        yield f"a machine with {SMALL_MB} MB: {how}"
        with imgpro(folder / "small", prefix=prefix, environ=SMALL) as server, _watched(server) as totals_mb:
            made = _do_everything(server, folder / "small", content)
        wanted = len(VARIANTS) + 1
        yield Row(f"{SMALL_MB} MB: upload and variants that worked", made, "", f"= {wanted}", made != wanted)
        note = "the most that server and workers had together at one time"
        yield at_most(f"{SMALL_MB} MB: server and workers", max(totals_mb), "MB", SMALL_MB, note)


def _idle(server: Server, when: str) -> Iterator[Row]:
    yield at_most(f"memory of the server, {when}", server.rss_mb(), "MB", GOAL_SERVER_MB)
    workers_mb = [_memory_mb(pid, "Rss") for pid in server.workers()]
    note = f"{len(workers_mb)} workers"
    yield at_most(f"memory of the largest worker, {when}", max(workers_mb), "MB", GOAL_WORKER_MB, note)


def _do_everything(server: Server, data_dir: Path, content: bytes) -> int:
    """Upload and fetch; how many of these worked."""
    address, _seconds = post_image(server.url, owner_key(data_dir), content)
    return 1 + sum(fetch(f"{address}.{variant}").status == 200 for variant in VARIANTS)


def _limited() -> tuple[list[str], str]:
    """The command that gives another only so much memory, and how it does that."""
    if Path("/run/systemd/system").exists() and os.geteuid() == 0:
        limits = ["-p", f"MemoryMax={SMALL_MB}M", "-p", "MemorySwapMax=0"]
        return ["systemd-run", "--scope", "--quiet", *limits], "systemd-run, for server and workers together"
    script = f'ulimit -v {SMALL_MB * 1024}; exec "$@"'
    return ["sh", "-c", script, "sh"], "ulimit -v for each process (there is no systemd here), and the sum watched"


@contextmanager
def _watched(server: Server) -> Iterator[list[float]]:
    """The sums of the memory of a server and its workers, taken often. Pages that they share count once."""
    done = threading.Event()
    totals_mb: list[float] = []

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            totals_mb.append(sum(_memory_mb(pid, "Pss") for pid in (server.pid, *server.workers())))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield totals_mb
    finally:
        done.set()
        thread.join()


def _memory_mb(pid: int, kind: str) -> float:
    """Rss counts shared pages in every process, Pss once; 0 for a process that has just ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    match = re.search(rf"^{kind}:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
