"""Image bytes over HTTP: what an address stands for, how long it may be kept, and what goes into memory."""

import math
import os
from email.utils import formatdate
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import NotFound, RangeNotSatisfiable
from imgpro_lite.formats import MEDIA_TYPES, Format, parse_extension
from imgpro_lite.hot_answers import KEEP_SECONDS, MAX_ANSWER_BYTES, HotAnswer
from imgpro_lite.models import Media
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.making import Variant
from imgpro_lite.services.variants import find_variant, open_variant
from imgpro_lite.web.conditions import Span, is_not_modified, requested_span
from imgpro_lite.web.file_answer import FileAnswer, read_whole
from imgpro_lite.web.hot import may_be_hot
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.responses import CORS_HEADERS

# An SVG may carry anything that a browser could run or fetch; sanitising is the first lock and this the second.
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"

# A cache in nginx gives out the same headers as long as it keeps an answer: a minute in the README's configuration, and
# this much in anybody's.
PROXY_SECONDS = 3600


async def image(request: Request) -> Response:
    """GET /{team_hash}/{media_id}.{extension}"""
    rt = runtime(request)
    generation = rt.hot.generation
    params = request.path_params
    target = parse_extension(params["extension"])
    if target is None:
        raise NotFound("There is no such image.")
    # Of a size given twice the first counts, as for every other parameter; unknown ones are ignored (decision 42).
    size = request.query_params.getlist("size")[:1]
    wanted = size[0].lower() if size else None
    variant = await find_variant(rt, params["team_hash"], params["media_id"], target, wanted)
    if "range" not in request.headers:  # memory is not asked for parts
        rt.tally.memory_misses += 1
    if is_not_modified(request.headers, variant.etag, variant.media.created_at):
        return Response(status_code=304, headers=_headers(request, variant))
    descriptor = await open_variant(rt, variant)
    headers = _headers(request, variant)  # now, because making it may have taken seconds of the time that is left
    size_bytes = os.fstat(descriptor).st_size
    try:
        span = requested_span(request.headers, variant.etag, size_bytes)
    except RangeNotSatisfiable:
        os.close(descriptor)
        raise
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size_bytes}"
        headers["Content-Length"] = str(span.end - span.start)
        return FileAnswer(descriptor, span, 206, headers)
    headers = {"Content-Length": str(size_bytes), **headers}
    if size_bytes > MAX_ANSWER_BYTES:
        return FileAnswer(descriptor, Span(0, size_bytes), 200, headers)
    return _small_answer(request, variant, descriptor, headers, generation)


def _small_answer(
    request: Request, variant: Variant, descriptor: int, headers: dict[str, str], generation: int
) -> Response:
    """The whole file at once, which from now on is kept in memory too."""
    try:
        body = read_whole(descriptor, int(headers["Content-Length"]))
    finally:
        os.close(descriptor)
    rt = runtime(request)
    good_until = _good_until(rt, variant)
    if may_be_hot(request.scope) and good_until > rt.clock.now():
        key = (request.scope["raw_path"], request.scope["query_string"])
        fields = {**headers, **CORS_HEADERS}
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
        rt.hot.put(key, HotAnswer(variant.media.id, variant.etag, encoded, body, good_until), generation)
    return Response(b"" if request.method == "HEAD" else body, headers=headers)


def _good_until(rt: Runtime, variant: Variant) -> int:
    """Unix seconds up to which the answer stays the same."""
    return int(min(rt.clock.now() + KEEP_SECONDS, _changes_at(rt, variant.media)))


def _changes_at(rt: Runtime, media: Media) -> float:
    """Unix seconds from which on nobody may give out an answer again as it was: its max-age would be too long."""
    if media.expires_at is None:
        return math.inf
    return media.expires_at - rt.settings.cache.max_age_seconds - PROXY_SECONDS


def max_age_seconds(rt: Runtime, media: Media) -> int:
    """How long others may keep the bytes: never beyond the image's expiry (decision 46)."""
    most_seconds = rt.settings.cache.max_age_seconds
    expires_at = media.expires_at
    return most_seconds if expires_at is None else max(0, min(most_seconds, expires_at - rt.clock.now()))


def _headers(request: Request, variant: Variant) -> dict[str, str]:
    rt = runtime(request)
    # Links of pages for downloading have this parameter; it changes no byte, so no cached file either (decision 42).
    disposition = "attachment" if "download" in request.query_params else "inline"
    # Who knows the address of a private image sees it, but only its team is told what it is called.
    stem = (variant.media.public and variant.media.name.rsplit(".", 1)[0]) or variant.media.id
    headers = {
        "Content-Type": MEDIA_TYPES[variant.format],
        "ETag": f'"{variant.etag}"',
        "Last-Modified": formatdate(max(0, variant.media.created_at), usegmt=True),
        "Cache-Control": f"public, max-age={max_age_seconds(rt, variant.media)}",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        # RFC 5987: the only place where a caller's text reaches a header.
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(f'{stem}.{variant.format}', safe='')}",
    }
    if rt.clock.now() >= _changes_at(rt, variant.media):
        headers["X-Accel-Expires"] = "0"  # to nginx in front of us, which takes it off
    if variant.format is Format.SVG:
        headers["Content-Security-Policy"] = SVG_POLICY
    return headers
