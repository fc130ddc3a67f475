"""The bytes of an image as they were uploaded, from the address that a server gave. No key is sent there."""

import contextlib
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import httpcore2
import httpx2

from imgpro_lite import __version__
from imgpro_lite.client.transfer.errors import Unreachable, Unusable
from imgpro_lite.client.transfer.images import MAX_FILE_BYTES, Image, shown_text
from imgpro_lite.client.transfer.patience import ATTEMPTS, MAX_WAIT_SECONDS, Patience, asked_seconds
from imgpro_lite.client.transfer.reach import Reach
from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching.urls import parse_url, redirect_target
from imgpro_lite.formats import SNIFF_BYTES, Format, parse_extension, sniff

CONNECT_SECONDS = 10
IDLE_SECONDS = 120
# Slower than any line: a server that sends a byte a minute would hold the transfer up for years.
MIN_BYTES_PER_SECOND = 1024
MAX_REDIRECTS = 3

# What `src` shows in another format, for browsers, and how else their extension is written.
_UNSHOWN = {Format.HEIC: ("heic", "heif"), Format.TIFF: ("tiff", "tif"), Format.BMP: ("bmp",)}
_SHOWN_INSTEAD = frozenset({Format.JPEG, Format.PNG})
_NOT_CONNECTED = (httpcore2.ConnectError, httpcore2.ConnectTimeout)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Original:
    """A file with the bytes of an image; it is gone when it is closed, and when the process ends."""

    file: IO[bytes]
    size_bytes: int
    format: Format


class Originals:
    """Fetches the originals of one server's images. Threads may share it."""

    def __init__(
        self, api_server: str, parallel: int, patience: Patience, tls: ssl.SSLContext, *, may_be_converted: bool
    ) -> None:
        """With `may_be_converted`, what browsers are shown is taken where the original cannot be had."""
        self._patience = patience
        self._may_be_converted = may_be_converted
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls, max_connections=parallel, network_backend=Reach(api_server)
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @contextlib.contextmanager
    def open(self, image: Image) -> Iterator[Original]:
        """The original, for the time of the block. Raises TransferError."""
        if not 0 < image.filesize_bytes <= MAX_FILE_BYTES:
            raise Unusable(f"its {image.filesize_bytes:,} bytes are no size of an image")
        with tempfile.TemporaryFile() as file:
            yield self._fetch(image, file)

    def _fetch(self, image: Image, file: IO[bytes]) -> Original:
        """The first of the possible addresses that has as many bytes as the image."""
        src, problem = _parse(image.src), ""
        for url in _candidates(src, image.name):
            what_is_wrong = self._load(url, file, image.filesize_bytes)
            if not what_is_wrong:
                return _checked(url, file)
            if url == src:
                problem = what_is_wrong
        if self._may_be_converted and not self._load(src, file, None):
            return _checked(src, file)
        raise Unusable(f"its original of {image.filesize_bytes:,} bytes cannot be had: {problem}")

    def _load(self, url: httpx2.URL, file: IO[bytes], size_bytes: int | None) -> str:
        """Load the bytes of an address into the file. What is wrong with it, if there are not so many, or not any."""
        attempt = waited_seconds = 0
        while True:
            try:
                with self._follow(url) as response:
                    status, headers = response.status, _headers(response)
                    if status == 200:
                        return self._read(response, headers, file, size_bytes)
            except FetchFailed as error:
                raise Unusable(f"its bytes cannot be fetched: {shown_text(error.reason)}") from None
            except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
                problem = shown_text(error) or type(error).__name__
                kind = Unreachable if isinstance(error, _NOT_CONNECTED) else Unusable
            else:
                if wait_seconds := asked_seconds(status, {}, headers):
                    waited_seconds += wait_seconds
                    if waited_seconds > MAX_WAIT_SECONDS:
                        raise Unusable(f"{shown_text(url.host)} answers {status}, and asks to wait for too long")
                    self._patience.wait(wait_seconds)
                    continue
                if status < 500:
                    return f"{shown_text(url.host)} answers {status}"
                problem, kind = f"it answers {status}", Unusable
            attempt += 1
            if attempt == ATTEMPTS:
                raise kind(f"its bytes cannot be fetched from {shown_text(url.host)}: {problem}")
            self._patience.pause(attempt)

    def _read(
        self, response: httpcore2.Response, headers: dict[str, str], file: IO[bytes], size_bytes: int | None
    ) -> str:
        most_bytes = MAX_FILE_BYTES if size_bytes is None else size_bytes
        declared = headers.get("content-length", "")
        if size_bytes is not None and declared.isdigit() and declared != str(size_bytes):
            return f"there are {shown_text(declared)}"  # not worth loading
        file.seek(0)
        file.truncate()
        deadline = time.monotonic() + IDLE_SECONDS + most_bytes / MIN_BYTES_PER_SECOND
        read_bytes = 0
        for piece in response.iter_stream():
            self._patience.check()
            read_bytes += len(piece)
            if read_bytes > most_bytes:
                return f"there are more than {most_bytes:,}"
            if time.monotonic() > deadline:
                raise httpcore2.ReadTimeout("its bytes come too slowly")
            file.write(piece)
        return f"there are {read_bytes:,}" if size_bytes not in (None, read_bytes) else ""

    @contextlib.contextmanager
    def _follow(self, url: httpx2.URL) -> Iterator[httpcore2.Response]:
        """The answer at the end of the redirects, each of which is checked as it is dialled."""
        for _ in range(MAX_REDIRECTS + 1):
            self._patience.check()
            with self._ask(url) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = _headers(response).get("location", "")
            url = redirect_target(url, location.encode())
        raise FetchFailed(f"there are more than {MAX_REDIRECTS} redirects")

    def _ask(self, url: httpx2.URL) -> "contextlib.AbstractContextManager[httpcore2.Response]":
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", f"imgpro-lite/{__version__}".encode()),
            (b"Accept", b"image/*"),
            (b"Accept-Encoding", b"identity"),
        ]
        timeouts = {"connect": CONNECT_SECONDS, "read": IDLE_SECONDS, "write": IDLE_SECONDS, "pool": None}
        return self._pool.stream("GET", target, headers=headers, extensions={"timeout": timeouts})


