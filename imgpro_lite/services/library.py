"""Listing, changing and deleting a team's images. One transaction each, except for a whole namespace."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from imgpro_lite import links
from imgpro_lite.bodies import BatchUpdate, BatchUpdateFields, ListFields, PatchFields, merge_metadata
from imgpro_lite.errors import Duplicate, NotFound, ValidationFailed
from imgpro_lite.fields import MAX_TAGS, TagMode
from imgpro_lite.models import Caller, Media, MediaFilter, NamespaceUsage
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.accounts import get_current_team
from imgpro_lite.store import media_lists, media_rows
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.media_lists import Position
from imgpro_lite.store.sqlite_file import Tx

# Images deleted in one transaction when a namespace is deleted. At about 0.1 ms each, others wait at most 50 ms.
DELETE_STEP_IMAGES = 500


@dataclass(frozen=True)
class Page:
    """One page of a list. `cursor` leads to the next, None on the last."""

    items: list[Media]
    cursor: str | None


async def list_media(rt: Runtime, caller: Caller, query: ListFields) -> Page:
    """A team's images, newest first. Raises ValidationFailed for a cursor that is not of this list."""
    tags = tuple(sorted(query.tags or ()))
    filter_ = MediaFilter(query.namespace, tags, query.tag_mode == "any" and len(tags) > 1)
    after = _load_cursor(rt, caller, filter_, query.cursor) if query.cursor else None
    # One more than the page shows, to know whether there is a next one.
    found = await rt.db.scan(media_lists.list_media, caller.team.id, filter_, after, query.limit + 1, rt.clock.now())
    items = found[: query.limit]
    more = len(found) > query.limit
    return Page(items, _make_cursor(rt, caller, filter_, items[-1]) if more else None)


def _list_name(caller: Caller, filter_: MediaFilter) -> str:
    """What a cursor belongs to: the team and the filter, as a short hash."""
    text = json.dumps([caller.team.id, filter_.namespace, filter_.tags, filter_.any_tag])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_cursor(rt: Runtime, caller: Caller, filter_: MediaFilter, last: Media) -> str:
    payload = {"list": _list_name(caller, filter_), "at": last.sort_at, "seq": last.seq}
    return rt.links.seal(links.CURSOR, payload)


def _load_cursor(rt: Runtime, caller: Caller, filter_: MediaFilter, cursor: str) -> Position:
    try:
        payload = rt.links.unseal(links.CURSOR, cursor)
    except links.InvalidLink:
        payload = {}
    if payload.get("list") != _list_name(caller, filter_):
        raise ValidationFailed({"cursor": ["is not a cursor of this list; start again without one"]})
    return Position(payload["at"], payload["seq"])


async def update_media(rt: Runtime, caller: Caller, media_id: str, changes: PatchFields) -> Media:
    """The image after a change. Raises NotFound, Duplicate, ValidationFailed."""
    return await rt.db.write(_update_one, caller, media_id, changes)


def _update_one(tx: Tx, caller: Caller, media_id: str, changes: PatchFields) -> Media:
    media = media_rows.find_media(tx.conn, media_id, tx.now)
    if media is None or media.team_id != get_current_team(tx, caller).id:
        raise NotFound("There is no such image in your library.")
    values = _values(media, changes)
    external_id = values.get("external_id")
    if external_id is not None and external_id != media.external_id:
        media_rows.release_expired_external_id(tx.conn, media.team_id, external_id, tx.now)
        taken = media_rows.find_by_external_id(tx.conn, media.team_id, external_id, tx.now)
        if taken is not None:
            raise Duplicate(taken)
    return media_rows.update_media(tx.conn, media, values)


def _values(media: Media, changes: PatchFields | BatchUpdate) -> dict[str, Any]:
    """The new values of the fields that were sent, by column."""
    sent = changes.model_fields_set
    plain = ("name", "namespace", "public", "external_id")
    values: dict[str, Any] = {name: getattr(changes, name) for name in plain if name in sent}
    if "tags" in sent:
        values["tags"] = _changed_tags(media.tags, changes.tags or (), changes.tag_mode)
    if isinstance(changes, PatchFields):
        if "date" in sent:
            values["date_at"] = changes.date
        if "metadata" in sent:
            values["metadata"] = merge_metadata(media.metadata, changes.metadata)
    return values


def _changed_tags(stored: tuple[str, ...], given: tuple[str, ...], mode: TagMode) -> tuple[str, ...]:
    match mode:
        case TagMode.ADD:
            tags = tuple(dict.fromkeys((*stored, *given)))
        case TagMode.REMOVE:
            tags = tuple(tag for tag in stored if tag not in given)
        case TagMode.REPLACE:
            tags = given
    if len(tags) > MAX_TAGS:
        raise ValidationFailed({"tags": [f"must be at most {MAX_TAGS}, and an image would have {len(tags)}"]})
    return tags


async def update_batch(rt: Runtime, caller: Caller, fields: BatchUpdateFields) -> int:
    """How many images were changed: all that are the team's, or none. Raises ValidationFailed."""
    return await rt.db.write(_update_batch, caller, fields)


def _update_batch(tx: Tx, caller: Caller, fields: BatchUpdateFields) -> int:
    found = media_rows.list_media_by_id(tx.conn, get_current_team(tx, caller).id, fields.ids, tx.now)
    for media in found:
        try:
            values = _values(media, fields.update)
        except ValidationFailed as failure:
            errors = {f"update.{name}": messages for name, messages in failure.errors.items()}
            raise ValidationFailed(errors) from None
        media_rows.update_media(tx.conn, media, values)
    return len(found)


async def delete_media(rt: Runtime, caller: Caller, media_id: str) -> None:
    """Mark an image as deleted. Raises NotFound."""
    if not await delete_batch(rt, caller, (media_id,)):
        raise NotFound("There is no such image in your library.")


async def delete_batch(rt: Runtime, caller: Caller, ids: tuple[str, ...]) -> int:
    """Mark images as deleted: how many of the ids were live images of the team."""

    def delete(tx: Tx) -> int:
        found = media_rows.list_media_by_id(tx.conn, get_current_team(tx, caller).id, ids, tx.now)
        count = media_rows.mark_deleted(tx.conn, [media.seq for media in found], tx.now)
        reached("delete.marked")
        return count

    deleted = await rt.db.write_freeing(delete)
    reached("delete.committed")
    return deleted


async def delete_namespace(rt: Runtime, caller: Caller, namespace: str) -> int:
    """Mark all images of a namespace as deleted, in steps between which others are served: how many they were.

    What is uploaded meanwhile stays. A step that fails leaves the earlier ones in force; asking again does the rest.
    """
    last_seq = await rt.db.read(media_rows.get_last_seq)
    deleted = 0

    def delete_some(tx: Tx) -> tuple[int, int]:
        team = get_current_team(tx, caller)
        seqs = media_rows.list_namespace_seqs(tx.conn, team.id, namespace, last_seq, DELETE_STEP_IMAGES, tx.now)
        return len(seqs), media_rows.mark_deleted(tx.conn, seqs, tx.now)

    while True:
        found, marked = await rt.db.write_freeing(delete_some)
        reached("delete.step")
        deleted += marked
        if found < DELETE_STEP_IMAGES:
            return deleted


async def list_namespaces(rt: Runtime, caller: Caller) -> list[NamespaceUsage]:
    """What the team keeps in each namespace, the largest first (decision 41)."""
    return await rt.db.read(media_rows.list_namespaces, caller.team.id)
