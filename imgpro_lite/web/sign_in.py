"""Signing in with an API key or a mailed link, and out again."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite import links
from imgpro_lite.errors import Unauthorized
from imgpro_lite.services import sessions
from imgpro_lite.services.sessions import Session
from imgpro_lite.web.cookies import set_cookie
from imgpro_lite.web.page_answer import PageAnswer
from imgpro_lite.web.page_forms import link_token
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import (
    DASHBOARD,
    Visit,
    get_visit,
    go_to,
    own_path,
    read_own_form,
    signed_in_page,
    visitor_address,
)

UNPROCESSABLE = 422
GONE = 410
_MINUTES = links.SIGN_IN_SECONDS // 60


async def show_sign_in(request: Request) -> Response:
    """GET /dashboard/sign-in"""
    visit, target = await get_visit(request), own_path(request, request.query_params.get("next"))
    return go_to(request, target) if visit.caller else _sign_in_page(request, visit, target)


async def sign_in(request: Request) -> Response:
    """POST /dashboard/sign-in"""
    visit, form = await read_own_form(request)
    target = own_path(request, form.get("next"))
    if "email" in form:
        return await _mail_link(request, visit, target, form["email"])
    try:
        session = await sessions.sign_in_with_key(
            runtime(request), form.get("key", "").strip(), visitor_address(request)
        )
    except Unauthorized:
        problem = "This key does not work here. Keys begin with img_live_ and were shown once, when they were made."
        return _sign_in_page(request, visit, target, UNPROCESSABLE, key_problem=problem)
    return await _signed_in(request, visit, session, target)


async def _mail_link(request: Request, visit: Visit, target: str, email: str) -> PageAnswer:
    rt = runtime(request)
    try:
        asked = await sessions.mail_link(rt, email, visitor_address(request))
    except ValueError:
        problem = "This is not an e-mail address."
        return _sign_in_page(request, visit, target, UNPROCESSABLE, email_problem=problem)
    context = {**vars(asked), "has_mail": rt.has_mail, "link_minutes": _MINUTES}
    return signed_in_page(request, visit, "sign_in_mailed.html", context)


async def show_link(request: Request) -> PageAnswer:
    """GET /dashboard/sign-in/link, which signs nobody in: scanners of mail fetch links."""
    visit, token = await get_visit(request), link_token(request)
    asked = await sessions.get_sign_in(runtime(request), token)
    if asked.is_used:
        return signed_in_page(request, visit, "sign_in_used.html", {}, GONE)
    return signed_in_page(request, visit, "sign_in_link.html", {"token": token, "email": asked.team.email})


async def follow_link(request: Request) -> Response:
    """POST /dashboard/sign-in/link"""
    visit, form = await read_own_form(request)
    try:
        session = await sessions.sign_in_with_link(runtime(request), form.get("t", ""), visitor_address(request))
    except Unauthorized:
        return signed_in_page(request, visit, "sign_in_used.html", {}, GONE)
    return await _signed_in(request, visit, session, DASHBOARD)


async def sign_out(request: Request) -> Response:
    """POST /dashboard/sign-out"""
    visit, _ = await read_own_form(request)
    rt = runtime(request)
    await sessions.sign_out(rt, visit.session)
    answer = go_to(request, f"{DASHBOARD}/sign-in")
    set_cookie(answer, rt, sessions.begin_visit(rt))
    return answer


def _sign_in_page(request: Request, visit: Visit, target: str, status_code: int = 200, **problems: str) -> PageAnswer:
    context: dict[str, Any] = {"target": target, "key_problem": "", "email_problem": "", **problems}
    return signed_in_page(request, visit, "sign_in.html", context, status_code)


async def _signed_in(request: Request, visit: Visit, session: Session, target: str) -> Response:
    """On to a page, with a new session: one that somebody else may have prepared is never signed in. The one before, if
    there was any, ends: its cookie is overwritten, so nobody could sign out of it any more."""
    rt = runtime(request)
    await sessions.sign_out(rt, visit.session)
    answer = go_to(request, target)
    set_cookie(answer, rt, session)
    return answer
