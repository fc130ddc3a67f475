"""Image bytes over HTTP: conditional requests, ranges and caching (RFC 9110 sections 13 and 14, RFC 9111)."""

import asyncio
import os
import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imgpro_lite.errors import NotFound, RangeNotSatisfiable
from imgpro_lite.formats import MEDIA_TYPES, Format, parse_extension
from imgpro_lite.services.making import Variant
from imgpro_lite.services.variants import find_variant, open_variant
from imgpro_lite.web.requests import runtime

# Read and sent at a time: large enough to keep a fast line busy, small enough for hundreds of slow clients at once.
CHUNK_BYTES = 256 * 1024

# An SVG may carry anything that a browser could run or fetch; sanitising is the first lock and this the second.
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


async def image(request: Request) -> Response:
    """GET /{team_hash}/{media_id}.{extension}"""
    rt = runtime(request)
    params = request.path_params
    target = parse_extension(params["extension"])
    if target is None:
        raise NotFound("There is no such image.")
    # Of a size given twice the first counts, as for every other parameter; unknown ones are ignored (decision 42).
    size = request.query_params.getlist("size")[:1]
    wanted = size[0].lower() if size else None
    variant = await find_variant(rt, params["team_hash"], params["media_id"], target, wanted)
    headers = _headers(variant, _max_age_seconds(variant, rt.settings.cache.max_age_seconds, rt.clock.now()))
    if _not_modified(request, variant):
        return Response(status_code=304, headers=headers)
    return _FileAnswer.of(request, variant, await open_variant(rt, variant), headers)


def _max_age_seconds(variant: Variant, most_seconds: int, now: int) -> int:
    """How long others may keep the bytes: never beyond the image's expiry (decision 46)."""
    expires_at = variant.media.expires_at
    return most_seconds if expires_at is None else max(0, min(most_seconds, expires_at - now))


def _headers(variant: Variant, max_age_seconds: int) -> dict[str, str]:
    stem = variant.media.name.rsplit(".", 1)[0] or variant.media.id
    headers = {
        "Content-Type": MEDIA_TYPES[variant.format],
        "ETag": f'"{variant.etag}"',
        "Last-Modified": formatdate(max(0, variant.media.created_at), usegmt=True),
        "Cache-Control": f"public, max-age={max_age_seconds}",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        # RFC 5987: the only place where a caller's text reaches a header.
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(f'{stem}.{variant.format}', safe='')}",
    }
    if variant.format is Format.SVG:
        headers["Content-Security-Policy"] = SVG_POLICY
    return headers


def _not_modified(request: Request, variant: Variant) -> bool:
    """Whether the client's copy is still good. With If-None-Match, If-Modified-Since is ignored (RFC 9110, 13.1.3)."""
    if (tags := request.headers.get("if-none-match")) is not None:
        return tags.strip() == "*" or variant.etag in _ENTITY_TAG.findall(tags)
    since = request.headers.get("if-modified-since")
    try:
        return since is not None and variant.media.created_at <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):
        return False


@dataclass(frozen=True)
class _Span:
    """The bytes to send: from `start` up to but not including `end`."""

    start: int
    end: int


def _requested_span(request: Request, variant: Variant, size_bytes: int) -> _Span | None:
    """The one range that is asked for, or None for the whole file. Raises RangeNotSatisfiable.

    Several ranges get the whole file, which RFC 9110 (14.2) allows, so that nobody can ask for more than there is.
    """
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    validator = request.headers.get("if-range")
    if match is None or (validator is not None and validator != f'"{variant.etag}"') or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last so many bytes
        start, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start = int(match[1])
        end = min(size_bytes, int(match[2]) + 1) if match[2] else size_bytes
        if match[2] and int(match[2]) < start:
            return None  # not a valid range, so it is ignored
    if start >= size_bytes or start == end:
        raise RangeNotSatisfiable(size_bytes)
    return _Span(start, end)


class _FileAnswer(Response):
    """An opened file, or a part of it. Once opened it is sent whole, also when the cache evicts it meanwhile."""

    def __init__(self, descriptor: int, span: _Span, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status_code, headers=headers)
        self._descriptor = descriptor
        self._span = span

    @classmethod
    def of(cls, request: Request, variant: Variant, descriptor: int, headers: dict[str, str]) -> Response:
        """The answer with the bytes of an opened file, which it closes."""
        size_bytes = os.fstat(descriptor).st_size
        try:
            span = _requested_span(request, variant, size_bytes)
        except RangeNotSatisfiable:
            os.close(descriptor)
            raise
        if span is None:
            return cls(descriptor, _Span(0, size_bytes), 200, {**headers, "Content-Length": str(size_bytes)})
        partial = {
            "Content-Range": f"bytes {span.start}-{span.end - 1}/{size_bytes}",
            "Content-Length": str(span.end - span.start),
        }
        return cls(descriptor, span, 206, headers | partial)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_bytes(receive, send)
        finally:
            os.close(self._descriptor)

    async def _send_bytes(self, receive: Receive, send: Send) -> None:
        os.lseek(self._descriptor, self._span.start, os.SEEK_SET)
        left = self._span.end - self._span.start
        # The first chunk is most often the whole of a variant and in the page cache: not worth a thread.
        chunk = os.read(self._descriptor, min(CHUNK_BYTES, left))
        left -= len(chunk)
        if not left:
            await send({"type": "http.response.body", "body": chunk})
            return
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            while chunk and not leaving.done():
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
                if not left:
                    return
                chunk = await asyncio.to_thread(os.read, self._descriptor, min(CHUNK_BYTES, left))
                left -= len(chunk)
            # The client has gone, or the file is shorter than it was: what was promised cannot be sent.
            raise ClientDisconnect
        finally:
            leaving.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
