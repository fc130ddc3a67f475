"""The world outside: names become addresses, every one of them is checked, and those that were checked are dialled."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2

from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching.addresses import Address, is_own, parse_address

# Of a name with many addresses, how many are tried, and how long each: the next one is often of the other family, and
# where IPv6 leads nowhere, the import still has time for IPv4.
MAX_DIALS = 3
DIAL_SECONDS = 3

# Servers send 1 to 8 KB. h11 ends a header at 100 KB, but not a flood of `100 Continue`, each of which it reads anew.
MAX_HEADER_BYTES = 64 * 1024
HEADER_READ_BYTES = 16 * 1024

# Addresses of a name, as text. Raises OSError.
Resolve = Callable[[str], Awaitable[list[str]]]


async def resolve(host: str) -> list[str]:
    """The addresses that the system's resolver has for a name, best first. Raises OSError.

    In a thread of its own that nothing waits for at the end: a name server that does not answer holds it for half a
    minute, and must hold neither the threads that write files nor the end of the server. As every import gives up
    before, there are never many.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str], error: OSError | None) -> None:
        if not found.done():
            found.set_exception(error) if error else found.set_result(addresses)

    def look_up() -> None:
        addresses, problem = [], None
        try:
            # As bytes: text would go through Python's own, older IDNA once more.
            answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
            addresses = [str(answer[4][0]) for answer in answers]
        except (OSError, ValueError) as error:
            problem = OSError(f"{error}")
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle, addresses, problem)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    return await found


@dataclass(frozen=True)
class Internet:
    """What fetching uses of the system: its resolver, connections to addresses, and which addresses it has itself."""

    resolve: Resolve = resolve
    dialer: httpcore2.AsyncNetworkBackend = field(default_factory=httpcore2.AnyIOBackend)
    is_own: Callable[[Address], bool] = is_own


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connections to hosts all of whose addresses are allowed. A name is resolved once, so what was checked is what is
    dialled; the request and TLS keep the name."""

    def __init__(self, internet: Internet, is_allowed: Callable[[Address], bool]) -> None:
        self._internet = internet
        self._is_allowed = is_allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection. Raises FetchFailed."""
        addresses = await self._addresses(host)
        problem = "the host has no address"
        for address in addresses[:MAX_DIALS]:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    return BoundedStream(await self._internet.dialer.connect_tcp(str(address), port))
            except TimeoutError:
                problem = f"{address} did not answer in {DIAL_SECONDS} seconds"
            except httpcore2.ConnectError as error:
                problem = f"{address}: {error}"
        raise FetchFailed(f"no connection: {problem}")

    async def _addresses(self, host: str) -> list[Address]:
        try:
            found = await self._internet.resolve(host)
        except OSError as error:
            raise FetchFailed(f"the host is not known: {error}") from None
        addresses = []
        for text in dict.fromkeys(found):
            address = parse_address(text)
            # One is enough: an honest name does not mix public addresses with others.
            if address is None or not self._is_allowed(address):
                raise FetchFailed(f"the host has the address {text}, which is not public or is this machine's own")
            addresses.append(address)
        return addresses


class BoundedStream(httpcore2.AsyncNetworkStream):
    """A connection that brings no more than MAX_HEADER_BYTES before `end_header` is called. Raises FetchFailed then."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._header_bytes_left: int | None = MAX_HEADER_BYTES

    def end_header(self) -> None:
        """What comes from now on is somebody else's to limit."""
        self._header_bytes_left = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes, or none at the end."""
        if self._header_bytes_left is None:
            return await self._stream.read(max_bytes, timeout)
        if self._header_bytes_left <= 0:
            raise FetchFailed(f"the answer's header has more than {MAX_HEADER_BYTES // 1024} KB")
        data = await self._stream.read(min(max_bytes, HEADER_READ_BYTES), timeout)
        self._header_bytes_left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """The same connection, encrypted."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What the connection tells about itself."""
        return self._stream.get_extra_info(info)
