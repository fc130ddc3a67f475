"""uvicorn's HTTP protocol on httptools, with the limits that it leaves to a proxy.

A connection waits for a head, for the rest of a body, or for its answer to be ready and taken. Each has its limits;
bodies are timed where they are read, in web/requests.py, because only there it is known that somebody waits for them.

A client that closes its side of the connection gets no answer any more, as is uvicorn's way: whether it only sends no
more or has gone looks the same from here, and what an upload or import of one that has gone holds must be free at once.
"""

import asyncio
import enum
import logging
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from imgpro_lite.connections.census import Census
from imgpro_lite.connections.head import MAX_HEAD_BYTES, MAX_TARGET_BYTES, announces_body, check_head, check_size
from imgpro_lite.connections.refusal import UNKNOWN, refusal
from imgpro_lite.connections.upgrade import body_parser
from imgpro_lite.errors import BadRequest, ImgProError, Overloaded, RequestTimeout
from imgpro_lite.tally import Tally
from imgpro_lite.web.requests import CLOSE_EXTENSION

log = logging.getLogger("imgpro_lite.server")

# A client that reads must take this much on average of what waits for it.
MIN_SENT_BYTES_PER_SECOND = 1024

# What may wait for a client before an answer goes on. The default of 64 KB lets a second chunk of a file be added to
# what is left of the first: with 300 clients that read nothing, 40 MB.
MAX_UNSENT_BYTES = 16 * 1024

# After a refusal the connection is read a little longer, and what comes is dropped: a client that is still sending
# would else see a reset and not the answer (RFC 9112, 9.6).
LINGER_SECONDS = 1.0

# Connections over the limit that are told so at the same time; more are closed without a word.
MAX_TURNED_AWAY = 100
RETRY_AFTER_SECONDS = 5  # a page of pictures is loaded by then, and its connections are idle

# Requests that a client may send ahead of the answers. Browsers send none, and some programs a few; one read of the
# socket could bring 14,000, of 2 KB each.
MAX_PIPELINED = 16

# What sizes and extensions of chunks may take: 8 times a chunk of one byte, and some more.
MAX_FRAMING_BYTES, FRAMING_PER_BODY_BYTE = 16 * 1024, 8

_SLASH = ord("/")


@dataclass(frozen=True)
class Door:
    """What all connections share: the limits, and how many there are."""

    census: Census
    head_seconds: float
    reading_seconds: float
    tally: Tally = field(default_factory=Tally)


class _Phase(enum.Enum):
    """What the client has to do next."""

    HEAD = enum.auto()  # begin a request, or go on with its head
    BODY = enum.auto()  # go on with the body
    DONE = enum.auto()  # nothing: the request is here


