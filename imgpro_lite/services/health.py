"""Whether the server can do its work (decision 51)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from imgpro_lite.errors import StorageFull
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import account_rows

log = logging.getLogger("imgpro_lite.health")

CHECK_SECONDS = 5  # for each check; a worker may be in the middle of a transform


async def find_problem(rt: Runtime) -> str | None:
    """What keeps the server from its work, or None. The log has the details."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "free disk space, or the number of files that may still be made, is below the mark": lambda: asyncio.to_thread(
            rt.blobs.check_free_space
        ),
        "the database does not take writes": lambda: rt.db.write(lambda tx: account_rows.touch(tx.conn)),
        "no worker answers": rt.pool.ping,
    }
    for problem, check in checks.items():
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except Exception as error:
            # A disk that is full is so each time that this is asked, and the sentence says all of it.
            log.warning("unhealthy: %s", problem, exc_info=None if isinstance(error, StorageFull) else error)
            return problem
    return None
