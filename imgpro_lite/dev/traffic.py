"""Holds requests while the library is put aside or put back, so that none meets the half of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import ASGIApp, Receive, Scope, Send

from imgpro_lite.dev.guard import is_control
from imgpro_lite.errors import Overloaded

# Tests wait for their answers before they reset. What takes longer is an import, or a client that went away.
WAIT_SECONDS = 5
RETRY_AFTER_SECONDS = 5


class Traffic:
    """The requests in flight: all but those that only look at the control plane, which may wait for something there."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        """One of them, which first waits while they are held."""
        while not self._is_open.is_set():
            await self._is_open.wait()
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Inside of a request: no other is in flight. One at a time. Raises Overloaded when the others do not end."""
        self._leave()
        try:
            async with self._turn:
                self._is_open.clear()
                try:
                    await self._wait()
                    yield
                finally:
                    self._is_open.set()
        finally:
            self._enter()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._is_quiet.wait()
        except TimeoutError:
            raise Overloaded(
                RETRY_AFTER_SECONDS,
                f"Nothing was changed: {self._in_flight} of the other requests did not end within {WAIT_SECONDS} "
                "seconds. Let uploads, imports and downloads end first, or close their connections.",
            ) from None

    def _enter(self) -> None:
        self._in_flight += 1
        self._is_quiet.clear()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._is_quiet.set()


class TrafficGate:
    """Has every request pass through the traffic that is counted and held."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _only_looks(scope):
            await self._app(scope, receive, send)
            return
        async with self._traffic.request():
            await self._app(scope, receive, send)


def _only_looks(scope: Scope) -> bool:
    return is_control(scope["path"]) and scope["method"] in ("GET", "HEAD")
