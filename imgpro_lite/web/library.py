"""The /v1 handlers for a team's library: parse, one service call, present."""

from typing import Any

from starlette.requests import Request

from imgpro_lite.bodies import (
    BatchDeleteFields,
    BatchUpdateFields,
    ListFields,
    PatchFields,
    parse,
    parse_with_metadata,
)
from imgpro_lite.errors import ValidationFailed
from imgpro_lite.models import Ability
from imgpro_lite.plans import month_ends_at
from imgpro_lite.services import library, limits, media
from imgpro_lite.web.presenters import present_item, present_media
from imgpro_lite.web.requests import get_caller, query_values, read_json_object, runtime
from imgpro_lite.web.responses import JsonAnswer


async def list_media(request: Request) -> JsonAnswer:
    """GET /v1/media"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.READ)
    query = parse(ListFields, *query_values(request, ListFields.model_fields, joined="tags"))
    page = await library.list_media(rt, caller, query)
    items = [present_item(rt, item) for item in page.items]
    return JsonAnswer({"items": items, "cursor": page.cursor, "has_more": page.cursor is not None})


async def get_media(request: Request) -> JsonAnswer:
    """GET /v1/media/{id}"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.READ, anonymous=True)
    found = await media.get_media(rt, caller, request.path_params["media_id"])
    return JsonAnswer(present_media(rt, found, owner=media.owns(caller, found)))


async def update_media(request: Request) -> JsonAnswer:
    """PATCH /v1/media/{id}"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.WRITE)
    changes = parse_with_metadata(PatchFields, await read_json_object(request, empty_ok=True))
    changed = await library.update_media(rt, caller, request.path_params["media_id"], changes)
    return JsonAnswer(present_media(rt, changed, owner=True))


async def delete_media(request: Request) -> JsonAnswer:
    """DELETE /v1/media/{id}"""
    caller = await get_caller(request, Ability.WRITE)
    await library.delete_media(runtime(request), caller, request.path_params["media_id"])
    return JsonAnswer({"deleted": True})


async def update_batch(request: Request) -> JsonAnswer:
    """PATCH /v1/media/batch"""
    caller = await get_caller(request, Ability.WRITE)
    fields = parse(BatchUpdateFields, await read_json_object(request))
    return JsonAnswer({"updated": await library.update_batch(runtime(request), caller, fields)})


async def delete_batch(request: Request) -> JsonAnswer:
    """DELETE /v1/media/batch"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.WRITE)
    fields = parse(BatchDeleteFields, await _read_body_or_query(request))
    # By what was sent: ids that came out empty must never mean the whole namespace beside them.
    if len(fields.model_fields_set) != 1 or (fields.ids is None and fields.namespace is None):
        raise ValidationFailed({"ids": ["give either ids or a namespace"]})
    if fields.namespace is not None:
        deleted = await library.delete_namespace(rt, caller, fields.namespace)
    else:
        deleted = await library.delete_batch(rt, caller, fields.ids or ())
    return JsonAnswer({"deleted": deleted})


async def _read_body_or_query(request: Request) -> dict[str, Any]:
    """The JSON body, or the query for clients that cannot send a body with DELETE (decision 39). Not both."""
    query: dict[str, Any] = {
        name: ",".join(request.query_params.getlist(name))
        for name in ("ids", "namespace")
        if name in request.query_params
    }
    if "ids" in query:
        query["ids"] = [id_ for id_ in query["ids"].split(",") if id_]
    body = await read_json_object(request, empty_ok=True)
    if query and body:
        raise ValidationFailed({"ids": ["were given in the query and in the body; one is enough"]})
    return query or body


async def usage(request: Request) -> JsonAnswer:
    """GET /v1/usage"""
    rt = runtime(request)
    caller = await get_caller(request, Ability.READ)
    used = limits.usage_of(rt, caller.team)
    limit = used.uploads_limit
    return JsonAnswer(
        {
            "plan": used.plan,
            "uploads_used": used.uploads_used,
            "uploads_limit": limit,
            "uploads_remaining": None if limit is None else max(0, limit - used.uploads_used),
            "storage_used_bytes": used.storage_used_bytes,
            "storage_limit_bytes": used.storage_limit_bytes,
            "resets_at": month_ends_at(rt.clock.now()),
            "verified": caller.team.verified,
        }
    )


async def list_namespaces(request: Request) -> JsonAnswer:
    """GET /v1/namespaces"""
    caller = await get_caller(request, Ability.READ)
    found = await library.list_namespaces(runtime(request), caller)
    items = [{"namespace": item.namespace, "count": item.images, "storage_bytes": item.storage_bytes} for item in found]
    return JsonAnswer({"namespaces": items})
