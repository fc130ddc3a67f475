"""The page that uploads: what it shows, and the form that works without a script."""

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from imgpro_lite.errors import Forbidden, MissingFile
from imgpro_lite.models import Ability, Media
from imgpro_lite.services import sessions
from imgpro_lite.web.api import counted, receive_media
from imgpro_lite.web.cookies import says_where_from
from imgpro_lite.web.page_answer import PageAnswer, pages
from imgpro_lite.web.pages import SEE_OTHER
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import Visit, about_browser, get_visit, take_csrf_token

# The form of somebody who is not signed in says nothing about who that is, so another site gains nothing by having
# visitors send it but uploads in their name and out of their limits. Browsers say where a request comes from, on https
# and on this machine; those that do not are let in (the API takes such uploads from every site, decision 49). The form
# of somebody who is signed in must have the token that only our page has, as every other form.
_OWN_SITE = ("same-origin", "none")

NO_PICTURE = "No picture was chosen. Go back, choose one, and send it again."


def upload_policy(request: Request) -> dict[str, str]:
    """What the policy of a page with an upload box needs: its script, the API on its own host, and pictures of files
    that are not uploaded yet."""
    pictures = pages(request).picture_policy.get("img-src", "'self'")
    return {"script-src": "'self'", "connect-src": "'self'", "img-src": f"{pictures} blob:"}


async def show_upload(request: Request) -> PageAnswer:
    """GET /, for who is signed in with the quota of the team"""
    visit = await get_visit(request)
    csrf_token = sessions.csrf_token(runtime(request), visit.session) if uploads_as_team(request, visit) else ""
    about = about_browser(request)
    is_signed_in_untold = about["is_untold"] and visit.caller is not None
    context = {**about, "csrf_token": csrf_token, "caller": visit.caller, "is_signed_in_untold": is_signed_in_untold}
    return PageAnswer(pages(request).render("upload.html", context), policy=upload_policy(request))


def uploads_as_team(request: Request, visit: Visit) -> bool:
    """Whether what a page uploads is its visitor's: who is signed in, may write, and has a browser that says where its
    requests come from. The page of everybody else offers nothing that only a team has."""
    return visit.can(Ability.WRITE) and says_where_from(request)


async def _receive_form(request: Request) -> Media:
    rt, visit = runtime(request), await get_visit(request)
    if uploads_as_team(request, visit):
        return await receive_media(request, visit.caller, partial(take_csrf_token, rt, visit.session))
    return await receive_media(request)


async def upload_form(request: Request) -> Response:
    """POST /"""
    if request.headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        raise Forbidden("This form can only be sent from its own page.")
    try:
        with counted(request, "page"):
            media = await _receive_form(request)
    except MissingFile:  # whose words are for who writes programs
        raise MissingFile(NO_PICTURE) from None
    # A path and not the whole address, so that it also works under a name that the settings do not know.
    page_path = f"{pages(request).base_path}/{media.id}"
    return RedirectResponse(page_path, SEE_OTHER, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
