"""The /v1 handlers for keys and uploads: parse, one service call, present."""

from starlette.requests import Request

from imgpro_lite.bodies import KeyFields, parse, upload_fields_from_form
from imgpro_lite.errors import QuotaExceeded
from imgpro_lite.models import Ability, Team, TeamKind
from imgpro_lite.services import accounts, limits, uploads
from imgpro_lite.web.forms import receive_upload
from imgpro_lite.web.presenters import present_new_key, present_upload
from imgpro_lite.web.requests import get_caller, identify, read_json_object, runtime
from imgpro_lite.web.responses import JsonAnswer, limit_headers, set_standing


async def create_key(request: Request) -> JsonAnswer:
    """POST /v1/keys"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.WRITE, anonymous=True)
    accounts.charge_key_attempt(rt, caller)
    body = await read_json_object(request)
    fields = parse(KeyFields, body, accounts.email_problems(caller, body.get("email")))
    new = await accounts.create_key(rt, caller, fields)
    return JsonAnswer(present_new_key(rt, new), 201)


def set_usage(request: Request, team: Team) -> None:
    """Have the answer say what the team has used by now."""
    if team.kind is not TeamKind.ANONYMOUS:
        set_standing(request, limits.Standing(usage=limits.usage_of(runtime(request), team)))


async def upload(request: Request) -> JsonAnswer:
    """POST /v1/upload"""
    rt = runtime(request)
    caller = await identify(request)
    standing = limits.charge_attempt(rt, caller)
    set_standing(request, standing)  # before anything can be refused (decision 20)
    accounts.authorize(rt, caller, Ability.WRITE)
    await limits.refuse_exhausted(rt, caller, standing)
    limit_bytes = uploads.file_limit_bytes(rt.settings, caller)
    async with receive_upload(
        request,
        rt.blobs,
        limit_bytes,
        lambda size_bytes, head: uploads.check_size(rt.settings, size_bytes, head, limit_bytes),
    ) as form:
        fields = upload_fields_from_form(form.fields, form.problems, anonymous=caller.anonymous)
        try:
            stored, team = await uploads.store_upload(rt, caller, form.file, fields, form.filename)
        except QuotaExceeded:  # others were quicker: say what there is now
            set_usage(request, (await identify(request)).team)
            raise
    set_usage(request, team)
    return JsonAnswer(present_upload(rt, stored), 201, limit_headers(request))
