"""Clients that hold as many connections as the server gives out, and send or read no more than they must.

All come from this machine, which may have all connections; elsewhere it would take four addresses.
"""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import fetch, post_image
from benchmarks.harness import Row, Server, at_most, imgpro, owner_key, photograph, scratch

CONNECTIONS = 900  # of the 1,000 that there are
HEALTH_CHECKS = 100
GOAL_SERVER_MB = 250.0
GOAL_P99_MS = 250.0
ORIGINAL_BYTES = 5_000_000

# Enough for a slow client; what it sends beyond what the server takes at once must not hold this program up.
SEND_SECONDS = 0.05

_FORM = b"Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: 1000000\r\n\r\n--cut\r\n"
_PART = b'Content-Disposition: form-data; name="%s"\r\n\r\n'
_FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n\xff\xd8\xff\xe0'

KINDS = {
    "that send nothing": b"",
    "that send half a head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 31_000,
    "that send half a form": b"POST /v1/upload HTTP/1.1\r\nHost: localhost\r\n"
    + _FORM
    + (_PART % b"a" + b"a" * 60_000 + b"\r\n--cut\r\n" + _PART % b"b" + b"a" * 60_000),
    "that send half a file": b"POST /v1/upload HTTP/1.1\r\nHost: localhost\r\n" + _FORM + _FILE + b"a" * 500_000,
    "that send half a JSON": b"POST /v1/keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    + b" " * 900_000,
}


def run() -> Iterator[Row | str]:
    """For each kind of client, the most memory that the server had, and how long others waited."""
    with scratch() as folder:
        for number, (kind, data) in enumerate(KINDS.items()):
            with imgpro(folder / str(number), log=folder / "log") as server:
                yield from _measure(server, kind, data)
        yield from _read_nothing(folder)


def _read_nothing(folder: Path) -> Iterator[Row]:
    content = photograph(folder / "photo.jpg", 1).read_bytes() + random.Random(1).randbytes(ORIGINAL_BYTES)
    with imgpro(folder / "readers", log=folder / "log") as server:
        address, _seconds = post_image(server.url, owner_key(folder / "readers"), content)
        path = urlsplit(address).path
        yield from _measure(
            server, "that read nothing", f"GET {path}.jpeg HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )


def _measure(server: Server, kind: str, data: bytes) -> Iterator[Row]:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("localhost", urlsplit(server.url).port)))
            connection.settimeout(SEND_SECONDS)
            with suppress(OSError):
                connection.sendall(data)
        answers = [fetch(f"{server.url}/healthz") for _ in range(HEALTH_CHECKS)]
        assert {answer.status for answer in answers} == {200}
        waited_ms = sorted(answer.seconds * 1000 for answer in answers)
        yield at_most(f"server with {CONNECTIONS} clients {kind}", server.peak_rss_mb(), "MB", GOAL_SERVER_MB)
        p99_ms = waited_ms[HEALTH_CHECKS * 99 // 100 - 1]
        yield at_most(f"p99 of /healthz with clients {kind}", p99_ms, "ms", GOAL_P99_MS)
