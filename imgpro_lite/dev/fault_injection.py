"""Gives requests the faults that were asked for."""

import asyncio
import logging
from collections import deque
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgpro_lite.dev.control import control
from imgpro_lite.dev.fault_answers import render_fault
from imgpro_lite.dev.guard import is_control
from imgpro_lite.web.requests import CLOSE_EXTENSION

log = logging.getLogger("imgpro_lite.dev")

# Of a body that arrives during a delay, so much is kept in memory; what is longer waits on its way.
MAX_EARLY_BYTES = 1024 * 1024


class FaultInjection:
    """Stands between the guard and everything else: a fault comes before keys and limits are looked at, and its answer
    gets a request id, CORS headers and a line in the log as any other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = None
        if scope["type"] == "http" and not is_control(scope["path"]):
            fault = control(Request(scope)).faults.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        log.info("%s %s gets %s", scope["method"], scope["path"], fault.id)
        if fault.delay_ms:
            receive = await _wait(scope, receive, fault.delay_ms / 1000)
        if fault.drop is True:
            await _hang_up(scope, receive)
        if fault.drop == "body":
            send = _break_off(scope, receive, send)
        answer = self._app if fault.code is None else await render_fault(Request(scope, receive), fault)
        await answer(scope, receive, send)


async def _wait(scope: Scope, receive: Receive, seconds: float) -> Receive:
    """Wait in real time: a `receive` that begins with what came meanwhile. Raises ClientDisconnect as soon as the
    client has had enough, so that nothing is left of it when a test ends."""
    early: deque[Message] = deque()
    early_bytes = 0
    try:
        async with asyncio.timeout(seconds):
            # A client that waits to be asked for its body must not be asked before it is known that it is wanted.
            while early_bytes < MAX_EARLY_BYTES and "expect" not in Headers(scope=scope):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                early.append(message)
                early_bytes += len(message.get("body", b""))
            await asyncio.sleep(seconds)
    except TimeoutError:
        pass

    async def receive_late() -> Message:
        return early.popleft() if early else await receive()

    return receive_late


async def _hang_up(scope: Scope, receive: Receive) -> NoReturn:
    """Close the connection. What was sent before still arrives. Raises ClientDisconnect once it is closed."""
    scope["extensions"][CLOSE_EXTENSION]["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def _break_off(scope: Scope, receive: Receive, send: Send) -> Send:
    """A `send` that hangs up in the middle of the first piece of a body that has more than one byte."""

    async def send_half(message: Message) -> None:
        body = message.get("body", b"")
        if len(body) < 2:
            await send(message)
            return
        await send({**message, "body": body[: len(body) // 2], "more_body": True})
        await _hang_up(scope, receive)

    return send_half
