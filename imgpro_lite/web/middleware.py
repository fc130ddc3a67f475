"""What happens around every request, as plain ASGI: its id and log line, its address, and bodies nobody read."""

import asyncio
import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgpro_lite import ids
from imgpro_lite.errors import InternalError, NotFound, Overloaded
from imgpro_lite.logs import log_request
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.tally import NO_ROUTE, Tally
from imgpro_lite.web.hosts import HEALTH_PATH, Hosts, is_page, part_of
from imgpro_lite.web.requests import client_address, runtime
from imgpro_lite.web.responses import CORS_HEADERS, render_error

log = logging.getLogger("imgpro_lite.web")

RETRY_AFTER_STOP_SECONDS = 5  # a restart takes one or two
CLIENT_CLOSED_REQUEST = 499  # nginx's number for "the client went away"; it is only ever logged


class RequestLog:
    """Gives each request an id, writes its line to the log, and turns what nobody expected into a 500 with that id."""

    def __init__(self, app: ASGIApp, tally: Tally | None = None) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._tally is None:
            await self._answer(scope, receive, send)
            return
        self._tally.in_flight += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._tally.in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = time.perf_counter()
        request_id = ids.new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status, sent_bytes = CLIENT_CLOSED_REQUEST, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        request = Request(scope, receive)
        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:  # the server has waited for this request as long as it may
            if status == CLIENT_CLOSED_REQUEST:
                stopping = Overloaded(RETRY_AFTER_STOP_SECONDS, "The server is stopping.")
                await (await render_error(request, stopping))(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            if status == CLIENT_CLOSED_REQUEST:
                answer = await render_error(request, InternalError())
                await answer(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started_at
            if self._tally is not None:
                self._tally.count_request(scope["method"], scope["state"].get("route", NO_ROUTE), status, seconds)
            log_request(
                request_id=request_id,
                client=client_address(request, runtime(request)),
                method=scope["method"],
                path=scope["path"],
                status=status,
                response_bytes=sent_bytes,
                seconds=seconds,
            )


# A refusal that comes before the body was read: up to this much of a body of known length is read and dropped, so that
# clients that only listen after sending (most libraries) see the answer and not a reset connection. More, or a body of
# unknown length, is cut off.
DRAIN_MAX_BYTES = 128 * BYTES_PER_MB
DRAIN_SECONDS = 20
# After cutting off, the connection stays open so long, so that the answer arrives before the reset.
LINGER_SECONDS = 1


class UnreadBody:
    """Deals with the rest of a body when the answer does not need it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        cut_off = False

        async def send_after_body(message: Message) -> None:
            nonlocal cut_off
            if message["type"] == "http.response.start" and not body.complete:
                headers = MutableHeaders(scope=message)
                # An answer that closes the connection by itself is for a client that has fallen silent.
                cut_off = headers.get("connection") == "close" or not await body.drain()
                if cut_off:
                    headers["Connection"] = "close"
            if cut_off and message["type"] == "http.response.body" and not message.get("more_body"):
                await send({**message, "more_body": True})
                await asyncio.sleep(LINGER_SECONDS)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, body.receive, send_after_body)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class _Body:
    """The body of a request: how much of it has come, and what to do with the rest."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        self._declared_bytes = int(declared[:18]) if declared.isascii() and declared.isdigit() else None
        # Such a client sends nothing before it is asked to, and it must not be asked to send what nobody wants.
        self._waits_to_send = headers.get("expect", "").lower() == "100-continue"
        self._receive = receive
        self.complete = False

    async def receive(self) -> Message:
        """The next message of the body, as the application asks for it."""
        message = await self._receive()
        self._waits_to_send = False
        if message["type"] != "http.request" or not message.get("more_body"):
            self.complete = True
        return message

    async def drain(self) -> bool:
        """Read and drop the rest. False when it is too much, or does not come in time."""
        if self._waits_to_send or self._declared_bytes is None or self._declared_bytes > DRAIN_MAX_BYTES:
            return False
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.complete:
                    await self.receive()
        except TimeoutError:
            return False
        return True


# Where the API and image bytes are, after any path prefix is taken off; and what other sites ask for pictures, and
# monitors for health, both without anything private.
_OPEN_TO_ALL_ORIGINS = re.compile(r"/v1/|/[a-z0-9]{5}/[a-z0-9]{14}\.|/(?:oembed|healthz)\Z")


class Cors:
    """Lets pages of any origin read the answers of all that programs use, errors too (decisions 46 and 49)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(CORS_HEADERS)
            await send(message)

        is_open = scope["type"] == "http" and _OPEN_TO_ALL_ORIGINS.match(self._hosts.without_prefix(scope["path"]))
        await self._app(scope, receive, send_with_cors if is_open else send)


class Addresses:
    """Takes off the path prefixes of the configured addresses, and keeps each host to its own part (decision 2)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = self._hosts.without_prefix(scope["path"])
            scope.setdefault("state", {})["is_page"] = path.startswith("/") and is_page(path)
            scope["state"]["is_on_pages_host"] = self._hosts.serve(Headers(scope=scope).get("host", ""), "pages")
            if not path.startswith("/") or not path.isprintable() or not self._is_served(scope, path):
                answer = await render_error(Request(scope), NotFound("There is nothing at this address."))
                await answer(scope, receive, send)
                return
            scope = {**scope, "path": path}
        try:
            await self._app(scope, receive, send)
        finally:
            if isinstance(route := scope.get("route"), Route):
                scope["state"]["route"] = route.path_format

    def _is_served(self, scope: Scope, path: str) -> bool:
        host = Headers(scope=scope).get("host", "")
        return path == HEALTH_PATH or self._hosts.serve(host, part_of(path))
