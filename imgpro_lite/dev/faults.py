"""Faults on demand: the next requests that match get an error, a delay, or no answer. Here they are asked for."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.bodies import Fields, parse
from imgpro_lite.dev.control import control
from imgpro_lite.dev.fault_answers import CODES, RETRIED, STATUSES
from imgpro_lite.dev.fault_table import ANY_METHOD
from imgpro_lite.dev.guard import is_control
from imgpro_lite.errors import NotFound, ValidationFailed
from imgpro_lite.web.requests import read_json_object
from imgpro_lite.web.responses import JsonAnswer

MAX_DELAY_MS = 60_000  # longer than clients wait by default
MAX_TIMES = 1_000_000  # more than any test sends
MAX_RETRY_AFTER_SECONDS = 366 * 86_400  # longer than any wait of ours: a month
MAX_PATH_CHARS = 2000
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _check_methods(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        methods = tuple(dict.fromkeys(name.upper() for name in names))
        if methods == (ANY_METHOD,) or set(methods) <= set(_METHODS):
            return methods
    raise ValueError(f'must be "*", or one or several of {", ".join(_METHODS)}')


def _check_path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or len(value) > MAX_PATH_CHARS:
        raise ValueError("must be a path that begins with /, such as /v1/upload; * stands for any part of it")
    if "?" in value or "#" in value:
        raise ValueError("must be a path alone: what follows a ? is not looked at")
    if is_control(value):
        raise ValueError("must not be one of the control plane, which has no faults")
    return value


def _check_status(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or value not in STATUSES):
        raise ValueError(f"must be one of {', '.join(map(str, STATUSES))}")
    return None if value is None else int(value)


def _check_code(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in CODES):
        raise ValueError(f"must be one of {', '.join(CODES)}")
    return value


def _check_drop(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if value != "body":
        raise ValueError('must be true, false or "body"')
    return "body"


class FaultFields(Fields):
    """The body of POST /_dev/faults."""

    method: Annotated[tuple[str, ...], BeforeValidator(_check_methods)] = (ANY_METHOD,)
    path: Annotated[str, BeforeValidator(_check_path)]
    status: Annotated[int | None, BeforeValidator(_check_status)] = None
    code: Annotated[str | None, BeforeValidator(_check_code)] = None
    times: int | None = Field(1, ge=1, le=MAX_TIMES)
    delay_ms: int = Field(0, ge=0, le=MAX_DELAY_MS)
    drop: Annotated[bool | Literal["body"], BeforeValidator(_check_drop)] = False
    retry_after_seconds: int | None = Field(None, ge=0, le=MAX_RETRY_AFTER_SECONDS)


async def add_fault(request: Request) -> JsonAnswer:
    """POST /_dev/faults"""
    fields = parse(FaultFields, await read_json_object(request))
    status, code = _choose_error(fields)
    _refuse_contradictions(fields, code)
    fault = control(request).faults.add(
        methods=fields.method,
        path=fields.path,
        status=status,
        code=code,
        times=fields.times,
        delay_ms=fields.delay_ms,
        drop=fields.drop,
        retry_after_seconds=fields.retry_after_seconds,
    )
    return JsonAnswer(fault.as_json(), 201)


async def list_faults(request: Request) -> JsonAnswer:
    """GET /_dev/faults"""
    return JsonAnswer({"faults": [fault.as_json() for fault in control(request).faults.list()]})


async def clear_faults(request: Request) -> Response:
    """DELETE /_dev/faults"""
    control(request).faults.clear()
    return Response(status_code=204)


async def remove_fault(request: Request) -> Response:
    """DELETE /_dev/faults/{fault_id}"""
    if not control(request).faults.remove(request.path_params["fault_id"]):
        raise NotFound("There is no such fault.")
    return Response(status_code=204)


def _choose_error(fields: FaultFields) -> tuple[int | None, str | None]:
    """The status and code of the error, of which one is enough to ask for. Raises ValidationFailed."""
    if fields.code is None:
        usual = next((code for code, statuses in CODES.items() if fields.status in statuses), None)
        return fields.status, usual
    statuses = CODES[fields.code]
    if fields.status not in (None, *statuses):
        raise ValidationFailed({"code": [f"{fields.code} has the status {' or '.join(map(str, statuses))}"]})
    return fields.status or statuses[0], fields.code


def _refuse_contradictions(fields: FaultFields, code: str | None) -> None:
    problems: dict[str, list[str]] = {}
    if code is None and not fields.delay_ms and fields.drop is False:
        problems["body"] = ["must ask for something: status or code, delay_ms or drop"]
    if fields.drop is True and code is not None:
        problems["drop"] = ['leaves no answer that could have a status or code; "body" breaks it off']
    if fields.retry_after_seconds is not None and code not in RETRIED:
        problems["retry_after_seconds"] = [f"is for {', '.join(RETRIED)} only"]
    if problems:
        raise ValidationFailed(problems)
