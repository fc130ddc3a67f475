"""A throw-away server: a process of its own, with a data directory of its own, that ends with this one."""

import io
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from imgpro_lite.ids import new_api_key

# A server is ready within a second; on a machine that is busy with something else it has taken ten.
START_SECONDS = 60
STOP_SECONDS = 10
SEED_NAME = "seed.toml"
# Nothing in it is worth a reserve, but other programs use the disk too. It is often a small one of containers.
SMALL_MIN_FREE_MB = 8

LOG_BYTES = 20_000  # of the log, so much is shown: a traceback and what led to it

_NEW_GROUP = 0x00000200  # CREATE_NEW_PROCESS_GROUP of Windows

# What a start that is over within a second can do without. A configuration file that is given decides instead.
_SMALL = {
    "IMGPRO_IMAGING_WORKERS": "1",
    "IMGPRO_STORAGE_RESERVE_MB": "0",
    "IMGPRO_STORAGE_MIN_FREE_MB": str(SMALL_MIN_FREE_MB),
    "IMGPRO_SERVER_SHUTDOWN_SECONDS": "1",
}


class ServerFailed(Exception):
    """The server did not start, or has ended. The message has what it said last."""


@dataclass
class ServerProcess:
    """A server that listens. `close` it, or use it as a context manager."""

    process: "subprocess.Popen[bytes]"
    log: "Log"
    facts: dict[str, Any] = field(default_factory=dict)
    """What `serve --print-json` has printed."""
    key: str = ""
    """A key that works, also after a reset: the first one that the seed names, or else one of a verified team."""

    @classmethod
    def start(cls, *, seed: Path | None = None, config: Path | None = None, log: Path | None = None) -> Self:
        """A server on a free port, ready for requests, with the hosted API's defaults or those of a configuration file.

        Neither ./imgpro.toml nor IMGPRO_ variables count, so that a suite does the same everywhere. The log goes to a
        file if one is given, and is kept for `ServerFailed` otherwise. Raises ServerFailed.
        """
        logged = Log(log)
        seeded_key = find_seed_key(seed) if seed else None
        command = _command(seed, config)
        key = seeded_key or new_api_key()
        command += [] if seeded_key else ["--with-key", key]
        server = cls(_spawn(command, _environment(config), logged.file), logged, key=key)
        try:
            server.facts = json.loads(server._first_line())
        except BaseException:
            server.close()
            raise
        return server

    def _first_line(self) -> bytes:
        assert self.process.stdout is not None
        overdue = threading.Timer(START_SECONDS, self.process.kill)
        overdue.start()
        try:
            line = self.process.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            code = self.process.wait()
            raise ServerFailed(self._with_log(f"The imgpro-lite server did not start (exit status {code})."))
        return line

    @property
    def base_url(self) -> str:
        """Where the API is."""
        url: str = self.facts["url"]
        return url

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise ServerFailed when it does not run any more."""
        code = self.process.poll()
        if code is not None:
            raise ServerFailed(self._with_log(f"The imgpro-lite server has ended (exit status {code})."))

    def _with_log(self, message: str) -> str:
        text = self.log.read_end().strip()
        return f"{message}\n{text}" if text else message

    def close(self) -> None:
        """Stop it and return when it is gone, with all that it kept."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if sys.platform != "win32":  # where it would be a kill; the end of standard input does
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Log:
    """What a server writes to standard error: in a file of a given name, or in one that is gone with the process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            descriptor, name = tempfile.mkstemp(prefix="imgpro-lite-", suffix=".log")
            os.close(descriptor)
            self._path = Path(name)
        assert self._path is not None
        self.file: BinaryIO = self._path.open("ab")
        # A terminal or pipe, such as /dev/stderr, has shown everything already and cannot be read.
        is_file = stat.S_ISREG(os.fstat(self.file.fileno()).st_mode)
        self._reader: BinaryIO = self._path.open("rb") if is_file else io.BytesIO()
        self._shown_bytes = self._reader.seek(0, os.SEEK_END)
        self._is_temporary = path is None
        if self._is_temporary and sys.platform != "win32":  # which cannot remove open files
            self._path.unlink()

    def read_new(self) -> str:
        """What was written since the last call."""
        self._reader.seek(self._shown_bytes)
        content = self._reader.read()
        self._shown_bytes += len(content)
        return content.decode(errors="replace")

    def read_end(self) -> str:
        """The last of it."""
        end = self._reader.seek(0, os.SEEK_END)
        self._reader.seek(max(0, end - LOG_BYTES))
        return self._reader.read().decode(errors="replace")

    def close(self) -> None:
        """Remove it, unless it has a name of somebody's choice."""
        self.file.close()
        self._reader.close()
        if self._is_temporary and self._path is not None:
            self._path.unlink(missing_ok=True)


def find_seed_key(folder: Path) -> str | None:
    """The first key that a seed folder names, if it names one. What is wrong with it, the server says."""
    try:
        seed = tomllib.loads((folder / SEED_NAME).read_text(encoding="utf-8-sig"))
        first = next((key for team in seed.get("team", []) for key in team.get("keys", [])), None)
        return first["key"] if isinstance(first, dict) else first
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None


def _command(seed: Path | None, config: Path | None) -> list[str]:
    flags = ["--dev", "--temporary", "--stop-with-stdin", "--print-json", "--port", "0"]
    flags += ["--config", str(config or os.devnull)]
    flags += ["--seed", str(seed)] if seed else []
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "imgpro_lite"]
    return [*program, "serve", *flags]


def _environment(config: Path | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMGPRO_")}
    return inherited | ({} if config else _SMALL)


def _spawn(command: list[str], environment: dict[str, str], log: BinaryIO) -> "subprocess.Popen[bytes]":
    # In a group of its own: Ctrl-C is for the tests, which may need the server to the end.
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=sys.platform != "win32",
        creationflags=_NEW_GROUP if sys.platform == "win32" else 0,
    )
