"""Saves the attempts of rate limits once a second (decision 19)."""

import asyncio
import logging
import sqlite3

from imgpro_lite.errors import ImgProError
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import account_rows

log = logging.getLogger("imgpro_lite.limits")

SAVE_EVERY_SECONDS = 1
FORGET_EVERY_SAVES = 60


async def save_rate_windows(rt: Runtime) -> None:
    """Write the windows that changed since the last time."""
    rows = rt.rate_windows.take_unsaved()
    if rows:
        await rt.db.write(lambda tx: account_rows.replace_rate_windows(tx.conn, rows, tx.now))


async def save_rate_windows_forever(rt: Runtime) -> None:
    """Run until cancelled. A failure is logged: counts in memory still hold, and the next change is saved again."""
    saves = 0
    while True:
        await asyncio.sleep(SAVE_EVERY_SECONDS)
        try:
            await save_rate_windows(rt)
        except (ImgProError, sqlite3.Error):
            log.warning("the attempts of rate limits could not be saved", exc_info=True)
        saves += 1
        if saves % FORGET_EVERY_SAVES == 0:
            rt.rate_windows.forget_ended(rt.clock.now())
