"""Requests byte by byte, and a reader for their answers that is as small as it can be: a library would refuse to send
half of what strangers send, and costs more than the server does."""

import asyncio
from dataclasses import dataclass, field

# The server gives up everything within seconds; what takes longer hangs.
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """What goes over the wire. `kind` names it in reports; `broken` says that it is not HTTP any more."""

    kind: str
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    chunked: bool = False
    broken: bool = False

    def encoded(self) -> bytes:
        """The bytes to send; the length of the body is declared unless a header does so already."""
        lines = [self.method.encode() + b" " + self.target + b" HTTP/1.1"]
        names = {name.lower() for name, _ in self.headers}
        if b"host" not in names:
            lines.append(b"Host: localhost")
        lines += [name + b": " + value for name, value in self.headers]
        body = self.body
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
            body = (b"%x\r\n" % len(body) + body + b"\r\n" if body else b"") + b"0\r\n\r\n"
        elif body and b"content-length" not in names:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0 when the server closed the connection without a word."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def closes(self) -> bool:
        """Whether nothing more may be sent over this connection."""
        return self.status == 0 or self.headers.get("connection") == "close"


class Connection:
    """A connection that is opened when it is needed, and kept as long as the server allows."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Send a request and read the answer to its last byte. Raises TimeoutError when there is none in time."""
        was_open = self._streams is not None
        answer = await self._ask_once(request)
        if answer.status == 0 and was_open:  # the server may close a connection that waits, so that is no answer
            answer = await self._ask_once(request)
        return answer

    async def _ask_once(self, request: Request) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(request.encoded())
                answer = await _read_answer(reader, request.method)
        except (ConnectionError, asyncio.IncompleteReadError):
            answer = Answer()
        if answer.closes or request.broken:
            self.close()
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    status = 100
    while status == 100:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        status = int(first.split()[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(status, headers, body)
