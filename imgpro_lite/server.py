"""uvicorn, set up for this application: sockets, time limits, signals."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import uvicorn
from starlette.applications import Starlette

from imgpro_lite.app import create_app
from imgpro_lite.connections.census import open_census
from imgpro_lite.connections.overdue import end_overdue_forever
from imgpro_lite.connections.protocol import Connection, Door
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import OperatorError
from imgpro_lite.notify import READY, STOPPING, feed_watchdog_forever, notify
from imgpro_lite.settings import MetricsSettings, Settings

log = logging.getLogger("imgpro_lite.server")

BACKLOG = 1024  # connections that wait to be accepted while the server is busy for a moment
KEEP_ALIVE_SECONDS = 75  # nginx's default; longer than the 60 that most proxies keep idle connections for


class Flags(NamedTuple):
    """What an operator changes who has named an address that cannot be listened on."""

    host: str
    port: str


_OF_SERVER = Flags("[server] host or --host", "--port")
_OF_METRICS = Flags("[metrics] host", "[metrics] port")


def bind(host: str, port: int, flags: Flags = _OF_SERVER) -> list[socket.socket]:
    """Sockets for an address, not listening yet; for the default one on both loopbacks. Raises OperatorError."""
    first = _bind_one(host, port, flags)
    sockets = [first]
    if host == "127.0.0.1":
        with contextlib.suppress(OperatorError):  # no IPv6 here, or somebody else's server on it
            sockets.append(_bind_one("::1", first.getsockname()[1], flags))
    return sockets


def bind_metrics(settings: MetricsSettings, others: Sequence[socket.socket]) -> list[socket.socket]:
    """Those for the metrics' own address, beside others of ours; none where it is not wanted. Raises OperatorError."""
    if not settings.port:
        return []
    # The system would find out only when both listen, and then one of them fails.
    if settings.port in {sock.getsockname()[1] for sock in others}:
        raise OperatorError(f"[metrics] port {settings.port} is the port of the server itself. Choose another.")
    return bind(settings.host, settings.port, _OF_METRICS)


def _bind_one(host: str, port: int, flags: Flags) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OperatorError(f"Cannot listen on {host}: {error.strerror}. Check {flags.host}.") from error
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
            f"Stop the program that uses the port, or choose another with {flags.port}."
        ) from error
    return sock


def with_real_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that the system chose for port 0."""
    return settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})


async def serve(
    settings: Settings,
    sockets: list[socket.socket],
    on_ready: Callable[[], None],
    dev: DevMode | None = None,
    metrics_sockets: Sequence[socket.socket] = (),
) -> None:
    """Answer requests until SIGTERM or SIGINT, then let those in flight finish. Raises OperatorError at the start."""
    app = create_app(settings, dev=dev)
    door = Door(
        open_census(settings.server), settings.server.header_seconds, settings.server.reading_seconds, app.state.tally
    )
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
        watching = [asyncio.create_task(end_overdue_forever(server)), asyncio.create_task(feed_watchdog_forever())]
        try:
            async with _metrics(app, settings, metrics_sockets):
                await server.serve(sockets)
        finally:
            for task in watching:
                task.cancel()
    log.info("stopped")


def _metrics(
    app: Starlette, settings: Settings, sockets: Sequence[socket.socket]
) -> contextlib.AbstractAsyncContextManager[None]:
    """The metrics' own address, if there is one. prometheus-client is loaded only where it is used."""
    if not sockets:
        return contextlib.nullcontext()
    from imgpro_lite.metrics_server import serving_metrics

    return serving_metrics(app, settings, sockets)


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

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


def run(
    settings: Settings,
    sockets: list[socket.socket],
    on_ready: Callable[[], None],
    dev: DevMode | None = None,
    metrics_sockets: Sequence[socket.socket] = (),
) -> None:
    """`serve` on the fastest event loop that there is."""
    loop_factory = uvicorn.Config(app="", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(settings, sockets, on_ready, dev, metrics_sockets))
