"""What others notice of 50 clients that send bombs: health, cached images, uploads, and the memory it takes."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import bomb_files
from benchmarks.client import fetch, post_image
from benchmarks.harness import Row, Server, at_most, imgpro, median, owner_key, photograph, scratch

CLIENTS = 50
QUIET_SECONDS = 8
BOMBED_SECONDS = 30
GOAL_HEALTH_MS = 250.0
GOAL_CACHED_MS = 300.0
GOAL_SERVER_MB = 250.0
GOAL_WORKER_MB = 1024.0
SAMPLE_SECONDS = 0.1
PROBE_SECONDS = 120  # how long a request may take before it counts as lost

# Requests a second of each kind. They begin on time, also when earlier ones have not been answered.
RATES = {"health": 10, "image in memory": 10, "image on disk": 10, "original on disk": 5, "small upload": 2}


@dataclass
class Seen:
    """What one kind of request met with."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p99_ms(self) -> float:
        """99 of 100 were as fast or faster."""
        return sorted(self.milliseconds)[int(len(self.milliseconds) * 0.99)]


def run() -> Iterator[Row | str]:
    """The same requests, first without bombs and then with them."""
    with scratch() as folder:
        bombs = folder / "bombs"
        bombs.mkdir()
        bomb_files.make_all(bombs)
        log = folder / "log"
        with imgpro(folder / "data", log=log, environ={"IMGPRO_LOG_LEVEL": "info"}) as server:
            key = owner_key(folder / "data")
            requests = _prepare(server, folder, key)
            server.wait_until_idle()
            quiet = asyncio.run(_watch(server, requests, QUIET_SECONDS))[0]
            command = [sys.executable, "-m", "benchmarks.bombing", server.url.rpartition(":")[2]]
            attackers = subprocess.Popen([*command, str(bombs), str(CLIENTS), str(BOMBED_SECONDS), key])
            bombed, worker_mb = asyncio.run(_watch(server, requests, BOMBED_SECONDS))
            attackers.wait()
            yield from _report(quiet, bombed)
            yield at_most(f"{CLIENTS} bombing: memory of the server", server.peak_rss_mb(), "MB", GOAL_SERVER_MB)
            yield at_most(f"{CLIENTS} bombing: memory of the largest worker", worker_mb, "MB", GOAL_WORKER_MB)
            tracebacks = log.read_text().count("Traceback")
            yield at_most(f"{CLIENTS} bombing: stack traces in the log", tracebacks, "", 0)
        yield f"the bombs were answered: {json.loads((bombs / 'answers.json').read_text())}"


def _prepare(server: Server, folder: Path, key: str) -> dict[str, bytes]:
    """The requests to watch; what they ask for is in the cache."""
    address, _ = post_image(server.url, key, photograph(folder / "photo.jpg", 3).read_bytes())
    path = address.removeprefix(server.url)
    # The second is spelt as no client of ours would, so that it is never kept in memory.
    images = {
        "image in memory": f"{path}.webp?size=s",
        "image on disk": f"{path}.webp?size=m&x=1",
        "original on disk": f"{path}.jpeg",
    }
    for target in images.values():
        assert fetch(server.url + target).status == 200
    requests = {"health": _get("/healthz"), **{name: _get(target) for name, target in images.items()}}
    small = photograph(folder / "small.jpg", 0.05).read_bytes()
    part = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="small.jpg"\r\n\r\n' + small + b"\r\n--b--\r\n"
    )
    head = f"POST /v1/upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
    more = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(part)}\r\n\r\n"
    return {**requests, "small upload": (head + more).encode() + part}


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


async def _watch(server: Server, requests: dict[str, bytes], seconds: float) -> tuple[dict[str, Seen], float]:
    """Send the requests for so long: what they met with, and the most memory that any worker had."""
    seen = {name: Seen() for name in requests}
    done = asyncio.Event()
    memory = asyncio.create_task(_watch_workers(server, done))
    async with asyncio.TaskGroup() as tasks:
        for name, request in requests.items():
            tasks.create_task(_at_rate(RATES[name], seconds, lambda n=name, r=request: _ask(server, r, seen[n])))
    done.set()
    return seen, await memory


async def _at_rate(rate: float, seconds: float, ask: Any) -> None:
    started_at = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started_at + number / rate - time.monotonic()))
            request: Coroutine[Any, Any, None] = ask()
            tasks.create_task(request)


async def _ask(server: Server, request: bytes, seen: Seen) -> None:
    started_at = time.perf_counter()
    status = 0
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(request)
            answer = await reader.read()
            writer.close()
            status = int(answer.split(maxsplit=2)[1]) if answer else 0
    except (OSError, TimeoutError):
        pass
    seen.milliseconds.append((time.perf_counter() - started_at) * 1000)
    seen.statuses[status] += 1


async def _watch_workers(server: Server, done: asyncio.Event) -> float:
    """The most memory that any worker had, in MB."""
    most_mb = 0.0
    while not done.is_set():
        most_mb = max([most_mb, *map(_peak_mb, server.workers())])
        await asyncio.sleep(SAMPLE_SECONDS)
    return most_mb


def _peak_mb(pid: int) -> float:
    try:
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(match[1]) / 1024 if match else 0.0


def _report(quiet: dict[str, Seen], bombed: dict[str, Seen]) -> Iterator[Row | str]:
    goals = {"health": GOAL_HEALTH_MS, "image in memory": GOAL_CACHED_MS, "image on disk": GOAL_CACHED_MS}
    goals["original on disk"] = GOAL_CACHED_MS
    for name, seen in bombed.items():
        what = f"{CLIENTS} bombing: {name}, p99"
        note = f"{quiet[name].p99_ms:.0f} ms without; median {median(seen.milliseconds):.0f} ms; {dict(seen.statuses)}"
        if name in goals:
            yield at_most(what, seen.p99_ms, "ms", goals[name], note)
            lost = sum(count for status, count in seen.statuses.items() if status != 200)
            yield at_most(f"{CLIENTS} bombing: {name}, not answered with 200", lost, "", 0)
        else:
            yield Row(what, seen.p99_ms, "ms", note=note)
