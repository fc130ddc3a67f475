"""The pages behind signed links. GET shows and changes nothing, because scanners of mail fetch links; POST acts."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from imgpro_lite import links
from imgpro_lite.errors import BadRequest, NotFound
from imgpro_lite.models import Ability
from imgpro_lite.services import limits, upgrades, verification
from imgpro_lite.services.upgrades import Upgrade
from imgpro_lite.services.verification import Verification
from imgpro_lite.web.page_answer import PageAnswer, error_page, page
from imgpro_lite.web.page_forms import link_token, read_form
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.session import get_visit

NOT_A_LINK = "There is nothing at this address. If you followed a link, make sure that you have the whole of it."
SEE_OTHER = 303  # a form's answer that is fetched with GET (RFC 9110, 15.4.4)
GONE = 410


async def show_verification(request: Request) -> PageAnswer:
    """GET /verify. It acts in dev mode only, where no scanner of mail comes by (decision 8)."""
    rt, token = runtime(request), link_token(request)
    asked = await (verification.confirm if _acts(request) else verification.get_verification)(rt, token)
    return _verification_page(request, token, asked)


def _acts(request: Request) -> bool:
    """Whether a link does at once what it is for: in dev mode, but not for a page of another site that fetches it."""
    return runtime(request).gives_links and request.headers.get("sec-fetch-site", "none") in ("none", "same-origin")


async def answer_verification(request: Request) -> PageAnswer:
    """POST /verify"""
    form = await read_form(request)
    token, answer = form.get("t", ""), form.get("answer")
    if answer == "confirm":
        return _verification_page(request, token, await verification.confirm(runtime(request), token))
    if answer == "disown":
        return _verification_page(request, token, await verification.disown(runtime(request), token))
    raise BadRequest("Use one of the two buttons of the page.")


def _verification_page(request: Request, token: str, asked: Verification) -> PageAnswer:
    rt = runtime(request)
    context = {
        "token": token,
        "asked": asked,
        "can_write": Ability.WRITE in asked.abilities,
        "others": [(key, limits.verify_url(rt, asked.email, key.key_id)) for key in asked.others],
        "retention_days": rt.settings.limits.retention_days,
    }
    if asked.revoked:
        return page(request, "verify_revoked.html", context)
    if asked.confirmed:
        return page(request, "verify_confirmed.html", context)
    return page(request, "verify.html", context)


async def show_resend(request: Request) -> PageAnswer:
    """GET /verify/resend"""
    rt, token = runtime(request), link_token(request)
    email = verification.get_resend_email(rt, token)
    context = {
        "token": token,
        "email": email,
        "key_id": await _unconfirmed_key_id(request, email),
        "has_mail": rt.has_mail,
    }
    return page(request, "resend.html", context)


async def _unconfirmed_key_id(request: Request, email: str) -> str | None:
    """The key that somebody is signed in with, where it is one of those that this address is asked about."""
    caller = (await get_visit(request)).caller
    if caller is None or caller.key is None or caller.team.verified or caller.team.email != email:
        return None
    return caller.key.key_id


async def resend(request: Request) -> PageAnswer:
    """POST /verify/resend"""
    rt, token = runtime(request), (await read_form(request)).get("t", "")
    email = await verification.resend(rt, token)
    return page(request, "resent.html", {"email": email, "has_mail": rt.has_mail})


async def show_upgrade(request: Request) -> PageAnswer:
    """GET /upgrade/{plan}. In dev mode it acts, as the links of mails do."""
    rt, token = runtime(request), link_token(request)
    acts = _acts(request) and rt.settings.upgrade.mode == "apply"
    upgrade = await (upgrades.accept if acts else upgrades.get_upgrade)(rt, request.path_params["plan"], token)
    return _upgrade_page(request, token, upgrade)


async def accept_upgrade(request: Request) -> Response:
    """POST /upgrade/{plan}"""
    rt, token = runtime(request), (await read_form(request)).get("t", "")
    upgrade = await upgrades.accept(rt, request.path_params["plan"], token)
    payment_url = upgrades.payment_url(rt, upgrade)
    if payment_url is None or upgrade.is_done:
        return _upgrade_page(request, token, upgrade)
    return RedirectResponse(payment_url, SEE_OTHER, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _upgrade_page(request: Request, token: str, upgrade: Upgrade) -> PageAnswer:
    rt = runtime(request)
    mode = rt.settings.upgrade.mode
    if upgrade.is_done:
        return page(request, "upgrade_done.html", {"upgrade": upgrade})
    if mode == "ask" and upgrade.requested_at is not None:
        return page(request, "upgrade_asked.html", {"upgrade": upgrade})
    payment = urlsplit(upgrades.payment_url(rt, upgrade) or "")
    # Browsers hold every redirect that a form leads to against the page's policy: to the payment, and on from there.
    targets = [f"{payment.scheme}://{payment.netloc}", "https:"] if payment.netloc else []
    context = {"token": token, "upgrade": upgrade, "mode": mode, "payment_host": payment.netloc}
    return page(request, "upgrade.html", context, form_targets=targets)


async def render_invalid_link(request: Request, error: Exception) -> Response:
    """A token that is not ours, or for something else: the page tells nothing about it."""
    return error_page(request, NotFound(NOT_A_LINK))


async def render_expired_link(request: Request, error: Exception) -> Response:
    """A token that is too old. Who has one from a mail can have another mailed."""
    assert isinstance(error, links.ExpiredLink)
    if error.purpose == links.SIGN_IN:
        return page(request, "sign_in_expired.html", {"link_minutes": links.SIGN_IN_SECONDS // 60}, GONE)
    if error.purpose != links.VERIFY:
        return page(request, "expired.html", {}, GONE)
    rt, email = runtime(request), error.payload["email"]
    context = {
        "token": verification.mailbox_resend_token(rt, email),
        "email": email,
        "key_id": error.payload["key"],
        "has_mail": rt.has_mail,
    }
    return page(request, "verify_expired.html", context, GONE)
