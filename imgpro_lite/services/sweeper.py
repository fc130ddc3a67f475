"""Ends what is due: expired images leave the counts, and the bytes of deleted ones go after the grace period.

Everything happens in steps of some milliseconds, between which requests are served, and a step that a crash cuts short
is simply done again. Rows go before files, so a crash leaves at worst a file without a row.
"""

import asyncio
import logging
import sqlite3
from dataclasses import dataclass

from imgpro_lite.errors import ImgProError, StorageFull
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.variants import variants_of
from imgpro_lite.settings import SECONDS_PER_DAY
from imgpro_lite.store import media_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.db import Tx

log = logging.getLogger("imgpro_lite.sweeper")

SWEEP_EVERY_SECONDS = 30  # counters follow an expiry within 60 s (decision 32)
# Images in one transaction: at 0.1 to 0.2 ms each, requests wait at most about 40 ms for the writer.
STEP_IMAGES = 200


@dataclass(frozen=True)
class Swept:
    """What a sweep did, in images."""

    expired: int
    purged: int


async def sweep(rt: Runtime) -> Swept:
    """Do all that is due now."""
    expired = purged = 0
    while count := await rt.db.write(lambda tx: media_rows.mark_expired(tx.conn, tx.now, STEP_IMAGES)):
        expired += count
    while count := await _purge_some(rt):
        purged += count
    return Swept(expired, purged)


async def sweep_forever(rt: Runtime) -> None:
    """Sweep until cancelled. A sweep that fails is logged and tried again at its next time."""
    while True:
        try:
            swept = await sweep(rt)
            if swept.expired or swept.purged:
                log.info("swept", extra={"expired": swept.expired, "purged": swept.purged})
        except (ImgProError, sqlite3.Error, OSError):
            log.exception("the sweep failed")
        await asyncio.sleep(SWEEP_EVERY_SECONDS)


async def _purge_some(rt: Runtime) -> int:
    """Remove the rows of some images whose grace period is over, then the files that nothing uses any more."""
    grace_seconds = rt.settings.storage.grace_days * SECONDS_PER_DAY
    try:
        rt.blobs.check_free_space()
    except StorageFull:
        grace_seconds = 0  # the disk needs the room now (decision 40)
    deleted_before = rt.clock.now() - grace_seconds
    freed = await rt.db.write(lambda tx: media_rows.delete_purgeable(tx.conn, deleted_before, STEP_IMAGES))
    unused = await rt.db.write(purge_unused, rt.blobs, freed)
    for sha256 in unused:
        rt.cache.purge(variants_of(sha256))
    return len(freed)


def purge_unused(tx: Tx, blobs: BlobStore, sha256s: list[bytes]) -> list[bytes]:
    """Remove those of these files that no image has any more: which they were.

    A write transaction that writes nothing: while it is open, no upload of the same bytes can add a row.
    """
    unused = [sha256 for sha256 in dict.fromkeys(sha256s) if not media_rows.is_used(tx.conn, sha256)]
    for sha256 in unused:
        blobs.purge(sha256)
    return unused
