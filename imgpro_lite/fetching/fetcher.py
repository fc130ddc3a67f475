"""Fetching an image from a stranger's URL, without being of any use against those who are not on the internet.

    URL → [allowed? → resolve → all addresses public? → turn → dial one of them → header] → redirect, at most three
        → an image's Content-Type → body, piece by piece

Nothing is kept between requests: no cookies, no connections. Proxies of the environment are not used: they would
resolve the name again.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import cached_property

import httpcore2
import httpx2

from imgpro_lite import __version__
from imgpro_lite.authorities import trusting_context
from imgpro_lite.errors import FetchFailed, UnsupportedFormat
from imgpro_lite.fetching.addresses import Address, is_public, parse_address
from imgpro_lite.fetching.internet import DIAL_SECONDS, MAX_DIALS, BoundedStream, Dialled, Internet
from imgpro_lite.fetching.resolver import Resolver
from imgpro_lite.fetching.slots import Slots
from imgpro_lite.fetching.urls import host_of, parse_url, port_of, redirect_target
from imgpro_lite.settings import ImportSettings

MAX_REDIRECTS = 3

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# What the slowest useful origin brings in `idle_seconds`: a byte a second would keep its turn for the whole minute.
MIN_PIECE_BYTES = 1024
# A body in chunks of one byte costs 100 times the processor time of its size. Honest ones have 4 KB and more each; this
# allows an average of 512 bytes, and 1,000 small ones.
FREE_PARTS = 1000
MIN_MEAN_PART_BYTES = 512


class Answer:
    """An answer that says that it is an image. `declared_bytes` is 0 when it does not say its size."""

    def __init__(self, response: httpcore2.Response, parts: AsyncGenerator[bytes, None], idle_seconds: float) -> None:
        self.declared_bytes = int(_header(response, b"content-length") or 0)
        self._parts = parts
        self._idle_seconds = idle_seconds
        self._count = self._read_bytes = 0

    async def read(self) -> bytes:
        """The next bytes of the body, none at its end. Raises FetchFailed when they stop or come too slowly."""
        piece = bytearray()
        with _failures(self._idle_seconds):
            async with asyncio.timeout(self._idle_seconds):
                while len(piece) < MIN_PIECE_BYTES and (part := await anext(self._parts, None)) is not None:
                    piece += part
                    self._count += 1
        self._read_bytes += len(piece)
        if self._count > FREE_PARTS + self._read_bytes / MIN_MEAN_PART_BYTES:
            raise FetchFailed("the body came in too many tiny chunks")
        return bytes(piece)


class Fetcher:
    """Fetches images. `own_hosts` are the host names of this server, which it does not ask."""

    def __init__(self, settings: ImportSettings, own_hosts: frozenset[str], internet: Internet) -> None:
        self._settings = settings
        self._own_hosts = own_hosts
        self._internet = internet
        self._resolver = Resolver(internet.look_up, settings.queue_seconds)
        per_caller = (settings.max_concurrent + 1) // 2  # so that it takes more than one to keep all others waiting
        per_host = settings.max_concurrent_per_host
        self._slots = Slots(settings.max_concurrent, per_caller, per_host, settings.queue_seconds)

    @contextlib.asynccontextmanager
    async def open(self, url: str, caller: str) -> AsyncIterator[Answer]:
        """The answer of a URL, while the block reads it. `caller` is who shares a turn when many wait. Raises
        FetchFailed, UnsupportedFormat and Overloaded."""
        deadline = asyncio.timeout(self._settings.deadline_seconds)
        try:
            async with deadline, self._follow(self._permitted(parse_url(url)), caller) as answer:
                yield answer
        except TimeoutError:
            if deadline.expired():
                raise FetchFailed(f"it took more than {self._settings.deadline_seconds:g} seconds") from None
            raise

    def _permitted(self, url: httpx2.URL) -> httpx2.URL:
        if port_of(url) not in self._settings.ports:
            raise FetchFailed(f"port {port_of(url)} is not in [import] ports")
        if host_of(url) in self._own_hosts:
            raise FetchFailed("the host is this server's own")
        return url

    def _is_allowed(self, address: Address) -> bool:
        allowing = [network for network in self._settings.allow_networks if address in network]
        if any(network.num_addresses == 1 for network in allowing):  # it was named itself
            return True
        return bool(allowing or is_public(address)) and not self._internet.is_own(address)

    @contextlib.asynccontextmanager
    async def _follow(self, url: httpx2.URL, caller: str) -> AsyncIterator[Answer]:
        """The answer at the end of the redirects."""
        for _ in range(MAX_REDIRECTS + 1):
            async with self._connect(url, caller) as stream, self._ask(url, stream) as response:
                if response.status not in _REDIRECTS:
                    _check(response)
                    async with contextlib.aclosing(response.aiter_stream()) as parts:
                        yield Answer(response, parts, self._settings.idle_seconds)
                    return
                location = _header(response, b"location")
            url = self._permitted(redirect_target(url, location or b""))
        raise FetchFailed(f"there are more than {MAX_REDIRECTS} redirects")

    @contextlib.asynccontextmanager
    async def _connect(self, url: httpx2.URL, caller: str) -> AsyncIterator[BoundedStream]:
        """A connection to a URL's host, and a turn as long as it is used. Turns go by address: many names may lead to
        one. There is one at a time, so that nobody holds one while waiting for another."""
        problem = "the host has no address"
        for address in (await self._addresses(url.raw_host.decode("ascii"), caller))[:MAX_DIALS]:
            async with self._slots.take(caller, str(address)):
                try:
                    stream = await self._internet.dial(address, port_of(url))
                except TimeoutError:
                    problem = f"{address} did not answer in {DIAL_SECONDS} seconds"
                except httpcore2.ConnectError as error:
                    problem = f"{address}: {error}"
                else:
                    async with contextlib.aclosing(stream):
                        yield stream
                    return
        raise FetchFailed(f"no connection: {problem}")

    async def _addresses(self, host: str, caller: str) -> list[Address]:
        """The addresses of a host, resolved once and all of them allowed."""
        try:
            found = await self._resolver.resolve(host, caller, self._settings.idle_seconds)
        except TimeoutError:
            raise FetchFailed(f"the resolver was silent for {self._settings.idle_seconds:g} seconds") from None
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

    @contextlib.asynccontextmanager
    async def _ask(self, url: httpx2.URL, stream: BoundedStream) -> AsyncIterator[httpcore2.Response]:
        """The answer of one host, its header complete."""
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", f"imgpro-lite/{__version__}".encode()),
            (b"Accept", b"image/*"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
        ]
        ssl_context = self._ssl_context if url.scheme == "https" else None
        connection = httpcore2.AsyncHTTPConnection(target.origin, ssl_context, network_backend=Dialled(stream))
        try:
            with _failures(self._settings.idle_seconds):
                async with asyncio.timeout(self._settings.idle_seconds):
                    response = await connection.handle_async_request(httpcore2.Request(b"GET", target, headers=headers))
            used = response.extensions["network_stream"]
            if isinstance(used, BoundedStream):  # else the protocol was switched, which is no answer
                used.end_header()
            yield response
        finally:
            await connection.aclose()

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return trusting_context()


@contextlib.contextmanager
def _failures(idle_seconds: float) -> Iterator[None]:
    """Turn whatever goes wrong on a connection into FetchFailed."""
    try:
        yield
    except TimeoutError:
        raise FetchFailed(f"it fell silent, or was slow, for {idle_seconds:g} seconds") from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
        raise FetchFailed(f"the connection failed: {str(error) or type(error).__name__}") from error


def _header(response: httpcore2.Response, name: bytes) -> bytes | None:
    return next((value for given, value in response.headers if given.lower() == name), None)


def _check(response: httpcore2.Response) -> None:
    """Raise FetchFailed for what is no answer, UnsupportedFormat for one that does not say that it is an image."""
    if response.status != 200:
        raise FetchFailed(f"the answer has status {response.status}")
    if (_header(response, b"content-encoding") or b"identity").strip().lower() not in (b"", b"identity"):
        raise FetchFailed("the answer is compressed, although it was asked not to be")
    content_type = (_header(response, b"content-type") or b"").strip().lower()
    if not content_type.startswith(b"image/"):
        raise UnsupportedFormat("The URL did not return an image: its Content-Type must begin with image/.")
