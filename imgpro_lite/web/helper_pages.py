"""Configuration of other people's programs, with this server's address and a key in it: shown, and to download.

A session knows only the hash of its key, so each program gets a new key of its own, which may not read.
"""

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import BadRequest, Forbidden
from imgpro_lite.models import Ability, Caller
from imgpro_lite.services import accounts, own_team
from imgpro_lite.services.accounts import NewKey
from imgpro_lite.services.upload_helpers import UploadHelper, UploadTarget, upload_helpers
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.samples import API_KEY
from imgpro_lite.web.session import Visit, get_visit, go_to_sign_in, read_form_for, signed_in_page

# No browser shows it, and none gives the file another name.
FILE_MEDIA_TYPE = "application/octet-stream"


async def show_helpers(request: Request) -> Response:
    """GET /dashboard/helpers"""
    visit = await get_visit(request)
    return go_to_sign_in(request) if visit.caller is None else _helpers_page(request, visit)


async def create_helper_key(request: Request) -> Response:
    """POST /dashboard/helpers: a new key for a program, in its configuration"""
    visit, caller, form = await read_form_for(request, Ability.WRITE)
    helper = _helper(form)
    new = await own_team.create_key(runtime(request), caller, helper.label, frozenset({Ability.WRITE}))
    return _helpers_page(request, visit, helper, new)


async def download_helper(request: Request) -> Response:
    """POST /dashboard/helpers/file: the configuration of a program with a key that its own page has just shown"""
    _, caller, form = await read_form_for(request, Ability.WRITE)
    helper, key = _helper(form), form.get("key", "")
    await _refuse_foreign_key(request, caller, key)
    headers = {
        "Content-Disposition": f'attachment; filename="{helper.file_name}"',
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_text(request, helper, key), headers=headers, media_type=FILE_MEDIA_TYPE)


def _helper(form: dict[str, str]) -> UploadHelper:
    helper = upload_helpers().get(form.get("program", ""))
    if helper is None:
        raise BadRequest("Choose one of the programs.")
    return helper


async def _refuse_foreign_key(request: Request, caller: Caller, key: str) -> None:
    """What is put into a script is a key of this team and nothing else."""
    found = await accounts.identify(runtime(request), key, caller.address)
    if found.team.id != caller.team.id:
        raise Forbidden


def _text(request: Request, helper: UploadHelper, key: str) -> str:
    return helper.text(UploadTarget(runtime(request).settings.api_url, key))


def _helpers_page(
    request: Request, visit: Visit, made: UploadHelper | None = None, new: NewKey | None = None
) -> Response:
    helpers = upload_helpers().values()
    context = {
        "section": "helpers",
        "helpers": [(helper, _text(request, helper, API_KEY)) for helper in helpers if helper is not made],
        "made": made,
        "secret": new.secret if new else "",
        "made_text": _text(request, made, new.secret) if made and new else "",
        "key_word": API_KEY,
    }
    return signed_in_page(request, visit, "helpers.html", context)
