"""The world outside: what of it is used, and connections that cannot be led astray."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2

from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching.addresses import Address, is_own
from imgpro_lite.fetching.resolver import LookUp, look_up

# Of a name with many addresses, how many are tried, and how long each: the next one is often of the other family, and
# where IPv6 leads nowhere, the import still has time for IPv4.
MAX_DIALS = 3
DIAL_SECONDS = 3

# Servers send 1 to 8 KB. h11 ends a header at 100 KB, but not a flood of `100 Continue`, each of which it reads anew.
MAX_HEADER_BYTES = 64 * 1024
HEADER_READ_BYTES = 16 * 1024


@dataclass(frozen=True)
class Internet:
    """What fetching uses of the system: its resolver, connections to addresses, and which addresses it has itself."""

    look_up: LookUp = look_up
    dialer: httpcore2.AsyncNetworkBackend = field(default_factory=httpcore2.AnyIOBackend)
    is_own: Callable[[Address], bool] = is_own

    async def dial(self, address: Address, port: int) -> "BoundedStream":
        """A connection to an address that was checked. Raises httpcore2.ConnectError and TimeoutError."""
        async with asyncio.timeout(DIAL_SECONDS):
            return BoundedStream(await self.dialer.connect_tcp(str(address), port))


class Dialled(httpcore2.AsyncNetworkBackend):
    """What an HTTP connection takes for the network: the one connection that is there already. So no name is resolved
    again, and what was checked is what is spoken to; the request and TLS keep the name."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """The connection."""
        return self._stream


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
