"""The gallery of the team that is signed in. Every page of it is whole without scripts; with them it goes on by itself
and changes images, over the API."""

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.bodies import ListFields, parse
from imgpro_lite.errors import ValidationFailed
from imgpro_lite.formats import Format
from imgpro_lite.models import Ability, Caller, Media
from imgpro_lite.plans import month_ends_at
from imgpro_lite.services import accounts, library, limits
from imgpro_lite.services.library import Page
from imgpro_lite.web.cookies import says_where_from
from imgpro_lite.web.page_answer import pages
from imgpro_lite.web.presenters import picture_stem
from imgpro_lite.web.requests import query_values, runtime
from imgpro_lite.web.session import DASHBOARD, Visit, get_visit, go_to_sign_in, signed_in_page
from imgpro_lite.web.snippets import address
from imgpro_lite.web.upload_page import upload_policy

FILTER_NAMES = ("namespace", "tags", "tag_mode")
# As suggestions while typing; the API lists all of them, the largest first.
MAX_NAMESPACES = 200
# Every tile is a still picture, also of an animation, and keeps its transparency. Browsers that the dashboard's scripts
# work in (they send Sec-Fetch-Site) show it.
TILE_FORMAT, TILE_SIZE = Format.AVIF, "s"


async def show_dashboard(request: Request) -> Response:
    """GET /dashboard"""
    rt, visit = runtime(request), await get_visit(request)
    if visit.caller is None:
        return go_to_sign_in(request)
    if not visit.can(Ability.READ):
        return signed_in_page(request, visit, "dashboard_write_only.html", {"section": "gallery"})
    accounts.authorize(rt, visit.caller, Ability.READ)
    problems: dict[str, list[str]] = {}
    values, _ = query_values(request, (*FILTER_NAMES, "cursor"), joined="tags")
    try:
        found = await library.list_media(rt, visit.caller, parse(ListFields, values))
    except ValidationFailed as error:
        found, problems = Page([], None), error.errors
    context = {
        **await _account(request, visit, visit.caller),
        **_gallery(request, found, {name: values[name] for name in FILTER_NAMES if name in values}),
        "problems": problems,
        "is_first": "cursor" not in values,
        "here_again": urlencode({"next": f"{DASHBOARD}?{request.url.query}".rstrip("?")}),
        # Changing images takes scripts, which the API takes nothing from where the browser does not say whose they are.
        "can_write": visit.can(Ability.WRITE) and says_where_from(request),
    }
    status_code = 422 if problems else 200
    return signed_in_page(request, visit, "dashboard.html", context, status_code, upload_policy(request))


def _gallery(request: Request, found: Page, wanted: dict[str, str]) -> dict[str, Any]:
    """The tiles, what they were chosen by, and where there are more."""
    more_url = f"{pages(request).base_path}{DASHBOARD}?{urlencode({**wanted, 'cursor': found.cursor or ''})}"
    return {
        "section": "gallery",
        "tiles": [(media, tile_url(request, media)) for media in found.items],
        "more_url": more_url if found.cursor else None,
        "cursor": found.cursor or "",
        "src_base": pages(request).src_base,
        "filter": {name: wanted.get(name, "") for name in FILTER_NAMES},
        "is_filtered": bool(wanted.get("namespace") or wanted.get("tags")),
    }


def tile_url(request: Request, media: Media) -> str:
    """A small still picture of an image."""
    return address(picture_stem(pages(request).src_base, media), TILE_FORMAT, TILE_SIZE)


async def _account(request: Request, visit: Visit, caller: Caller) -> dict[str, Any]:
    """What the team uses, may use, and has; and for who may change something, the signed links that do."""
    rt, can_write = runtime(request), visit.can(Ability.WRITE)
    can_confirm = can_write and not caller.team.verified
    plan = rt.plans.get(caller.team.plan)
    return {
        "usage": limits.usage_of(rt, caller.team),
        "plan": plan,
        "resets_at": month_ends_at(rt.clock.now()),
        "upgrade": limits.next_plan(rt, caller.team) if can_write else None,
        "verify_url": limits.verify_resend_url(rt, caller.team.email or "") if can_confirm else None,
        "retention_days": rt.settings.limits.retention_days,
        "namespaces": (await library.list_namespaces(rt, caller))[:MAX_NAMESPACES],
    }
