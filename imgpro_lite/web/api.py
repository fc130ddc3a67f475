"""The /v1 handlers for keys, uploads and imports: parse, one service call, present."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from starlette.requests import ClientDisconnect, Request

from imgpro_lite.bodies import KeyFields, UploadFields, import_fields, parse, upload_fields
from imgpro_lite.errors import ImgProError, InternalError, QuotaExceeded
from imgpro_lite.models import Ability, Caller, Media, Team, TeamKind
from imgpro_lite.services import accounts, imports, limits, uploads
from imgpro_lite.store.spool import SpooledFile, open_spool
from imgpro_lite.web.forms import receive_upload
from imgpro_lite.web.presenters import present_new_key, present_upload
from imgpro_lite.web.requests import ends_with_client, get_caller, identify, read_json_object, runtime
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


async def upload(request: Request) -> JsonAnswer:
    """POST /v1/upload"""
    with counted(request, "upload"):
        media = await receive_media(request)
    return JsonAnswer(present_upload(runtime(request), media), 201, limit_headers(request))


async def receive_media(
    request: Request, visitor: Caller | None = None, check_fields: Callable[[dict[str, str]], None] | None = None
) -> Media:
    """The new image of a request with the form of an upload, to the API or a page. Raises every refusal of uploads.

    On a page, `visitor` is who is signed in; `check_fields` takes out the form's fields that are not about the image.
    """
    rt = runtime(request)
    caller = await _admit(request, visitor)
    limit_bytes = uploads.file_limit_bytes(rt.settings, caller)
    async with receive_upload(
        request,
        rt.blobs,
        limit_bytes,
        lambda size_bytes, head: uploads.check_size(rt.settings, size_bytes, head, limit_bytes),
    ) as form:
        if check_fields is not None:
            check_fields(form.fields)
        fields = upload_fields(form.fields, form.problems, anonymous=caller.anonymous)
        return await _store(request, caller, form.file, fields, form.filename)


async def import_(request: Request) -> JsonAnswer:
    """POST /v1/import"""
    with counted(request, "import"):
        media = await _import(request)
    return JsonAnswer(present_upload(runtime(request), media), 201, limit_headers(request))


async def _import(request: Request) -> Media:
    rt = runtime(request)
    caller = await _admit(request, is_import=True)
    url, fields = import_fields(await read_json_object(request), anonymous=caller.anonymous)
    await uploads.refuse_duplicate(rt, caller, fields)
    async with open_spool(rt.blobs, rt.large_bodies) as spool:
        async with ends_with_client(request):
            file = await imports.fetch_image(rt, caller, url, spool, request.state.request_id)
        return await _store(request, caller, file, fields, imports.file_name(url))


@contextlib.contextmanager
def counted(request: Request, source: str) -> Iterator[None]:
    """Count what becomes of an image that is sent: stored, or the code of the error."""
    outcome = "aborted"  # ClientDisconnect, or the server stops
    try:
        yield
        outcome = "stored"
    except ImgProError as error:
        outcome = error.code
        raise
    except (ClientDisconnect, asyncio.CancelledError):
        raise
    except Exception:
        outcome = InternalError.code
        raise
    finally:
        runtime(request).tally.uploads[source, outcome] += 1


async def _admit(request: Request, visitor: Caller | None = None, *, is_import: bool = False) -> Caller:
    """Who may store one more image now. The attempt is counted; the answer says how the caller stands."""
    rt = runtime(request)
    caller = visitor or await identify(request)
    standing = limits.charge_attempt(rt, caller)
    set_standing(request, standing)  # before anything can be refused (decision 20)
    accounts.authorize(rt, caller, Ability.WRITE)
    if is_import:
        limits.refuse_import(rt, caller)
    await limits.refuse_exhausted(rt, caller, standing)
    return caller


async def _store(request: Request, caller: Caller, file: SpooledFile, fields: UploadFields, filename: str) -> Media:
    """Keep a file that arrived whole: the new image."""
    rt = runtime(request)
    try:
        stored, team = await uploads.store_upload(rt, caller, file, fields, filename)
    except QuotaExceeded:  # others were quicker: say what there is now
        _set_usage(request, (await identify(request)).team)
        raise
    _set_usage(request, team)
    return stored


def _set_usage(request: Request, team: Team) -> None:
    """Have the answer say what the team has used by now."""
    if team.kind is not TeamKind.ANONYMOUS:
        set_standing(request, limits.Standing(usage=limits.usage_of(runtime(request), team)))
