"""What is done all the time.

Five times a second, what other processes did to the database is noticed. Once a second, what they did to the cache is,
the attempts of rate limits are saved (decision 19), the database's log is folded, and a reserve that was needed is made
again.
"""

import asyncio
import logging
import sqlite3

from imgpro_lite.errors import ImgProError, OperatorError
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import account_rows
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import FOLLOW_EVERY_SECONDS, find_secrets_version, read_secrets

log = logging.getLogger("imgpro_lite.housekeeping")

EVERY_SECONDS = 1
FORGET_EVERY_ROUNDS = 60
# Our commands announce what they change; a file that somebody removes by hand is missed when it is asked for, and is
# taken out of the account then or here. Reading what has changed costs 3 ms of a thread.
RESCAN_EVERY_ROUNDS = 60


async def save_rate_windows(rt: Runtime) -> None:
    """Write the windows that changed since the last time."""
    rows = rt.rate_windows.take_unsaved()
    if rows:
        await rt.db.write(lambda tx: account_rows.replace_rate_windows(tx.conn, rows, tx.now))


async def _watch(rt: Runtime, cache: VariantCache, *, is_due: bool) -> None:
    """Notice what commands, and people, have added to the directory or removed from it."""
    try:
        if (is_due or cache.has_changed_outside()) and await cache.rescan():
            rt.hot.clear()  # `cache clear` means that variants are made anew
    except OSError:
        log.warning("reading the directory %s failed", cache.root, exc_info=True)


async def keep_house_forever(rt: Runtime) -> None:
    """Run until cancelled. A failure is logged: counts in memory still hold, and the next round tries again."""
    rounds = 0
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await save_rate_windows(rt)
            await rt.db.checkpoint()
            if rt.blobs.reserve.is_missing:
                await asyncio.to_thread(rt.blobs.reserve.restore)
        except (ImgProError, sqlite3.Error, OSError):
            log.warning("saving the attempts of rate limits or folding the log failed", exc_info=True)
        rounds += 1
        for cache in (rt.maker.cache, rt.maker.intermediates):
            await _watch(rt, cache, is_due=rounds % RESCAN_EVERY_ROUNDS == 0)
        if rounds % FORGET_EVERY_ROUNDS == 0:
            rt.rate_windows.forget_ended(rt.clock.now())


async def follow_others_forever(rt: Runtime) -> None:
    """Notice what other processes write to the database, and forget what was remembered of it; and that the operator
    has changed the secrets of signed links. Until cancelled."""
    secrets_version = None
    while True:
        await asyncio.sleep(FOLLOW_EVERY_SECONDS)
        try:
            if await rt.db.has_changed_outside():
                rt.hot.clear()
            secrets_version = _follow_secrets(rt, secrets_version)
        except (sqlite3.Error, OSError):
            log.warning("looking for changes by other processes failed", exc_info=True)


def _follow_secrets(rt: Runtime, known_version: tuple[int, int] | None) -> tuple[int, int] | None:
    """Take up the secrets when their file is another than before: which it is now. One that is gone or broken changes
    nothing."""
    version = find_secrets_version(rt.settings.data_dir)
    if version not in (known_version, None):
        try:
            rt.links.rotate(read_secrets(rt.settings.data_dir))
        except OperatorError:
            log.warning("the secrets of signed links cannot be read; the earlier ones stay in use", exc_info=True)
    return version
