"""The errors that faults answer with: what the server itself answers for each, as this caller would meet it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite import errors
from imgpro_lite.bodies import KeyFields, parse
from imgpro_lite.dev.fault_table import Fault
from imgpro_lite.errors import ImgProError, KeyLimitReached, QuotaExceeded, RateLimited, Unauthorized
from imgpro_lite.models import Caller
from imgpro_lite.rate_windows import HOUR_SECONDS, MINUTE_SECONDS, Window, rate_limited
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import accounts, limits, uploads
from imgpro_lite.settings import BYTES_PER_MB
from imgpro_lite.web.requests import client_address, identify, rate_subject, read_json_object, runtime
from imgpro_lite.web.responses import render_error, set_standing

# The statuses of each code; the first code of a status is meant where only the status is asked for. Left out are errors
# that any client can have by itself at once (405, 409, 414, 416, 431).
CODES: dict[str, tuple[int, ...]] = {
    "bad_request": (400,),
    "missing_file": (400,),
    "missing_url": (400,),
    "file_too_large": (400,),
    "unsupported_format": (400,),
    "fetch_failed": (400,),
    "unauthorized": (401,),
    "forbidden": (403,),
    "key_limit_reached": (403,),
    "registration_closed": (403,),
    "not_found": (404,),
    "request_timeout": (408,),
    "quota_exceeded": (413,),
    "validation_error": (422,),
    "transform_failed": (422,),
    "rate_limited": (429,),
    "internal_error": (500, 502, 504),  # the last two are what proxies make of a server that fails
    "overloaded": (503,),
    "storage_full": (503,),
}
STATUSES = tuple(sorted({status for statuses in CODES.values() for status in statuses}))
RETRIED = ("rate_limited", "overloaded", "storage_full")
"""The codes whose answers have a Retry-After that can be chosen."""

BUSY_SECONDS = 5  # what the server asks for where it has no better guess
USUAL_LIMIT = 60  # named where the limit is off: once a second

_UPLOADS = frozenset({"/v1/upload", "/v1/import"})
_NEW_KEY = "/v1/keys"

# The errors that are the same for everybody.
_PLAIN: dict[str, Callable[[], ImgProError]] = {
    "bad_request": lambda: errors.BadRequest("The body is not valid JSON."),
    "missing_file": lambda: errors.MissingFile(
        "No file in the request. Send it as multipart/form-data in a field named `file`."
    ),
    "missing_url": errors.MissingUrl,
    "unsupported_format": lambda: errors.UnsupportedFormat("The file is not an image of a supported type."),
    "fetch_failed": lambda: errors.FetchFailed("a fault of dev mode"),
    "unauthorized": errors.Unauthorized,
    "forbidden": errors.Forbidden,
    "not_found": errors.NotFound,
    "request_timeout": lambda: errors.RequestTimeout("The body arrived too slowly, so the request was given up."),
    "validation_error": lambda: errors.ValidationFailed({"name": ["must be valid text"]}),
    "transform_failed": lambda: errors.TransformFailed("This picture cannot be made in that size or format."),
    "internal_error": errors.InternalError,
}


@dataclass(frozen=True)
class _Situation:
    """A request that gets an error, and who sent it. One whose key is wrong is taken for one without: a fault comes
    before anybody looks at keys, as that of a gateway in front of the server would."""

    request: Request
    rt: Runtime
    caller: Caller
    retry_after_seconds: int | None

    @property
    def path(self) -> str:
        return str(self.request.scope["path"])

    @property
    def is_upload(self) -> bool:
        return self.request.method == "POST" and self.path in _UPLOADS


async def render_fault(request: Request, fault: Fault) -> Response:
    """The answer with the error of a fault. It counts for no limit; an upload's says how the caller stands."""
    assert fault.code is not None
    assert fault.status is not None
    rt = runtime(request)
    here = _Situation(request, rt, await _caller(request, rt), fault.retry_after_seconds)
    if here.is_upload and fault.code != Unauthorized.code:
        set_standing(request, limits.standing_of(rt, here.caller))
    answer = await render_error(request, await _error(here, fault.code))
    answer.status_code = fault.status
    return answer


async def _caller(request: Request, rt: Runtime) -> Caller:
    try:
        return await identify(request)
    except Unauthorized:
        return await accounts.identify(rt, None, rate_subject(client_address(request, rt)))


async def _error(here: _Situation, code: str) -> ImgProError:
    match code:
        case "rate_limited":
            return _rate_limited(here)
        case "quota_exceeded":
            return _quota_exceeded(here)
        case "key_limit_reached":
            return await _key_limit_reached(here)
        case "registration_closed":
            return accounts.registration_closed(here.rt)
        case "file_too_large":
            limit_mb = uploads.file_limit_bytes(here.rt.settings, here.caller) // BYTES_PER_MB
            return errors.FileTooLarge(f"The file exceeds the limit of {limit_mb} MB.")
        case "overloaded":
            return errors.Overloaded(BUSY_SECONDS if here.retry_after_seconds is None else here.retry_after_seconds)
        case "storage_full" if here.retry_after_seconds is not None:
            return errors.StorageFull(here.retry_after_seconds)
        case "storage_full":
            return errors.StorageFull()
    return _PLAIN[code]()


def _rate_limited(here: _Situation) -> RateLimited:
    """An attempt too many of the limit that such a request has, whose window ends when the caller may come again."""
    settings, now = here.rt.settings.limits, here.rt.clock.now()
    if here.is_upload and here.caller.anonymous:
        what, limit, window_seconds = "uploads from your address", settings.anonymous_uploads_per_hour, HOUR_SECONDS
    elif here.path == _NEW_KEY:
        what, limit, window_seconds = "new keys from your address", settings.keys_per_ip_per_hour, HOUR_SECONDS
    else:
        what, limit, window_seconds = "requests with this key", settings.requests_per_key_per_minute, MINUTE_SECONDS
    wait_seconds = here.retry_after_seconds
    if wait_seconds is None:
        wait_seconds = window_seconds - now % window_seconds
    window = Window(limit or USUAL_LIMIT, window_seconds, (limit or USUAL_LIMIT) + 1, now + wait_seconds)
    if here.is_upload and here.caller.anonymous:
        set_standing(here.request, replace(limits.standing_of(here.rt, here.caller), hourly=window))
    return rate_limited(window, now, what)


def _quota_exceeded(here: _Situation) -> QuotaExceeded:
    """Of a caller with a key the uploads of the month; without one the storage that strangers share."""
    if here.caller.anonymous:
        return limits.anonymous_storage_full(here.rt, here.rt.allowances.anonymous_storage_bytes)
    usage = limits.usage_of(here.rt, here.caller.team)
    if usage.uploads_limit is not None:
        usage = replace(usage, uploads_used=max(usage.uploads_used, usage.uploads_limit))
    if here.is_upload:
        set_standing(here.request, limits.Standing(usage=usage))
    return limits.uploads_used_up(here.rt, here.caller.team, usage)


async def _key_limit_reached(here: _Situation) -> KeyLimitReached:
    email = here.caller.team.email
    if email is None and here.path == _NEW_KEY:
        with contextlib.suppress(ImgProError):  # what the body is worth is not the question here
            email = parse(KeyFields, await read_json_object(here.request)).email
    return await here.rt.db.read(accounts.key_limit_reached, here.rt, here.caller, email or "")