def _candidates(src: httpx2.URL, name: str) -> Iterator[httpx2.URL]:
    """The addresses that may have the original, the likeliest first. Formats that browsers do not show are told by no
    field: they are at the address with their own extension, and the image's name often has it too."""
    shown = parse_extension(PurePosixPath(src.path).suffix[1:])
    others = list(_UNSHOWN.items()) if shown in _SHOWN_INSTEAD else []
    named = PurePosixPath(name).suffix[1:].lower()
    likely = [spellings[0] for _, spellings in others if named in spellings]
    yield from (_with_extension(src, extension) for extension in likely)
    yield src
    yield from (_with_extension(src, spellings[0]) for _, spellings in others if spellings[0] not in likely)


def _with_extension(src: httpx2.URL, extension: str) -> httpx2.URL:
    stem, _, _ = src.raw_path.decode("ascii").partition("?")[0].rpartition(".")
    return src.copy_with(raw_path=f"{stem}.{extension}".encode())


def _parse(src: str) -> httpx2.URL:
    try:
        return parse_url(src)
    except FetchFailed as error:
        raise Unusable(f"its bytes cannot be fetched: {error.reason}") from None


def _checked(url: httpx2.URL, file: IO[bytes]) -> Original:
    """The file, if it is an image of the type that its address promises."""
    size_bytes = file.tell()
    file.seek(0)
    found = sniff(file.read(SNIFF_BYTES))
    promised = parse_extension(PurePosixPath(url.path).suffix[1:])
    if found is None or (promised is not None and found is not promised):
        raise Unusable(f"what is at its address is no {promised or 'image'}")
    return Original(file, size_bytes, found)


def _headers(response: httpcore2.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
