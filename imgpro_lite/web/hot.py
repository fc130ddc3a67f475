"""The short way: what is hot is answered from memory, ahead of the router, without SQL, threads or files.

The guards are those of the long way, which every first request has gone: same hosts, same conditions, same log line.
"""

import logging
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from imgpro_lite import ids
from imgpro_lite.hot_answers import HotAnswer
from imgpro_lite.logs import ACCESS_LOGGER, log_request
from imgpro_lite.runtime import Runtime
from imgpro_lite.settings import Settings
from imgpro_lite.tally import Tally
from imgpro_lite.web.conditions import is_match
from imgpro_lite.web.hosts import Hosts
from imgpro_lite.web.requests import client_address

_METHODS = ("GET", "HEAD")

_HOT_QUERIES = (b"", b"size=s", b"size=m", b"size=l")

# Requests with any of these headers go the long way: parts of a file, and bodies that nobody expects.
_COLD_HEADERS = frozenset({b"range", b"content-length", b"transfer-encoding"})

_access_log = logging.getLogger(ACCESS_LOGGER)


class HotPath:
    """Sends hot answers; everything else goes on to the application."""

    def __init__(self, app: ASGIApp, settings: Settings, tally: Tally | None = None) -> None:
        self._app = app
        self._tally = tally
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS or scope["query_string"] not in _HOT_QUERIES:
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        rt: Runtime = scope["app"].state.runtime
        answer = rt.hot.find((scope["raw_path"], scope["query_string"]), rt.clock.now())
        # Of a header that comes twice the first counts, as on the long way.
        headers = dict(reversed(scope["headers"])) if answer else {}
        if answer is None or not self._is_hot(headers):
            await self._app(scope, receive, send)
            return
        status, body = _select(answer, scope, headers)
        request_id = ids.new_request_id()
        # Without its first, the length of a body that is not sent.
        fields = answer.headers if status == 200 else answer.headers[1:]
        with_id = [*fields, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": status, "headers": with_id})
        await send({"type": "http.response.body", "body": body})
        is_logged = _access_log.isEnabledFor(logging.INFO)
        if self._tally is None and not is_logged:
            return
        seconds = time.perf_counter() - started_at
        if self._tally is not None:
            self._tally.count_hot(scope["method"], status, seconds)
        if is_logged:
            # A client that is gone by now has no address.
            is_plain = scope["client"] and b"x-forwarded-for" not in headers
            log_request(
                request_id=request_id,
                client=scope["client"][0] if is_plain else client_address(Request(scope), rt),
                method=scope["method"],
                path=scope["path"],
                status=status,
                response_bytes=len(body),
                seconds=seconds,
            )

    def _is_hot(self, headers: dict[bytes, bytes]) -> bool:
        if not _COLD_HEADERS.isdisjoint(headers):
            return False
        if b"if-modified-since" in headers and b"if-none-match" not in headers:
            return False
        return self._hosts.serve(headers.get(b"host", b"").decode("latin-1"), "src")


def may_be_hot(scope: Scope) -> bool:
    """Whether an address is spelled as ours are. Many other spellings mean the same (decision 42), but go the long way,
    so that nobody can fill the memory with them."""
    path: bytes = scope["raw_path"]
    return scope["query_string"] in _HOT_QUERIES and b"%" not in path and path.rpartition(b"/")[2].islower()


def _select(answer: HotAnswer, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, bytes]:
    """Status and body for this client."""
    tags = headers.get(b"if-none-match")
    if tags is not None and is_match(tags.decode("latin-1"), answer.etag):
        return 304, b""
    return 200, b"" if scope["method"] == "HEAD" else answer.body