class Connection(HttpToolsProtocol):
    """One connection. `end_if_overdue` has to be called every moment."""

    def __init__(
        self,
        door: Door,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._is_admitted = False
        self._phase = _Phase.HEAD
        self._head_due_at: float | None = None  # set when it is first seen waiting for a head
        self._received_bytes = 0  # of this request, but for what came in one piece with the one before
        self._body_bytes = 0
        self._known_headers: list[tuple[bytes, bytes]] | None = None
        self._body_behind_upgrade: list[tuple[bytes, bytes]] | None = None  # of such a request, its headers
        self.url = b""
        self._running: RequestResponseCycle | None = None
        self._refused: ImgProError | None = None
        self._ends_at: float | None = None  # set once a refusal is on its way
        self._unsent: _Unsent | None = None

    # ── the transport's calls ──

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Turn it away when there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        self._is_admitted = self._door.census.admit(self._client_host)
        if self._is_admitted:
            self._door.tally.connections += 1
            return
        self._door.tally.connections_refused += 1
        if len(self.connections) > self._door.census.max_connections + MAX_TURNED_AWAY:
            transport.abort()
        else:
            self._refuse(Overloaded(RETRY_AFTER_SECONDS, "The server has too many connections."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another."""
        if self._is_admitted:
            self._door.census.release(self._client_host)
            self._door.tally.connections -= 1
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells only the last that was pipelined
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is no request or too much."""
        if self._refused is not None:
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.DONE:
            self._phase = _Phase.HEAD
        self._received_bytes += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(data[upgrade.args[0] :])
            if self._phase is not _Phase.DONE:
                self._check_unfinished()
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ImgProError) else BadRequest("The request is not valid HTTP/1.1."))
        except ImgProError as error:
            self._refuse(error)

    def resume_writing(self) -> None:
        """The client has taken what was waiting for it."""
        self._unsent = None
        super().resume_writing()

    # ── the parser's calls ──

    def on_headers_complete(self) -> None:
        """Check the head before anybody acts on it."""
        # A client mostly sends the same headers again, and then they need no second look: this is the hot path.
        if self.headers != self._known_headers or self.url[0] != _SLASH or len(self.url) > MAX_TARGET_BYTES:
            self._check_head()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequest(f"More than {MAX_PIPELINED} requests were sent ahead of their answers.")
        HttpToolsProtocol.on_headers_complete(self)
        self._phase = _Phase.BODY
        self._body_bytes = 0
        # Fields behind a chunked body must not become headers of a request that may be under way already.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Count the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing more is expected until the next request begins."""
        if self._body_behind_upgrade is not None:
            return  # the parser says so of the head alone
        HttpToolsProtocol.on_message_complete(self)
        self._phase = _Phase.DONE
        self._head_due_at = None
        self._received_bytes = 0
        self.url = b""  # so that the log shows nothing of this one when the next is no request

    # ── limits ──

    def end_if_overdue(self, now: float) -> None:
        """Close the connection of a client that has had its time; `now` is the loop's."""
        if self._ends_at is not None:
            if now >= self._ends_at:
                self.transport.abort()
            return
        if self._phase is _Phase.HEAD and self._refused is None:
            self._end_if_head_overdue(now)
        elif self._phase is _Phase.BODY and self.cycle.response_complete:
            self.transport.close()  # nobody reads this body, so nobody times it
        size = self.transport.get_write_buffer_size()
        if not size:
            self._unsent = None
        elif self._unsent is None or self._unsent.has_progressed(size, self._running, self._door.reading_seconds):
            self._unsent = _Unsent(size, self._running, now)
        elif now - self._unsent.since >= self._door.reading_seconds:
            log.info("closed the connection of a client that does not read", extra={"client": self._client_host})
            self._reset()

    def _end_if_head_overdue(self, now: float) -> None:
        if self._head_due_at is None or self.flow.read_paused:  # then it is us who let the client wait
            self._head_due_at = now + self._door.head_seconds
        elif now < self._head_due_at:
            return
        elif self._received_bytes:
            seconds = self._door.head_seconds
            self._refuse(RequestTimeout(f"The headers did not arrive within {seconds:g} seconds."))
        else:  # opened ahead of need, as browsers do; an answer without a request would confuse them
            self.transport.close()

    def _check_head(self) -> None:
        check_head(self.parser.get_http_version(), self.url, self.headers, self._received_bytes)
        has_body = announces_body(self.headers)
        self._body_behind_upgrade = self.headers if has_body and self.parser.should_upgrade() else None
        self._known_headers = None if has_body else self.headers

    def _check_unfinished(self) -> None:
        """Neither a head nor the framing of a body may go on for ever."""
        if self._phase is _Phase.HEAD:
            check_size(len(self.url), len(self.headers or ()), self._received_bytes)
            return
        framing_bytes = self._received_bytes - self._body_bytes
        if framing_bytes > MAX_HEAD_BYTES + MAX_FRAMING_BYTES + FRAMING_PER_BODY_BYTE * self._body_bytes:
            raise BadRequest("The chunks of the body are mostly not body.")

    # ── parsing and refusing ──

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on as if the client had not asked for another protocol, which a server may: what follows is the body, or
        another request."""
        while True:
            if self._body_behind_upgrade is not None:
                self.parser = body_parser(self, self._body_behind_upgrade)
                self._body_behind_upgrade = None
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            else:
                return

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.scope["extensions"] = {CLOSE_EXTENSION: {"close": self.transport.close}}
        HttpToolsProtocol._start_asgi_task(self, cycle, app)

    def _refuse(self, error: ImgProError) -> None:
        """Answer with an error and close the connection, reading nothing any more. When answers to requests before
        this one are still to be given, they are the last, and this one gets none."""
        self._refused = error
        if self._phase is _Phase.BODY:  # of a request that somebody may be working on
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.transport.close()
                return
            else:
                self._running = None
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last is not None and not last.response_complete:
            last.keep_alive = False
            return
        self._send_refusal(error)

    def _send_refusal(self, error: ImgProError) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        method = self.parser.get_method().decode() if self.url else UNKNOWN
        self._door.tally.count_unread(method, error)
        self.transport.write(
            refusal(
                error,
                self.server_state.default_headers,
                client=self._client_host,
                method=method,
                target=self.url,
            )
        )
        self._ends_at = self.loop.time() + LINGER_SECONDS
        self.transport.write_eof()
        self.flow.resume_reading()

    def _reset(self) -> None:
        """Close the connection and forget what was not sent, which the system would else keep for minutes."""
        if sys.platform != "win32":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    @property
    def _client_host(self) -> str:
        return self.client[0] if self.client else ""


@dataclass(frozen=True)
class _Unsent:
    """What waited for the client to take it, in answer to what, and since when there was no progress."""

    size_bytes: int
    cycle: RequestResponseCycle | None
    since: float

    def has_progressed(self, size_bytes: int, cycle: RequestResponseCycle | None, seconds: float) -> bool:
        """Whether enough of it has gone. Another answer means so too: none begins while much waits."""
        return cycle is not self.cycle or size_bytes <= self.size_bytes - MIN_SENT_BYTES_PER_SECOND * seconds
