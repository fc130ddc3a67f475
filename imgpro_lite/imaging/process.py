"""One worker process, as the server sees it: start it, ask it, kill it."""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.jobs import Limits

logger = logging.getLogger("imgpro_lite.imaging")

# The argument that makes a frozen single-file build act as a worker; `imgpro_lite.frozen` hands over to `worker.main`.
FROZEN_SUBCOMMAND = "imaging-worker"

# A worker is ready after 0.2 s; a machine that is swapping may take long, but not for ever.
_START_SECONDS = 30.0

# What a worker gets of the server's environment. Nothing here is a secret; fonts and libraries may be found by it.
_KEPT_VARIABLES = (
    "FONTCONFIG_FILE",
    "FONTCONFIG_PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",  # Windows cannot start a process without it
)


class WorkerDied(Exception):
    """The process ended, or said something that is not an answer."""


def worker_command(argument: str) -> list[str]:
    """The command that runs a worker, also from a build where there is no Python to call (`sys.frozen`)."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FROZEN_SUBCOMMAND, argument]
    # -P: the directory that the server was started in is not a place to import from.
    return [sys.executable, "-P", "-m", "imgpro_lite.imaging.worker", argument]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",  # of Pillow, about odd files
        "VIPS_CONCURRENCY": "1",  # as many workers as cores, one core for each
        "VIPS_DISC_THRESHOLD": "100g",  # never a temporary file, which the sandbox would forbid anyway
        "VIPS_WARNING": "0",  # a stranger's file that is only odd is not worth a line in the log
        "MALLOC_ARENA_MAX": "2",  # glibc maps 64 MB for each arena, which would count against the memory limit
    }


class WorkerProcess:
    """A running worker. It does one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process, files: socket.socket | None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._files = files
        self._jobs = process.stdin
        self._answers = process.stdout
        self._complaints = asyncio.create_task(_log_complaints(process.stderr))
        self.pid = process.pid
        self.jobs_done = 0
        self.protections: list[str] = []

    @classmethod
    async def start(cls, limits: Limits) -> Self:
        """A worker that is ready. Raises WorkerDied or TimeoutError when it does not come up."""
        ours, theirs = socket.socketpair() if sandbox.IS_POSIX else (None, None)
        argument = json.dumps({"limits": asdict(limits), "socket": theirs.fileno() if theirs else None})
        try:
            process = await asyncio.create_subprocess_exec(
                *worker_command(argument),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                pass_fds=(theirs.fileno(),) if theirs else (),
                start_new_session=sandbox.IS_POSIX,  # Ctrl-C is for the server, which then ends its workers
            )
        except BaseException:
            if ours:
                ours.close()
            raise
        finally:
            if theirs:
                theirs.close()
        worker = cls(process, ours)
        try:
            worker.protections = (await asyncio.wait_for(worker.receive(), _START_SECONDS))["ready"]
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, as far as is known by now."""
        return self._process.returncode is None and not self._answers.at_eof()

    async def ask(self, job: dict[str, Any], files: Sequence[int], paths: Sequence[Path]) -> dict[str, Any]:
        """Send a job with its files (first the one to read, then those to write) and wait for the first answer; if it
        has `more`, others follow. Raises WorkerDied. Cancelled or timed out, the worker is still busy: kill it."""
        if self._files is not None:
            message = job | {"files": len(files)}
        else:
            message = job | {"paths": [str(path) for path in paths]}
        try:
            if self._files is not None and files:
                sandbox.send_descriptors(self._files, files)
            self._jobs.write(json.dumps(message).encode() + b"\n")
            await self._jobs.drain()
        except OSError as error:
            raise WorkerDied("it was gone before the job") from error
        answer = await self.receive()
        self.jobs_done += 1
        return answer

    async def receive(self) -> dict[str, Any]:
        """The next answer. Raises WorkerDied."""
        try:
            line = await self._answers.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            raise WorkerDied(f"it ended with code {self._process.returncode}") from error
        return answer

    async def kill(self) -> None:
        """End the process, whatever it is doing, and wait until it is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._jobs.close()
        if self._files is not None:
            self._files.close()
        await self._process.wait()
        await self._complaints


async def _log_complaints(stream: asyncio.StreamReader) -> None:
    """Log what the worker prints, which is nothing unless something is wrong."""
    while text := await stream.read(4096):
        for line in text.decode(errors="replace").splitlines():
            logger.warning("worker: %s", line)
