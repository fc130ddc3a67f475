"""The first page of the control plane: what time it is, what was mailed, who is there, and buttons to change it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from imgpro_lite.bodies import parse
from imgpro_lite.dev import clock, snapshots, state
from imgpro_lite.dev.control import control
from imgpro_lite.dev.mail_pages import own_links, same_origin_forms
from imgpro_lite.dev.mailbox import mailbox
from imgpro_lite.dev.teams import show_teams
from imgpro_lite.errors import BadRequest
from imgpro_lite.store.snapshot_files import list_snapshots
from imgpro_lite.web.page_answer import page, pages
from imgpro_lite.web.page_forms import read_form
from imgpro_lite.web.page_text import count
from imgpro_lite.web.requests import runtime

# What a screen has room for. Programs get all of it.
MAX_MAILS = 5
MAX_TEAMS = 20
MAX_FAULTS = 20
_UNITS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
_MAX_DIGITS = 10  # of the seconds of a button; more than any has


async def show_index(request: Request) -> Response:
    """GET /_dev"""
    request.state.is_page = True
    rt, turned = runtime(request), control(request)
    mails = await mailbox(request).list_mails()
    async with turned.traffic.request():
        teams = await show_teams(rt)
        kept = await asyncio.to_thread(list_snapshots, state.dev_dir_of(rt).snapshots)
    faults = turned.faults.list()
    context = {
        "now": turned.clock.now(),
        "offset": offset_text(turned.clock.offset_seconds),
        "mails": [(mail, own_links(request, mail)) for mail in mails[: -MAX_MAILS - 1 : -1]],
        "mails_in_all": len(mails),
        "teams": teams[: -MAX_TEAMS - 1 : -1],
        "teams_in_all": len(teams),
        "faults": faults[-MAX_FAULTS:],
        "faults_in_all": len(faults),
        "snapshots": [snapshot.name for snapshot in kept],
    }
    return same_origin_forms(page(request, "dev/index.html", context))


def offset_text(seconds: int) -> str:
    """How far the clock is from the real time, for people: `31 days and 1 hour ahead of the real time`."""
    if not seconds:
        return "the real time"
    rest, parts = abs(seconds), []
    for unit, unit_seconds in _UNITS.items():
        amount, rest = divmod(rest, unit_seconds)
        if amount:
            parts.append(count(amount, unit))
    return f"{' and '.join(parts[:2])} {'ahead of' if seconds > 0 else 'behind'} the real time"


async def act(request: Request) -> Response:
    """POST /_dev: what a button of the page asks for"""
    request.state.is_page = True
    form = await read_form(request)
    action = _ACTIONS.get(form.get("do", ""))
    if action is None:
        raise BadRequest("No button of this page asks for that.")
    await action(request, form)
    return RedirectResponse(f"{pages(request).base_path}/_dev", 303)


async def _advance(request: Request, form: dict[str, str]) -> None:
    text = form.get("seconds", "")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else -1
    step = parse(clock.Step, {"seconds": seconds})
    await clock.move(request, control(request).clock.now() + step.seconds, "seconds")


async def _go_back_to_real_time(request: Request, form: dict[str, str]) -> None:
    turned = control(request).clock
    await clock.move(request, turned.now() - turned.offset_seconds, "now")


async def _empty_outbox(request: Request, form: dict[str, str]) -> None:
    await mailbox(request).remove_all()


async def _end_faults(request: Request, form: dict[str, str]) -> None:
    control(request).faults.clear()


async def _keep(request: Request, form: dict[str, str]) -> None:
    await state.take(runtime(request), control(request), snapshots.folder_of(request, form.get("name", "")))


async def _restore(request: Request, form: dict[str, str]) -> None:
    snapshot = snapshots.get(snapshots.folder_of(request, form.get("name", "")))
    await state.restore(runtime(request), control(request), snapshot)


async def _reset(request: Request, form: dict[str, str]) -> None:
    await state.reset(runtime(request), control(request), seed=True)


_ACTIONS: Mapping[str, Callable[[Request, dict[str, str]], Awaitable[Any]]] = {
    "advance": _advance,
    "real_time": _go_back_to_real_time,
    "empty_outbox": _empty_outbox,
    "end_faults": _end_faults,
    "keep": _keep,
    "restore": _restore,
    "reset": _reset,
}
