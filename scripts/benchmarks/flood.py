"""Many requests at the same moment, from a process of its own.

python -m benchmarks.flood FILE asks for every address in the file, one a line, each over a connection of its own, and
writes FILE.json: a list of [status, error code, Retry-After, SHA-256 of the body, seconds].
"""

import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Beyond what the server promises: a request waits at most about 15 s for a worker, and then is made.
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """One answer; status 0 when there was none."""

    status: int
    error: str
    retry_after: str
    sha256: str
    seconds: float


class Flood:
    """Requests that have begun. `file` is a scratch file."""

    def __init__(self, urls: list[str], file: Path) -> None:
        file.write_text("\n".join(urls))
        self._file = file
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.flood", str(file)])

    def is_running(self) -> bool:
        """Whether some have not been answered."""
        return self._process.poll() is None

    def outcomes(self) -> list[Outcome]:
        """All answers, in the order of the addresses, when the last has come."""
        if self._process.wait() != 0:
            raise RuntimeError("the client failed")
        return [Outcome(*fields) for fields in json.loads(_results(self._file).read_text())]


def _results(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


async def _ask(url: str, everybody: asyncio.Barrier) -> Outcome:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    await everybody.wait()
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as failure:
        return Outcome(0, repr(failure), "", "", time.perf_counter() - started_at)
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(status_line.split()[1]) if status_line else 0
    whole = len(body) == int(headers.get("content-length", -1))
    error = str(json.loads(body)["error"]) if status >= 400 else "" if whole else "cut off"
    retry_after = headers.get("retry-after", "")
    return Outcome(status, error, retry_after, hashlib.sha256(body).hexdigest(), time.perf_counter() - started_at)


async def _ask_all(urls: list[str]) -> list[Outcome]:
    everybody = asyncio.Barrier(len(urls))
    return await asyncio.gather(*(_ask(url, everybody) for url in urls))


def _main() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    file = Path(sys.argv[1])
    outcomes = asyncio.run(_ask_all(file.read_text().split()))
    _results(file).write_text(json.dumps([list(vars(outcome).values()) for outcome in outcomes]))


if __name__ == "__main__":
    _main()
