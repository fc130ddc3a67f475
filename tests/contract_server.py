"""A whole server in a thread of the test: real sockets and the server's own protocol, but an internet of the test's."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from shared import NO_RATE_LIMITS

from imgpro_lite.app import create_app
from imgpro_lite.connections.census import open_census
from imgpro_lite.connections.protocol import Connection, Door
from imgpro_lite.fetching.internet import Internet
from imgpro_lite.server import bind
from imgpro_lite.settings import Settings

START_SECONDS = 30  # for what takes one; only a hanging test waits so long


@contextlib.contextmanager
def listening(data_dir: Path, internet: Internet, **sections: Any) -> Iterator[str]:
    """The base URL of a server without rate limits."""
    sockets = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    settings = Settings.model_validate(
        {
            "data_dir": data_dir,
            "imaging": {"workers": 1, "refine_avif": False},
            "limits": NO_RATE_LIMITS,
            "storage": {"reserve_mb": 0},
            "server": {"public_url": url},
            **sections,
        }
    )
    app = create_app(settings, internet=internet)
    door = Door(open_census(settings.server), settings.server.header_seconds, settings.server.reading_seconds)
    protocol = cast("type[asyncio.Protocol]", partial(Connection, door))
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, ws="none"))

    ready = threading.Event()

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            ready.set()
            await server.serve(sockets)
            await asyncio.sleep(0.1)  # in which asyncio closes the sockets of the last connections

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    for sock in sockets:
        sock.listen()  # so that who connects a moment too early waits
    thread.start()
    try:
        assert ready.wait(START_SECONDS)
        yield url
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
