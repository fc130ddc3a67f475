"""Who looks at a page, and pages for those who are signed in: their session, and forms that nobody else can send."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Match

from imgpro_lite.errors import Forbidden
from imgpro_lite.models import Ability, Caller
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import accounts, sessions
from imgpro_lite.services.sessions import Session
from imgpro_lite.web.cookies import read_session, says_where_from, set_cookie
from imgpro_lite.web.hosts import is_page
from imgpro_lite.web.page_answer import PageAnswer, pages
from imgpro_lite.web.page_forms import read_form
from imgpro_lite.web.requests import client_address, rate_subject, runtime

SEE_OTHER = 303  # a form's answer that is fetched with GET (RFC 9110, 15.4.4)
DASHBOARD = "/dashboard"
# One of our own paths, without the prefix of the public address: nothing that a browser could take for another host.
_OWN_PATH = re.compile(r"/(?:[a-z0-9-]+(?:/[a-z0-9-]+)*)?(?:\?[A-Za-z0-9=&%+_.~-]*)?")
MAX_PATH_CHARS = 1024

_OLD_FORM = (
    "This form was not sent from a page of yours, or it is too old. Nothing was changed. Go back, load the page again "
    "and send it once more; your browser must accept cookies."
)


@dataclass(frozen=True)
class Visit:
    """A browser that looks at a page, and who is signed in there; None when nobody is."""

    session: Session
    caller: Caller | None

    def can(self, ability: Ability) -> bool:
        """Whether the one who is signed in may do this."""
        return self.caller is not None and self.caller.key is not None and ability in self.caller.key.abilities

    @property
    def keeps_account(self) -> bool:
        """Whether the one who is signed in sees and changes the team's keys and settings. They tell its address, where
        each key was made and who signed in from where: more than a key that only reads, which may be published, or one
        that only uploads, shows through the API."""
        return self.can(Ability.READ) and self.can(Ability.WRITE)


def visitor_address(request: Request) -> str:
    """Where a visitor is, as rate limits count it."""
    return rate_subject(client_address(request, runtime(request)))


async def get_visit(request: Request) -> Visit:
    """Whose browser this is, by its cookie alone: what a page shows, and never what a request changes."""
    rt = runtime(request)
    session = read_session(request, rt)
    if session is None:
        return Visit(sessions.begin_visit(rt), None)
    return Visit(session, await sessions.find_caller(rt, session, visitor_address(request)))


def about_browser(request: Request) -> dict[str, Any]:
    """What a page needs to say so where its scripts could do nothing for who is signed in, and where they could."""
    public_url = runtime(request).public_url
    return {
        "is_untold": not says_where_from(request),
        "https_url": public_url if public_url.startswith("https://") else "",
    }


def signed_in_page(
    request: Request,
    visit: Visit,
    template: str,
    context: dict[str, Any],
    status_code: int = 200,
    policy: Mapping[str, str] | None = None,
) -> PageAnswer:
    """A page of the dashboard, with what its forms and scripts need. The session lasts longer by it. `policy` has
    directives that replace those of the Content-Security-Policy."""
    rt = runtime(request)
    context = {
        "csrf_token": sessions.csrf_token(rt, visit.session),
        "caller": visit.caller,
        "can_read": visit.can(Ability.READ),
        "can_write": visit.can(Ability.WRITE),
        "keeps_account": visit.keeps_account,
        **about_browser(request),
        **context,
    }
    policy = {"script-src": "'self'", "connect-src": "'self'", **pages(request).picture_policy, **(policy or {})}
    answer = PageAnswer(pages(request).render(template, context), status_code, policy=policy)
    set_cookie(answer, rt, visit.session)
    return answer


async def read_own_form(request: Request) -> tuple[Visit, dict[str, str]]:
    """A form of one of our pages that was sent by the browser which got it. Raises Forbidden for any other."""
    form = await read_form(request)
    rt, session = runtime(request), read_session(request, runtime(request))
    # Old browsers do not say, nor do new ones without TLS; the token alone is enough.
    is_ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    if session is None or not is_ours:
        raise Forbidden(_OLD_FORM)
    take_csrf_token(rt, session, form)
    return Visit(session, await sessions.find_caller(rt, session, visitor_address(request))), form


def take_csrf_token(rt: Runtime, session: Session, form: dict[str, str]) -> None:
    """Take the token that our page gave it out of a form. Raises Forbidden where it is not that of the session."""
    if not sessions.is_csrf_token(rt, session, form.pop("csrf", "")):
        raise Forbidden(_OLD_FORM)


async def read_form_for(request: Request, ability: Ability) -> tuple[Visit, Caller, dict[str, str]]:
    """The same from somebody who is signed in and may do this. Raises Forbidden, RateLimited."""
    visit, form = await read_own_form(request)
    if visit.caller is None:
        raise Forbidden("You are not signed in any more. Nothing was changed.")
    accounts.authorize(runtime(request), visit.caller, ability)
    return visit, visit.caller, form


def own_path(request: Request, path: str | None) -> str:
    """Where to go after signing in: a page of ours that can be shown, else the dashboard."""
    if not path or len(path) > MAX_PATH_CHARS or not _OWN_PATH.fullmatch(path):
        return DASHBOARD
    asked_for = {"type": "http", "method": "GET", "path": path.partition("?")[0]}
    can_be_shown = any(route.matches(asked_for)[0] is Match.FULL for route in request.app.routes)
    is_to_sign_in = asked_for["path"].startswith(f"{DASHBOARD}/sign-in")
    return path if is_page(asked_for["path"]) and can_be_shown and not is_to_sign_in else DASHBOARD


def go_to(request: Request, path: str) -> RedirectResponse:
    """Have a browser GET one of our pages. The address has no host, so nobody else's can get into it (decision 2)."""
    address = pages(request).base_path + path
    return RedirectResponse(address, SEE_OTHER, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def go_to_sign_in(request: Request) -> RedirectResponse:
    """Have a visitor sign in, and then come back to the page that was asked for."""
    query = f"?{request.url.query}" if request.url.query else ""
    return go_to(
        request, f"{DASHBOARD}/sign-in?{urlencode({'next': own_path(request, request.scope['path'] + query)})}"
    )
