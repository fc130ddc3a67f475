"""A server of ours or any other, started for a benchmark and stopped after it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyvips

# A worker that has used no processor time for so long waits for work, unless the machine is busy with something else.
QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, and what it must reach."""

    what: str
    figure: float
    unit: str
    goal: str = ""
    missed: bool = False
    note: str = ""

    def __str__(self) -> str:
        verdict = "" if not self.goal else ("MISSED" if self.missed else "ok")
        return f"{self.what:<70} {self.figure:>10.3f} {self.unit:<6} {self.goal:<14} {verdict:<6} {self.note}".rstrip()


def at_most(what: str, figure: float, unit: str, most: float, note: str = "") -> Row:
    """A figure that must not be larger."""
    return Row(what, figure, unit, f"<= {most:g} {unit}", figure > most, note)


def at_least(what: str, figure: float, unit: str, least: float, note: str = "") -> Row:
    """A figure that must not be smaller."""
    return Row(what, figure, unit, f">= {least:g} {unit}", figure < least, note)


def median(figures: Sequence[float]) -> float:
    """The middle one; of an even number, the upper of the two."""
    return sorted(figures)[len(figures) // 2]


def spread(figures: Sequence[float], digits: int = 1) -> str:
    """The least and the most, for a row's note."""
    return f"{min(figures):.{digits}f} to {max(figures):.{digits}f}"


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

    def rss_mb(self) -> float:
        """The memory that the server process itself has now."""
        return self._status_mb("VmRSS")

    def _status_mb(self, field: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"{field}:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def worker_cpu_seconds(self) -> float:
        """The processor time of all workers since the start, also of those that have ended; exact to some 10 ms."""
        running = [_cpu_ticks(pid)[:2] for pid in self.workers()]
        ticks = sum(map(sum, running)) + sum(_cpu_ticks(self.pid)[2:])
        return ticks / os.sysconf("SC_CLK_TCK")

    def cpu_seconds(self) -> float:
        """The processor time of the server process itself and of all its children since the start."""
        return sum(_cpu_ticks(self.pid)[:2]) / os.sysconf("SC_CLK_TCK") + self.worker_cpu_seconds()

    def wait_until_idle(self) -> None:
        """Return when the workers have done nothing for a while."""
        before, quiet_since = self.worker_cpu_seconds(), time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            time.sleep(QUIET_SECONDS / 10)
            if (now := self.worker_cpu_seconds()) != before:
                before, quiet_since = now, time.monotonic()

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


def _cpu_ticks(pid: int) -> tuple[int, int, int, int]:
    """User and system time of a process, and the same of those of its children that have ended; proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:  # it has just ended
        return 0, 0, 0, 0
    user, system, children_user, children_system = map(int, fields[11:15])
    return user, system, children_user, children_system


def _own_environ() -> dict[str, str]:
    """The environment without the variables of the benchmarks, which the server would take for misspelt settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IMGPRO_BENCH_")}


@contextmanager
def imgpro(
    data_dir: Path,
    *,
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    log: Path | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[Server]:
    """`imgpro-lite serve` on a free port, without rate limits for anonymous callers. `prefix` is a command that runs
    it, such as taskset; `log` takes what it logs; `arguments` are more of them."""
    complete = _own_environ() | {
        "IMGPRO_LIMITS_ANONYMOUS_UPLOADS_PER_HOUR": "0",
        "IMGPRO_LIMITS_ANONYMOUS_UPLOADS_PER_DAY": "0",
        "IMGPRO_LOG_LEVEL": "warning",
        **(environ or {}),
    }
    port = free_port()
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "imgpro_lite", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    command += arguments
    with process([*prefix, *command], complete, log) as running:
        url = f"http://localhost:{port}"
        _wait_until_ready(f"{url}/healthz", running)
        yield Server(running.pid, url, data_dir, time.perf_counter() - started_at)


@contextmanager
def bare(module: str, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """A bare server from this folder, on the same event loop and parser as ours."""
    port = free_port()
    with process([*prefix, sys.executable, "-m", module, str(port), *arguments], dict(os.environ)) as running:
        _wait_until_ready(f"http://127.0.0.1:{port}/healthz", running)
        yield Server(running.pid, f"http://127.0.0.1:{port}", Path(), 0)


@contextmanager
def process(
    command: Sequence[str], environ: Mapping[str, str], log: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that runs meanwhile. What it says on standard error goes to `log`, if that is given."""
    stderr = log.open("ab") if log else None
    running = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=60)
        if stderr:
            stderr.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_until_ready(url: str, running: "subprocess.Popen[bytes]") -> None:
    for _ in range(6000):
        if running.poll() is not None:
            raise RuntimeError(f"the server at {url} did not start")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.005)
    raise TimeoutError(f"{url} does not answer")


def owner_key(data_dir: Path) -> str:
    """A key without limits."""
    command = [sys.executable, "-m", "imgpro_lite", "keys", "create", "--email", "bench@example.com"]
    output = subprocess.check_output(
        [*command, "--verified", "--json", "--data-dir", str(data_dir)], env=_own_environ()
    )
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


def real_photograph(path: Path, megapixels: float) -> Path:
    """The photograph that IMGPRO_BENCH_PHOTO names, or else a synthetic one, as a JPEG of about so many megapixels."""
    if not (given := os.environ.get("IMGPRO_BENCH_PHOTO")):
        return photograph(path, megapixels)
    turned = pyvips.Image.new_from_file(given)
    image = turned.autorot()
    factor = (megapixels * 1_000_000 / (image.width * image.height)) ** 0.5
    is_upright = not turned.get_typeof("orientation") or turned.get("orientation") == 1
    if given.lower().endswith((".jpg", ".jpeg")) and is_upright and abs(factor - 1) < 0.05:
        shutil.copyfile(given, path)  # as it came from the camera
    else:
        image.resize(factor).jpegsave(str(path), Q=92)
    return path
