"""Ends what is due: expired images leave the counts, and the bytes of deleted ones go after the grace period.

Everything happens in steps of some milliseconds, between which requests are served. Rows go before files, and which
files they had stays listed until those are gone, so a step that a crash cuts short is simply done again.
"""

import asyncio
import logging
import sqlite3
from dataclasses import dataclass

from imgpro_lite.errors import ImgProError, StorageFull
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.making import variants_of
from imgpro_lite.settings import SECONDS_PER_DAY
from imgpro_lite.store import media_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.db import Database
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.sqlite_file import Tx

log = logging.getLogger("imgpro_lite.sweeper")

SWEEP_EVERY_SECONDS = 30  # counters follow an expiry within 60 s (decision 32), also when the clock has jumped
MIN_PAUSE_SECONDS = 1  # where images end all the time
# Images in one transaction: at 0.1 to 0.2 ms each, requests wait at most about 40 ms for the writer.
STEP_IMAGES = 200
STEP_FILES = 100  # an unlink takes about 0.05 ms, on a slow disk ten times that


@dataclass(frozen=True)
class Swept:
    """What a sweep did, in images."""

    expired: int
    purged: int


async def sweep(rt: Runtime) -> Swept:
    """Do all that is due now."""
    expired = purged = 0
    await remove_doubtful(rt.db, rt.blobs)
    while count := await rt.db.write_freeing(_mark_expired):
        expired += count
        rt.tally.swept["expired"] += count
    deleted_before = rt.clock.now() - _grace_seconds(rt)
    while count := await rt.db.write_freeing(_delete_due, deleted_before):
        reached("sweep.rows_committed")
        purged += count
        rt.tally.swept["purged"] += count
    while listed := await rt.db.read(list_purgeable, STEP_FILES):
        for cache in (rt.maker.cache, rt.maker.intermediates):
            for name in await asyncio.to_thread(cache.remove_files, listed.variants):
                cache.forget(name)
        reached("sweep.variants_removed")
        await rt.db.write_freeing(purge_files, rt.blobs, listed)
        reached("sweep.files_committed")
    return Swept(expired, purged)


def _mark_expired(tx: Tx) -> int:
    count = media_rows.mark_expired(tx.conn, tx.now, STEP_IMAGES)
    if count:
        reached("sweep.marked")
    return count


def _delete_due(tx: Tx, deleted_before: int) -> int:
    count = media_rows.delete_due(tx.conn, deleted_before, STEP_IMAGES)
    if count:
        reached("sweep.rows_deleted")
    return count


async def remove_doubtful(db: Database, blobs: BlobStore) -> None:
    """Remove files that got their name in a transaction which then failed, unless a row has them by now."""
    for sha256 in list(blobs.doubtful):
        await db.write(_purge_unused, blobs, sha256)
        blobs.doubtful.discard(sha256)


def _purge_unused(tx: Tx, blobs: BlobStore, sha256: bytes) -> None:
    if not media_rows.is_used(tx.conn, sha256):
        blobs.purge(sha256)


def _grace_seconds(rt: Runtime) -> int:
    try:
        rt.blobs.check_free_space()
    except StorageFull:
        return 0  # the disk needs the room now (decision 40)
    return rt.settings.storage.grace_days * SECONDS_PER_DAY


async def sweep_forever(rt: Runtime) -> None:
    """Sweep whenever something is due, until cancelled. A sweep that fails is logged and tried again."""
    while True:
        pause_seconds = SWEEP_EVERY_SECONDS
        try:
            swept = await sweep(rt)
            if swept.expired or swept.purged:
                log.info("swept", extra={"expired": swept.expired, "purged": swept.purged})
            pause_seconds = await seconds_until_due(rt)
        except (ImgProError, sqlite3.Error, OSError):
            log.exception("the sweep failed")
        await asyncio.sleep(pause_seconds)


async def seconds_until_due(rt: Runtime) -> int:
    """How long to wait for the next image that ends, so that lists hardly ever meet one that is over."""
    next_at = await rt.db.read(media_rows.find_next_expiry)
    if next_at is None:
        return SWEEP_EVERY_SECONDS
    return min(max(next_at - rt.clock.now(), MIN_PAUSE_SECONDS), SWEEP_EVERY_SECONDS)


@dataclass(frozen=True)
class Purgeable:
    """Bytes that removed rows had. It is false when there are none."""

    listed: list[bytes]
    unused: list[bytes]
    """Those that no other row has."""

    def __bool__(self) -> bool:
        return bool(self.listed)

    @property
    def variants(self) -> list[str]:
        """How the names of everything begin that was made from the unused ones."""
        return [variants_of(sha256) for sha256 in self.unused]


def list_purgeable(conn: sqlite3.Connection, limit: int) -> Purgeable:
    """Some of the bytes whose files are to be removed: first what was made from them, then `purge_files`."""
    listed = media_rows.list_purgeable(conn, limit)
    return Purgeable(listed, [sha256 for sha256 in listed if not media_rows.is_used(conn, sha256)])


def purge_files(tx: Tx, blobs: BlobStore, purgeable: Purgeable) -> None:
    """Remove the files that no row has. What is left when a crash comes is still listed, and done again.

    It happens in a write transaction, so no upload can add a row with the same bytes meanwhile.
    """
    for sha256 in purgeable.listed:
        if not media_rows.is_used(tx.conn, sha256):
            blobs.purge(sha256)
        media_rows.delete_purgeable(tx.conn, sha256)
    reached("sweep.unlisted")
