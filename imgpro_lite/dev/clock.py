"""The clock of dev mode: read, set, advanced. Everything that depends on time follows (decision 50)."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request

from imgpro_lite.bodies import Fields, parse
from imgpro_lite.clock import MovableClock
from imgpro_lite.dev.control import control
from imgpro_lite.errors import ValidationFailed
from imgpro_lite.fields import check_date
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.sweeper import sweep
from imgpro_lite.store.dev_dir import DevDir
from imgpro_lite.web.requests import read_json_object, runtime
from imgpro_lite.web.responses import JsonAnswer

# Dates beyond the year 9000 do not fit where something is added to them: a ttl may be a hundred years.
LATEST_UNIX_SECONDS = 221_845_392_000
_UNIT_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
_MAX_STEP = 10**9  # in any unit more than a century, and far from what arithmetic or JSON cannot hold


class Moment(Fields):
    """The body of PUT /_dev/clock."""

    now: Annotated[int, BeforeValidator(check_date)]


class Step(Fields):
    """The body of POST /_dev/clock/advance. What is given is added up."""

    seconds: int = Field(0, ge=0, le=_MAX_STEP)
    minutes: int = Field(0, ge=0, le=_MAX_STEP)
    hours: int = Field(0, ge=0, le=_MAX_STEP)
    days: int = Field(0, ge=0, le=_MAX_STEP)


async def get_clock(request: Request) -> JsonAnswer:
    """GET /_dev/clock"""
    return JsonAnswer(describe(control(request).clock))


async def set_clock(request: Request) -> JsonAnswer:
    """PUT /_dev/clock. It goes on from there."""
    moment = parse(Moment, await read_json_object(request))
    return JsonAnswer(await move(request, moment.now, "now"))


async def advance_clock(request: Request) -> JsonAnswer:
    """POST /_dev/clock/advance"""
    step = parse(Step, await read_json_object(request))
    seconds = sum(getattr(step, unit) * length for unit, length in _UNIT_SECONDS.items())
    return JsonAnswer(await move(request, control(request).clock.now() + seconds, "seconds"))


async def move(request: Request, at: int, field: str) -> dict[str, Any]:
    """Set the clock to a Unix time, and do what has become due. Raises ValidationFailed, naming a field."""
    if not 0 <= at <= LATEST_UNIX_SECONDS:
        raise ValidationFailed({field: ["must lead to a date from 1970 to the year 9000"]})
    clock = control(request).clock
    clock.set(at)
    rt = runtime(request)
    dev_dir = DevDir(rt.settings.data_dir.absolute())
    await asyncio.to_thread(dev_dir.write_offset_seconds, clock.offset_seconds)
    await follow_clock(rt)
    return describe(clock)


async def follow_clock(rt: Runtime) -> None:
    """Do what has become due, so that the next request meets it done."""
    rt.hot.clear()
    rt.rate_windows.forget_ended(rt.clock.now())
    await sweep(rt)
    rt.mail.queued.set()  # mail whose next attempt is due


def describe(clock: MovableClock) -> dict[str, Any]:
    """The clock as the control plane shows it."""
    now = clock.now()
    text = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"now": now, "iso": text, "offset_seconds": clock.offset_seconds}
