"""A server of ours or any other, started for a benchmark and stopped after it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyvips


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, and what it must reach."""

    what: str
    figure: float
    unit: str
    goal: str = ""
    missed: bool = False

    def __str__(self) -> str:
        verdict = "" if not self.goal else ("MISSED" if self.missed else "ok")
        return f"{self.what:<70} {self.figure:>10.3f} {self.unit:<6} {self.goal:<14} {verdict}"


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards. IMGPRO_TEST_SCRATCH chooses the disk to measure."""
    path = Path(tempfile.mkdtemp(prefix="imgpro-bench-", dir=os.environ.get("IMGPRO_TEST_SCRATCH")))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    url: str
    data_dir: Path
    ready_seconds: float

    def peak_rss_mb(self) -> float:
        """The most memory that the server process itself has had."""
        return self._status_mb("VmHWM")

    def _status_mb(self, field: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"{field}:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


@contextmanager
def imgpro(data_dir: Path) -> Iterator[Server]:
    """`imgpro-lite serve` on a free port, without rate limits for anonymous callers."""
    environ = os.environ | {
        "IMGPRO_LIMITS_ANONYMOUS_UPLOADS_PER_HOUR": "0",
        "IMGPRO_LIMITS_ANONYMOUS_UPLOADS_PER_DAY": "0",
        "IMGPRO_LOG_LEVEL": "warning",
    }
    port = _free_port()
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "imgpro_lite", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    with _process(command, environ) as process:
        url = f"http://localhost:{port}"
        _wait_until_ready(f"{url}/healthz")
        yield Server(process.pid, url, data_dir, time.perf_counter() - started_at)


@contextmanager
def bare(module: str, *arguments: str) -> Iterator[Server]:
    """A bare server from this folder, on the same event loop and parser as ours."""
    port = _free_port()
    with _process([sys.executable, "-m", module, str(port), *arguments], dict(os.environ)) as process:
        _wait_until_ready(f"http://127.0.0.1:{port}/healthz")
        yield Server(process.pid, f"http://127.0.0.1:{port}", Path(), 0)


@contextmanager
def _process(command: list[str], environ: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    for _ in range(6000):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.005)
    raise TimeoutError(f"{url} does not answer")


def owner_key(data_dir: Path) -> str:
    """A key without limits."""
    command = [sys.executable, "-m", "imgpro_lite", "keys", "create", "--email", "bench@example.com"]
    output = subprocess.check_output([*command, "--verified", "--json", "--data-dir", str(data_dir)])
    return str(json.loads(output)["key"])


def upload(server: Server, key: str, path: Path) -> str:
    """Upload a file with curl; the address of its bytes."""
    command = ["curl", "-sS", "-F", f"file=@{path}", "-H", f"Authorization: Bearer {key}", f"{server.url}/v1/upload"]
    return str(json.loads(subprocess.check_output(command))["src"])


def photograph(path: Path, megapixels: float, quality: int = 90) -> Path:
    """A JPEG with the detail of a photograph: smooth shapes, edges and some noise."""
    width = int((megapixels * 1_000_000 * 4 / 3) ** 0.5)
    height = width * 3 // 4
    shapes = pyvips.Image.perlin(width, height, cell_size=256, uchar=True, seed=1)
    fine = pyvips.Image.perlin(width, height, cell_size=16, uchar=True, seed=2)
    noise = pyvips.Image.gaussnoise(width, height, sigma=6, mean=0, seed=3)
    bands = [shapes * 0.7 + fine * 0.3 + noise, shapes * 0.4 + fine * 0.5 + noise, 255 - shapes * 0.8 + noise]
    bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=quality)
    return path
