"""The load generator wrk, on a core of its own."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

CONNECTIONS = 16
SECONDS = 3

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What one run measured."""

    requests: int
    requests_per_second: float
    p99_ms: float


def cores() -> tuple[int, int] | None:
    """One core for a server and another for wrk; None when there is only one, or wrk or taskset is not installed."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2 or not shutil.which("wrk") or not shutil.which("taskset"):
        return None
    return available[0], available[1]


def pinned(core: int) -> list[str]:
    """The command that keeps another on one core."""
    return ["taskset", "-c", str(core)]


def load(
    url: str,
    core: int,
    headers: dict[str, str] | None = None,
    connections: int = CONNECTIONS,
    seconds: int = SECONDS,
) -> Load:
    """GET the address as often as the server can. Raises when an answer was an error."""
    command = [*pinned(core), "wrk", "-t", "1", "-c", str(connections), "-d", str(seconds), "--latency"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.check_output([*command, url], text=True)
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{url}: {output}")
    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if requests is None or rate is None or p99 is None:
        raise RuntimeError(f"wrk says something else than expected: {output}")
    return Load(int(requests[1]), float(rate[1]), float(p99[1]) * _UNITS[p99[2]])
