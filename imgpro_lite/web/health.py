"""GET /healthz: whether the server can do its work (decision 51)."""

import asyncio
import sqlite3

from starlette.requests import Request

from imgpro_lite.errors import ImgProError
from imgpro_lite.runtime import Runtime
from imgpro_lite.web.requests import runtime
from imgpro_lite.web.responses import JsonAnswer

CHECK_SECONDS = 5  # each check; a worker may be in the middle of a transform


async def healthz(request: Request) -> JsonAnswer:
    """200 when the writer commits, a worker answers and free space is above the mark; else 503 with the reason."""
    rt = runtime(request)
    # Checked once however many ask at the same time: each check is a commit.
    problem = await rt.in_flight.run("healthz", lambda: find_problem(rt))
    if problem is not None:
        return JsonAnswer({"status": "unavailable", "reason": problem}, 503, {"Retry-After": "10"})
    return JsonAnswer({"status": "ok"})


async def find_problem(rt: Runtime) -> str | None:
    """What keeps the server from its work, or None."""
    try:
        rt.blobs.check_free_space()
    except ImgProError:
        return "free disk space is below the mark"
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await rt.db.write(lambda tx: tx.conn.execute("UPDATE totals SET id = 1"))
    except (ImgProError, TimeoutError, sqlite3.Error):
        return "the database does not take writes"
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await rt.pool.ping()
    except (ImgProError, TimeoutError, OSError):
        return "no worker answers"
    return None
