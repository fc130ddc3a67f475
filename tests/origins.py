"""The internet in tests: names that lead to this machine's loopback, sites that do as they are told, and canaries."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpcore2
from images import make_image

from imgpro_lite.fetching.internet import Internet

ORIGIN_ADDRESS = "127.0.0.2"  # where sites are; settings allow this one address
ORIGIN_NAME = "images.example"
PICTURE = make_image("png", 8, 6)

Talk = Callable[[socket.socket], None]
Page = bytes | Talk


def answer(body: bytes = PICTURE, *headers: str, status: str = "200 OK", content_type: str = "image/png") -> bytes:
    """A whole answer with its length, unless the headers say something about the body's size themselves."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding", "x-no-length")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    return answer(b"", f"Location: {location}", status=f"{status} Elsewhere")


@dataclass
class Origin:
    """A web site. `pages` are bytes to send, or functions that talk; paths with none are 404."""

    listener: socket.socket
    tls: ssl.SSLContext | None = None
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """The heads of the requests so far."""

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def url(self, path: str, host: str = ORIGIN_NAME) -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def serve(self) -> None:
        """Answer until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server hung up
            sock.settimeout(30)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := sock.recv(65_536)):
                    break
                head += data
            if head:
                self.requests.append(head.decode("latin-1"))
                page = self.pages.get(head.split()[1].decode("latin-1"), answer(b"", status="404 Not Found"))
                page(sock) if callable(page) else sock.sendall(page)
        with contextlib.suppress(OSError):
            sock.close()


def listen(address: str, port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(128)
    return listener


@contextlib.contextmanager
def origin(address: str = ORIGIN_ADDRESS, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Origin]:
    """A web site on a loopback address, on a free port unless one is given."""
    with listen(address, port) as listener:
        site = Origin(listener, tls)
        thread = threading.Thread(target=site.serve, daemon=True)
        thread.start()
        yield site
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        thread.join(10)


@dataclass
class Canaries:
    """Listeners that nobody may ever connect to."""

    listeners: list[socket.socket]

    def count(self) -> int:
        """How many connections have come to them since the last count."""
        found = 0
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    found += 1
        return found


@contextlib.contextmanager
def canaries(port: int, addresses: Iterable[str]) -> Iterator[Canaries]:
    """Listeners at a port of many loopback addresses; those that this machine does not have are left out."""
    with contextlib.ExitStack() as stack:
        listeners = []
        for address in addresses:
            with contextlib.suppress(OSError):
                listeners.append(stack.enter_context(listen(address, port)))
        for listener in listeners:
            listener.setblocking(False)
        yield Canaries(listeners)


class FakeInternet(httpcore2.AnyIOBackend):
    """Resolves names from a table and numbers as the system does, and dials for real, but only on this machine."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {ORIGIN_NAME: [ORIGIN_ADDRESS]}
        self.next_names: dict[str, list[str]] = {}
        """What a name leads to once it has been asked for."""
        self.asked: list[str] = []
        self.dialled: list[str] = []
        self.resolves = threading.Event()
        """When it is set, names that lead to "never" get their answer: none."""
        self.own: set[str] = set()
        """Public addresses that this machine is said to have."""

    @property
    def internet(self) -> Internet:
        return Internet(self.look_up, self, lambda address: str(address) in self.own)

    def look_up(self, host: str) -> list[str]:
        """The addresses of a name. Nothing is ever sent for it."""
        self.asked.append(host)
        if self.names.get(host) == ["never"]:
            self.resolves.wait()
            return []
        if (known := self.names.get(host.rstrip("."))) is not None:
            self.names |= {name: later for name, later in self.next_names.items() if name == host}
            return known
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(one[4][0]) for one in found]

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        """A connection to loopback. Whatever else is dialled is noted and refused, and no packet leaves."""
        self.dialled.append(host)
        if host != "::1" and not host.startswith("127."):
            raise httpcore2.ConnectError("Connection refused")
        return await super().connect_tcp(host, port, *args, **options)
