"""From bytes that arrived to an image that is kept: checks, decoding, and the one durable transaction.

    duplicate? → known format? → stripped → decoded whole in a worker → synced → [quota · rename · row · commit]

A refused upload stores nothing. An accepted one is on the disk, file first and row second, before anybody hears of it.
"""

import asyncio
import contextlib
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from imgpro_lite import fields as field_rules
from imgpro_lite import ids
from imgpro_lite.bodies import UploadFields
from imgpro_lite.errors import Duplicate, FileTooLarge, Forbidden, ImgProError, UnsupportedFormat
from imgpro_lite.formats import Format, sniff
from imgpro_lite.imaging.jobs import WITHOUT_METADATA, Probed
from imgpro_lite.models import Caller, Media, NewMedia, Strip, Team
from imgpro_lite.runtime import Maker, Runtime
from imgpro_lite.services.accounts import get_current_team, retention_days
from imgpro_lite.services.limits import charge_upload
from imgpro_lite.services.preparing import Preparation
from imgpro_lite.services.sweeper import remove_doubtful
from imgpro_lite.settings import BYTES_PER_MB, SECONDS_PER_DAY, Settings
from imgpro_lite.store import account_rows, media_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.db import Database
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import disk_full_as_refusal
from imgpro_lite.store.spool import SpooledFile
from imgpro_lite.store.sqlite_file import Tx

P = ParamSpec("P")
T = TypeVar("T")


def file_limit_bytes(settings: Settings, caller: Caller) -> int:
    """The largest file that this caller may send."""
    limits = settings.limits
    return (limits.anonymous_file_mb if caller.anonymous else limits.file_mb) * BYTES_PER_MB


def check_size(settings: Settings, size_bytes: int, head: bytes, limit_bytes: int) -> None:
    """Raise FileTooLarge as soon as a file that is still arriving is over its limit; an SVG has one of its own."""
    if size_bytes > limit_bytes:
        raise FileTooLarge(f"The file exceeds the limit of {limit_bytes // BYTES_PER_MB} MB.")
    svg_mb = settings.limits.svg_file_mb
    if size_bytes > svg_mb * BYTES_PER_MB and sniff(head) is Format.SVG:
        raise FileTooLarge(f"The file exceeds the limit of {svg_mb} MB for SVG.")


async def store_upload(
    rt: Runtime, caller: Caller, file: SpooledFile, fields: UploadFields, filename: str
) -> tuple[Media, Team]:
    """Keep a file that arrived whole: the new image, and its team as charged for it.

    Raises Duplicate, Forbidden, UnsupportedFormat, QuotaExceeded, Overloaded, StorageFull.
    """
    await refuse_duplicate(rt, caller, fields)
    await rt.db.read(refuse_blocked, file.sha256)
    format_ = format_of(file)
    what = rt.settings.uploads.stripped(anonymous=caller.anonymous)
    async with decoded(rt.maker, file, format_, caller.subject, what) as (stored, probed):
        new = new_media(ids.new_media_id(), stored, format_, probed, fields, filename)
        return await keep(rt.db, rt.blobs, new.sha256, _insert, rt, caller, new, stored.path)


def format_of(file: SpooledFile) -> Format:
    """What the file is by its first bytes. Raises UnsupportedFormat."""
    format_ = sniff(file.head)
    if format_ is None:
        raise UnsupportedFormat(
            "The file is not an image of a supported type: JPEG, PNG, WebP, GIF, SVG, HEIC, AVIF, TIFF or BMP."
        )
    return format_


