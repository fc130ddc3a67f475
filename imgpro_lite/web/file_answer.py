"""Sending an opened file, or a part of it, without ever having more than a chunk of it in memory."""

import asyncio
import os

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imgpro_lite.web.conditions import Span

# Read and sent at a time: large enough to keep a fast line busy, small enough for hundreds of slow clients at once. Of
# each that reads nothing, one chunk waits to be sent and another here: 900 take 135 MB.
CHUNK_BYTES = 64 * 1024

# A client on a fast line never makes the server wait, so after as much the others get their turn (0.2 ms each), and
# somebody may notice that the client has gone.
TURN_BYTES = 1024 * 1024


class FileAnswer(Response):
    """A file that is sent whole once it is opened, also when the cache evicts it meanwhile. Closes its descriptor."""

    def __init__(self, descriptor: int, span: Span, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status_code, headers=headers)
        self._descriptor = descriptor
        self._offset = span.start
        self._end = span.end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_bytes(receive, send)
        finally:
            os.close(self._descriptor)

    async def _send_bytes(self, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        turn_ends_at = self._offset + TURN_BYTES
        try:
            while not leaving.done():
                chunk = await self._read()
                if not chunk:
                    break
                await send({"type": "http.response.body", "body": chunk, "more_body": self._offset < self._end})
                if self._offset == self._end:
                    return
                if self._offset >= turn_ends_at:
                    turn_ends_at = self._offset + TURN_BYTES
                    await asyncio.sleep(0)
            # The client has gone, or the file is shorter than it was: what was promised cannot be sent.
            raise ClientDisconnect
        finally:
            leaving.cancel()

    async def _read(self) -> bytes | bytearray:
        """The next bytes: at once when the system has them in memory, as it mostly has; else in a thread."""
        count = min(CHUNK_BYTES, self._end - self._offset)
        chunk: bytes | bytearray | None = _read_cached(self._descriptor, count, self._offset)
        if chunk is None:
            chunk = await asyncio.to_thread(_read_at, self._descriptor, count, self._offset)
        self._offset += len(chunk)
        return chunk


def read_whole(descriptor: int, size_bytes: int) -> bytes:
    """A small file from its start. Not worth a thread: what was just written or asked for before is in memory."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, size_bytes)


def _read_at(descriptor: int, count: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows has no pread
    return os.read(descriptor, count)


def _read_cached(descriptor: int, count: int, offset: int) -> bytearray | None:
    """Bytes that need no disk, or None when they might (preadv2(2), RWF_NOWAIT; Linux only)."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(count)
    try:
        read = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that does not know the flag
        return None
    del buffer[read:]
    return buffer if read else None


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
