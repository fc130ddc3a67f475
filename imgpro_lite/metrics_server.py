"""The address that answers /metrics only, so that it need not be reachable for anybody else.

It is a second server in the same process and on the same event loop, with connections of its own: who fills those of
the first does not keep the operator from seeing it.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette

from imgpro_lite.connections.census import Census
from imgpro_lite.connections.overdue import end_overdue_forever
from imgpro_lite.connections.protocol import Connection, Door
from imgpro_lite.settings import Settings
from imgpro_lite.web.metrics import own_app

log = logging.getLogger("imgpro_lite.server")

MAX_CONNECTIONS = 20  # a Prometheus or two, and a person with a browser


class _SideServer(uvicorn.Server):
    """One that leaves the signals to the main server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving_metrics(main: Starlette, settings: Settings, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Answer on these sockets during the block, about the main application, which runs."""
    limits = settings.server
    door = Door(Census(MAX_CONNECTIONS, MAX_CONNECTIONS, ()), limits.header_seconds, limits.reading_seconds)
    config = uvicorn.Config(
        own_app(settings.metrics, main),
        http=cast("type[asyncio.Protocol]", partial(Connection, door)),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = _SideServer(config)
    addresses = ", ".join(f"{sock.getsockname()[0]} port {sock.getsockname()[1]}" for sock in sockets)
    log.info("metrics on %s", addresses)
    serving = asyncio.create_task(server.serve(list(sockets)))
    watching = asyncio.create_task(end_overdue_forever(server))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        watching.cancel()
