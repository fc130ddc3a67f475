"""Answers: JSON, errors in the contract's shape, and the headers that say what a caller has left."""

import logging
import re
from typing import Any

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from imgpro_lite import ids
from imgpro_lite.errors import Duplicate, ImgProError, InternalError, MethodNotAllowed, NotFound
from imgpro_lite.services.limits import Standing
from imgpro_lite.web.page_answer import error_page
from imgpro_lite.web.presenters import present_fixed, present_media
from imgpro_lite.web.requests import runtime

_HEADER_NAMES = re.compile(r"[\w!#$%&'+.^`|~-]+(?:\s*,\s*[\w!#$%&'+.^`|~-]+)*", re.ASCII)

log = logging.getLogger("imgpro_lite.web")


class JsonAnswer(Response):
    """A JSON body, which no browser takes for anything else. Answers of the API are nobody's to keep, so proxies are
    told not to."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        fixed = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        super().__init__(content, status_code, {**fixed, **(headers or {})})

    def render(self, content: Any) -> bytes:
        # A third of the time that the standard library takes for a page of a list.
        return to_json(content, inf_nan_mode="null")


def set_standing(request: Request, standing: Standing) -> None:
    """Have every answer to this request, errors too, say how the caller stands with its limits (decision 20)."""
    request.state.standing = standing


def limit_headers(request: Request) -> dict[str, str]:
    """Quota headers for a caller with a key, rate headers for one without. A limit that there is not has none."""
    standing: Standing = getattr(request.state, "standing", Standing())
    headers: dict[str, int] = {}
    if (usage := standing.usage) is not None:
        if usage.uploads_limit is not None:
            headers["X-Monthly-Uploads-Used"] = usage.uploads_used
            headers["X-Monthly-Uploads-Limit"] = usage.uploads_limit
            headers["X-Monthly-Uploads-Remaining"] = max(0, usage.uploads_limit - usage.uploads_used)
        if usage.storage_limit_bytes is not None:
            headers["X-Storage-Used"] = usage.storage_used_bytes
            headers["X-Storage-Limit"] = usage.storage_limit_bytes
            headers["X-Storage-Remaining"] = max(0, usage.storage_limit_bytes - usage.storage_used_bytes)
    if (hourly := standing.hourly) is not None and hourly.limit:
        headers["X-RateLimit-Limit"] = hourly.limit
        headers["X-RateLimit-Remaining"] = hourly.remaining
        headers["X-RateLimit-Reset"] = hourly.resets_at
    if (daily := standing.daily) is not None and daily.limit:
        headers["X-RateLimit-Limit-Daily"] = daily.limit
        headers["X-RateLimit-Remaining-Daily"] = daily.remaining
    return {name: str(value) for name, value in headers.items()}


# Pages of any origin may use the API with a key: there is nothing that a browser would send by itself (decision 49).
CORS_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
CORS_REQUEST_HEADERS = "Authorization, Content-Type"
CORS_EXPOSED_HEADERS = ", ".join(
    [
        "X-Monthly-Uploads-Used",
        "X-Monthly-Uploads-Limit",
        "X-Monthly-Uploads-Remaining",
        "X-Storage-Used",
        "X-Storage-Limit",
        "X-Storage-Remaining",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "X-RateLimit-Limit-Daily",
        "X-RateLimit-Remaining-Daily",
        "Retry-After",
        "X-Request-Id",
    ]
)
# On every answer of the API and with image bytes, errors too (decisions 46 and 49).
CORS_HEADERS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": CORS_EXPOSED_HEADERS}
PREFLIGHT_SECONDS = 7200  # the most that Chromium keeps a preflight's answer


def preflight_headers(request: Request) -> dict[str, str]:
    """What a browser asks before a request to another origin (Fetch standard, "CORS-preflight fetch")."""
    if "access-control-request-method" not in request.headers:
        return {}
    asked_for = request.headers.get("access-control-request-headers", "")
    return {
        "Access-Control-Allow-Methods": CORS_METHODS,
        "Access-Control-Allow-Headers": asked_for if _HEADER_NAMES.fullmatch(asked_for) else CORS_REQUEST_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        "Vary": "Access-Control-Request-Headers",
    }


async def render_error(request: Request, error: Exception) -> Response:
    """Any refusal: a page where people are, else JSON in the contract's shape (decision 47)."""
    assert isinstance(error, ImgProError)
    runtime(request).tally.count_refusal(error)
    if error.status >= 500 and not isinstance(error, InternalError):  # whoever raised that one has logged why
        # Being busy is no riddle: a flood that is refused must not cost more by its tracebacks.
        shown = error if error.__cause__ is not None else None
        extra = {"request_id": request.state.request_id}
        log.warning("answered %s: %s", error.code, error.message, exc_info=shown, extra=extra)
    # The rest of a body may be waited for before the answer goes out; what was read so far must not stay in memory.
    # The frames themselves are left alone: they may be of another request that gets the same exception.
    error.__traceback__ = None
    if getattr(request.state, "is_page", False):
        return error_page(request, error)
    body = error.body()
    if isinstance(error, Duplicate):
        # Both ways, because the contract says it both ways (decision 35).
        rt = runtime(request)
        body = present_fixed(rt, error.media, owner=True) | body
        body["media"] = present_media(rt, error.media, owner=True)
    return JsonAnswer(body, error.status, {**limit_headers(request), **error.headers})


async def render_unexpected(request: Request, error: Exception) -> Response:
    """What failed outside of the middleware that knows how to tell it; whoever calls the application logs it."""
    return JsonAnswer(InternalError().body(), InternalError.status, {"X-Request-Id": ids.new_request_id()})


async def render_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own 404 and 405, in the same shape."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = _allowed_methods(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed, **preflight_headers(request)})
        message = f"{request.method} is not possible here. Possible: {allowed}."
        return await render_error(request, MethodNotAllowed(message, headers={"Allow": allowed}))
    return await render_error(request, NotFound("There is nothing at this address."))


def _allowed_methods(request: Request) -> str:
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))