async def keep(
    db: Database,
    blobs: BlobStore,
    sha256: bytes,
    insert: Callable[Concatenate[Tx, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run the transaction that adopts the file of this hash and inserts its row; if it fails, neither is left."""
    try:
        inserted = await db.write(insert, *args, **kwargs)
    except Exception:
        with contextlib.suppress(ImgProError, sqlite3.Error, OSError):  # the sweep tries again
            await remove_doubtful(db, blobs)
        raise
    blobs.doubtful.discard(sha256)
    reached("upload.committed")
    return inserted


async def refuse_duplicate(rt: Runtime, caller: Caller, fields: UploadFields) -> None:
    """Raise Duplicate for a known external_id, before the work of decoding; the transaction checks it once more."""
    if fields.external_id is None or caller.anonymous:
        return
    existing = await rt.db.read(media_rows.find_by_external_id, caller.team.id, fields.external_id, rt.clock.now())
    if existing is not None:
        raise Duplicate(existing)


def refuse_blocked(conn: sqlite3.Connection, sha256: bytes) -> None:
    """Raise Forbidden for bytes that the operator refuses."""
    if media_rows.is_blocked(conn, sha256):
        raise Forbidden("This file is not accepted on this server.")


@contextlib.asynccontextmanager
async def decoded(
    maker: Maker, file: SpooledFile, format_: Format, owner: str, what: Strip | None
) -> AsyncIterator[tuple[SpooledFile, Probed]]:
    """The file to store, synced, and what a worker saw when it decoded it. `what` is taken out before; an SVG is stored
    sanitised. Files of different owners take turns. Raises UnsupportedFormat, Overloaded, StorageFull."""
    if format_ is Format.SVG:
        with disk_full_as_refusal(), maker.blobs.temporary_path() as path:
            probed = await maker.pool.probe(file.path, format_, sanitized=path, owner=owner)
            async with _made_of(file, path) as stored:
                await stored.sync()
                yield stored, probed
        return
    if what is None or format_ in WITHOUT_METADATA:
        async with _probed(maker, file, format_, owner) as probed:
            yield file, probed
        return
    with disk_full_as_refusal(), maker.blobs.temporary_path() as path:
        async with _probed_unless_stripped(maker, file, path, format_, owner, what) as kept:
            if kept is not None:
                yield file, kept
                return
        # What is decoded from here on, and gives its name to all that is made of it, is what will be stored.
        async with _made_of(file, path) as stored, _probed(maker, stored, format_, owner) as probed:
            yield stored, probed


@contextlib.asynccontextmanager
async def _probed(maker: Maker, file: SpooledFile, format_: Format, owner: str) -> AsyncIterator[Probed]:
    """What a worker sees, while the disk is busy too."""
    preparation = Preparation(maker, file.sha256)
    with _dropped_on_failure(preparation):
        async with _syncing(file) as start:
            start()
            probed = await maker.pool.probe(
                file.path,
                format_,
                intermediates=preparation.paths,
                on_made=preparation.keep,
                on_end=preparation.end,
                owner=owner,
            )
        yield probed


@contextlib.asynccontextmanager
async def _probed_unless_stripped(
    maker: Maker, file: SpooledFile, path: Path, format_: Format, owner: str, what: Strip
) -> AsyncIterator[Probed | None]:
    """The same in one job with looking for what is to go. None when there was something: the file without it is at
    `path`, and this one is not synced, as it will not be stored."""
    preparation = Preparation(maker, file.sha256)
    with _dropped_on_failure(preparation):
        async with _syncing(file) as start:
            probed = await maker.pool.strip_or_probe(
                file.path,
                path,
                format_,
                what,
                intermediates=preparation.paths,
                on_kept=start,
                on_made=preparation.keep,
                on_end=preparation.end,
                owner=owner,
            )
        yield probed


@contextlib.contextmanager
def _dropped_on_failure(preparation: Preparation) -> Iterator[None]:
    try:
        yield
    except BaseException:
        preparation.drop()
        raise


@contextlib.asynccontextmanager
async def _syncing(file: SpooledFile) -> AsyncIterator[Callable[[], None]]:
    """What starts a sync of the file, once however often it is called. It is over when this is left, as a thread uses
    the descriptor, which the caller closes."""
    tasks: list[asyncio.Task[None]] = []
    is_over = False

    def start() -> None:
        # A job whose worker died is done again; one whose caller has gone goes on.
        if not tasks and not is_over:
            tasks.append(asyncio.create_task(file.sync()))

    try:
        yield start
    except BaseException:
        is_over = True
        if tasks:
            await asyncio.wait(tasks)
            tasks[0].exception()
        raise
    is_over = True
    for task in tasks:
        await task


@contextlib.asynccontextmanager
async def _made_of(file: SpooledFile, path: Path) -> AsyncIterator[SpooledFile]:
    """What a worker wrote, to be stored instead of the file that arrived. It is hashed here, as a worker that a picture
    has taken over could lie."""
    with path.open("rb+") as made:
        digest = await asyncio.to_thread(hashlib.file_digest, made, "sha256")
        size_bytes = os.fstat(made.fileno()).st_size
        yield replace(file, path=path, descriptor=made.fileno(), size_bytes=size_bytes, sha256=digest.digest())


def new_media(
    media_id: str, stored: SpooledFile, format_: Format, probed: Probed, fields: UploadFields, filename: str
) -> NewMedia:
    """The image that a decoded file becomes."""
    return NewMedia(
        id=media_id,
        sha256=stored.sha256,
        format=format_,
        width=probed.width,
        height=probed.height,
        frames=probed.frames,
        has_alpha=probed.has_alpha,
        filesize_bytes=stored.size_bytes,
        name=fields.name or field_rules.base_name(filename) or f"image.{format_}",
        namespace=fields.namespace,
        tags=fields.tags or (),
        public=fields.public is not False,
        external_id=fields.external_id,
        metadata=fields.metadata or {},
        date_at=fields.date,
        ttl_seconds=fields.ttl,
    )


def _insert(tx: Tx, rt: Runtime, caller: Caller, new: NewMedia, path: Path) -> tuple[Media, Team]:
    """The durable step. The file gets its name before its row exists, so that no row is ever without its file."""
    reached("upload.begun")
    owner = get_current_team(tx, caller)
    if new.external_id is not None and not caller.anonymous:
        existing = media_rows.find_by_external_id(tx.conn, owner.id, new.external_id, tx.now)
        if existing is not None:
            raise Duplicate(existing)
        media_rows.release_expired_external_id(tx.conn, owner.id, new.external_id, tx.now)
    refuse_blocked(tx.conn, new.sha256)
    team = charge_upload(tx, rt, owner.id, caller.key, new.filesize_bytes)
    reached("upload.charged")
    rt.blobs.adopt(path, new.sha256)
    days = retention_days(rt.settings, team)
    media = media_rows.insert_media(
        tx.conn,
        new,
        team_id=team.id,
        team_hash=team.hash,
        created_at=tx.now,
        retention_expires_at=None if days is None else tx.now + days * SECONDS_PER_DAY,
    )
    reached("upload.inserted")
    return media, account_rows.get_team(tx.conn, team.id)
