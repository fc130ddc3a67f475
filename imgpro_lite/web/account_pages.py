"""The keys and the settings of the team that is signed in: plain forms."""

import re

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite import ids
from imgpro_lite.errors import BadRequest, Forbidden, ValidationFailed
from imgpro_lite.models import Ability, Caller
from imgpro_lite.services import own_team
from imgpro_lite.services.accounts import NewKey
from imgpro_lite.services.limits import verify_resend_url
from imgpro_lite.services.upload_helpers import upload_helpers
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import (
    DASHBOARD,
    Visit,
    get_visit,
    go_to,
    go_to_sign_in,
    read_form_for,
    signed_in_page,
)

_FORM_ID = re.compile(r"[0-9a-f]{32}")


async def show_keys(request: Request) -> Response:
    """GET /dashboard/keys"""
    visit = await get_visit(request)
    if visit.caller is None:
        return go_to_sign_in(request)
    _refuse_lesser(visit)
    return await _keys_page(request, visit)


def _refuse_lesser(visit: Visit) -> None:
    """Raise Forbidden for who may not look after the account."""
    if not visit.keeps_account:
        raise Forbidden("Your key may not look after keys and settings: that takes one that may both read and write.")


async def _read_form(request: Request) -> tuple[Visit, Caller, dict[str, str]]:
    """A form of these pages, from who may look after the account. Raises Forbidden, RateLimited."""
    visit, caller, form = await read_form_for(request, Ability.WRITE)
    _refuse_lesser(visit)
    return visit, caller, form


async def create_key(request: Request) -> Response:
    """POST /dashboard/keys"""
    visit, caller, form = await _read_form(request)
    abilities = frozenset(ability for ability in Ability if form.get(ability) == "on")
    form_id = form.get("form_id", "")
    if not _FORM_ID.fullmatch(form_id):
        raise BadRequest("Load the page of your keys again, and use its form.")
    try:
        new = await own_team.create_key_once(runtime(request), caller, form_id, form.get("name", ""), abilities)
    except ValidationFailed as error:
        return await _keys_page(request, visit, form=form, problems=error.errors)
    return await _keys_page(request, visit, new) if new else go_to(request, f"{DASHBOARD}/keys?again=1")


async def revoke_key(request: Request) -> Response:
    """POST /dashboard/keys/revoke"""
    _, caller, form = await _read_form(request)
    await own_team.revoke_key(runtime(request), caller, form.get("key_id", ""))
    return go_to(request, f"{DASHBOARD}/keys")


async def _keys_page(
    request: Request,
    visit: Visit,
    new: NewKey | None = None,
    *,
    form: dict[str, str] | None = None,
    problems: dict[str, list[str]] | None = None,
) -> Response:
    """The keys, with the one that was just made; or with a form that is to be mended."""
    rt, caller = runtime(request), visit.caller
    assert caller is not None
    assert caller.key is not None
    keys = await own_team.list_keys(rt, caller)
    context = {
        "section": "keys",
        "keys": [key for key in keys if key.session_ends_at is None],
        "sign_ins": [key for key in keys if key.session_ends_at is not None],
        "own_key_id": caller.key.key_id,
        "abilities": list(Ability),
        "new": new,
        "is_again": request.query_params.get("again") == "1",
        "form_id": ids.new_token_id(),
        "form": form,
        "problems": problems,
        "helpers": list(upload_helpers().values()) if new and Ability.WRITE in new.key.abilities else [],
        "verify_url": None if caller.team.verified else verify_resend_url(rt, caller.team.email or ""),
    }
    return signed_in_page(request, visit, "keys.html", context, 422 if problems else 200)


async def show_settings(request: Request) -> Response:
    """GET /dashboard/settings"""
    visit = await get_visit(request)
    if visit.caller is None:
        return go_to_sign_in(request)
    _refuse_lesser(visit)
    context = {
        "section": "settings",
        "team": visit.caller.team,
        "is_closed_for_all": runtime(request).settings.server.registration_closed,
        "is_saved": request.query_params.get("saved") == "1",
    }
    return signed_in_page(request, visit, "settings.html", context)


async def save_settings(request: Request) -> Response:
    """POST /dashboard/settings"""
    _, caller, form = await _read_form(request)
    choice = {"open": False, "closed": True}.get(form.get("registration", ""))
    if choice is None:
        raise BadRequest("Choose one of the two.")
    await own_team.set_registration(runtime(request), caller, closed=choice)
    return go_to(request, f"{DASHBOARD}/settings?saved=1")
