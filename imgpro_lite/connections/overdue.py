"""Ending the connections of clients that are too slow."""

import asyncio
from typing import cast

import uvicorn

from imgpro_lite.connections.protocol import Connection

# How often all connections are looked at, whether they have had their time: of 1,000 it takes 0.5 ms.
CHECK_SECONDS = 0.5


async def end_overdue_forever(server: uvicorn.Server) -> None:
    """Look after the connections of a server. Also while it stops, so that it does not wait for clients that have had
    their time."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        for connection in list(server.server_state.connections):
            cast("Connection", connection).end_if_overdue(loop.time())
