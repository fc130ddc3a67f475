"""A server in front of another one, whose answers a test may change: the hosted service, a broken line."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2


@dataclass
class Ask:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_upload(self) -> bool:
        """Whether it has a file: the probe before a transfer has none."""
        return self.path == "/v1/upload" and b'filename="' in self.body


@dataclass
class Reply:
    """An answer; one of status 0 is none: the connection is closed."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Facade:
    """`before` may answer instead of the server behind; `after` may change its answer."""

    def __init__(self, behind: str = "") -> None:
        self.asked: list[Ask] = []
        self.before: Callable[[Ask], Reply | None] = lambda ask: None
        self.after: Callable[[Ask, Reply], Reply] = lambda ask, reply: reply
        self._client = httpx2.Client(base_url=behind, timeout=30, trust_env=False)
        self.url = ""

    def answer(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        if (reply := self.before(ask)) is not None:
            return reply
        kept = {name: value for name, value in ask.headers.items() if name.lower() not in ("host", "connection")}
        got = self._client.request(ask.method, ask.path, headers=kept, content=ask.body)
        body = got.json() if got.headers.get("content-type") == "application/json" else got.content
        return self.after(ask, Reply(got.status_code, body, {"Content-Type": got.headers["content-type"]}))

    def close(self) -> None:
        self._client.close()


@contextlib.contextmanager
def facade(behind: str = "") -> Iterator[Facade]:
    """One that listens, in a thread."""
    front = Facade(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = front.answer(Ask(self.command, self.path, dict(self.headers), body))
            if not reply.status:
                self.close_connection = True
                return
            with contextlib.suppress(OSError):
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.content)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.content)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        front.close()
        thread.join()
