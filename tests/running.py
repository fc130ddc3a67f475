"""The installed command as an operator runs it: a process of its own, with its standard output and error."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2

WAIT_SECONDS = 30  # for what happens within a second; only a hanging test waits so long
BOUNDARY = "a-boundary-for-tests"


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "imgpro_lite", *args]


def environment() -> dict[str, str]:
    """Ours, without any settings of the one who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IMGPRO_")}


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def run(directory: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end; its output is text."""
    return subprocess.run(
        command(*args), cwd=directory, env=environment(), capture_output=True, text=True, timeout=WAIT_SECONDS
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@dataclass
class Running:
    """A server that listens."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    data_dir: Path
    port: int = 0
    connections: list["Connection"] = field(default_factory=list)

    @classmethod
    def start(cls, directory: Path, **options: Any) -> Self:
        """`spawn`, and wait until the server listens."""
        server = cls.spawn(directory, **options)
        assert server.is_ready(), server.stderr
        return server

    @classmethod
    def spawn(
        cls,
        directory: Path,
        *,
        config: str = "",
        args: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> Self:
        """Serve `data` below the directory on a free port, with an imgpro.toml of the given text."""
        (directory / "imgpro.toml").write_text(f"[imaging]\nworkers = 1\n{config}", encoding="utf-8")
        data_dir = directory / "data"
        with (directory / "stdout").open("wb") as stdout, (directory / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [*wrapper, *command("serve", "--port", "0", "--data-dir", str(data_dir), *args)],
                cwd=directory,
                env=environment() | (env or {}),
                stdout=stdout,
                stderr=stderr,
            )
        return cls(process, directory, data_dir)

    def is_ready(self) -> bool:
        """Wait until it listens: True, or False when it has ended before that."""
        until(lambda: "curl" in self.stdout or '"url"' in self.stdout or self.process.poll() is not None)
        found = re.search(r"http://[a-z.]+:([0-9]+)", self.stdout)
        if found:
            self.port = int(found[1])
        return found is not None

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """The processes that the server has started."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for path in children for pid in path.read_text(encoding="ascii").split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def get(self, address: str, **options: Any) -> Any:
        """GET a path, or an address that an answer gave."""
        path = address.removeprefix(f"http://localhost:{self.port}")
        return httpx2.get(self.url + path, timeout=WAIT_SECONDS, trust_env=False, **options)

    def upload(self, content: Any, **options: Any) -> Any:
        files = {"file": ("photo.jpg", content)}
        return httpx2.post(f"{self.url}/v1/upload", files=files, timeout=WAIT_SECONDS, trust_env=False, **options)

    def connect(self) -> "Connection":
        connection = Connection(socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS))
        self.connections.append(connection)
        return connection

    def close(self) -> None:
        """Leave nothing behind, however the test ended."""
        for connection in self.connections:
            connection.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


Start = Callable[..., Running]


@contextlib.contextmanager
def servers(directory: Path) -> Iterator[Start]:
    """Start servers, one after the other, all on the same data."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Running:
            server = Running.start(directory, **options)
            stack.callback(server.close)
            return server

        yield start


class Connection:
    """A client that speaks HTTP byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = b""

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_upload_head(self, *headers: str) -> None:
        """The request line and headers of an upload, up to the blank line."""
        lines = [
            "POST /v1/upload HTTP/1.1",
            "Host: localhost",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            *headers,
        ]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def read_head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer, also of one that only says to go on."""
        while b"\r\n\r\n" not in self._received:
            data = self._sock.recv(65_536)
            assert data, f"closed after {self._received!r}"
            self._received += data
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split()[1]), {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }

    def read_json(self) -> tuple[int, dict[str, Any]]:
        """The next answer with its JSON body."""
        status, headers = self.read_head()
        while len(self._received) < int(headers["content-length"]):
            data = self._sock.recv(65_536)
            assert data, "closed within the body"
            self._received += data
        body = self._received[: int(headers["content-length"])]
        self._received = self._received[len(body) :]
        return status, json.loads(body)

    def read_to_end(self) -> bytes:
        """What still comes until the server closes the connection."""
        received, self._received = self._received, b""
        while data := self._sock.recv(65_536):
            received += data
        return received

    def ends_by_reset(self) -> bool:
        """Read what still comes; whether the server broke it off."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            return True
        return False

    def set_receive_buffer(self, size_bytes: int) -> None:
        """How much may wait here to be read."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)

    def set_timeout(self, seconds: float) -> None:
        """How long to wait for the next bytes."""
        self._sock.settimeout(seconds)

    def close(self) -> None:
        self._sock.close()


def form(content: bytes, filename: str = "photo.jpg") -> bytes:
    """The body of an upload."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def chunk(data: bytes) -> bytes:
    """A piece of a body without length."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
