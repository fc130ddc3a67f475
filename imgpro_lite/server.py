"""uvicorn, set up for this application: sockets, time limits, signals."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

import uvicorn

from imgpro_lite.app import create_app
from imgpro_lite.connections.census import open_census
from imgpro_lite.connections.protocol import Connection, Door
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import OperatorError
from imgpro_lite.notify import READY, STOPPING, feed_watchdog_forever, notify
from imgpro_lite.settings import Settings

log = logging.getLogger("imgpro_lite.server")

BACKLOG = 1024  # connections that wait to be accepted while the server is busy for a moment
KEEP_ALIVE_SECONDS = 75  # nginx's default; longer than the 60 that most proxies keep idle connections for

# How often all connections are looked at, whether they have had their time: of 1,000 it takes 0.5 ms.
CHECK_SECONDS = 0.5


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for an address, not listening yet; for the default one on both loopbacks. Raises OperatorError."""
    first = _bind_one(host, port)
    sockets = [first]
    if host == "127.0.0.1":
        with contextlib.suppress(OperatorError):  # no IPv6 here, or somebody else's server on it
            sockets.append(_bind_one("::1", first.getsockname()[1]))
    return sockets


def _bind_one(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OperatorError(f"Cannot listen on {host}: {error.strerror}. Check [server] host or --host.") from error
    try:
        if sys.platform != "win32":
            # A restart may take the port while old connections end; on Windows it would let others steal it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OperatorError(
            f"Cannot listen on {host} port {port}: {error.strerror}. "
            "Stop the program that uses the port, or choose another with --port."
        ) from error
    return sock


def with_real_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that the system chose for port 0."""
    return settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})


async def serve(
    settings: Settings, sockets: list[socket.socket], on_ready: Callable[[], None], dev: DevMode | None = None
) -> None:
    """Answer requests until SIGTERM or SIGINT, then let those in flight finish. Raises OperatorError at the start."""
    app = create_app(settings, dev=dev)
    door = Door(open_census(settings.server), settings.server.header_seconds, settings.server.reading_seconds)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(Connection, door)),
        lifespan="off",  # run below, where a failure can be told in words
        log_config=None,
        access_log=False,  # RequestLog writes the request's line
        server_header=False,
        proxy_headers=False,  # decision 19: only [server] trusted_proxies are believed, by web/requests.py
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.server.shutdown_seconds,
    )
    server = _Server(config, on_ready)
    addresses = ", ".join(f"{sock.getsockname()[0]} port {sock.getsockname()[1]}" for sock in sockets)
    async with app.router.lifespan_context(app):
        # uvicorn raises the signal again when it has shut down, which would turn a clean end into a failed one.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        log.info("started, listening on %s", addresses)
        watching = [asyncio.create_task(server.end_overdue_forever()), asyncio.create_task(feed_watchdog_forever())]
        try:
            await server.serve(sockets)
        finally:
            for task in watching:
                task.cancel()
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens, and closes the connections of clients that are too slow."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()
        notify(READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify(STOPPING)
        await super().shutdown(sockets)

    async def end_overdue_forever(self) -> None:
        """Also while the server stops, so that it does not wait for clients that have had their time."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for connection in list(self.server_state.connections):
                cast("Connection", connection).end_if_overdue(loop.time())


def run(
    settings: Settings, sockets: list[socket.socket], on_ready: Callable[[], None], dev: DevMode | None = None
) -> None:
    """`serve` on the fastest event loop that there is."""
    loop_factory = uvicorn.Config(app="", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(settings, sockets, on_ready, dev))
