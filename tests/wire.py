"""Requests as no polite client sends them, and what every answer to them has in common."""

import asyncio
import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from conftest import Api
from starlette.testclient import TestClient

BOUNDARY = "cut-here"
HANGS_UP = b"(the client hangs up)"  # in place of a chunk
ENDS = b"(the body ends, and the client waits for the answer)"
STANDS_STILL = b"(nothing comes until the server stops waiting)"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass
class RawAnswer:
    """An answer, and how many chunks of the body the server took before it gave it. No answer has status 0."""

    status_code: int
    headers: dict[str, str]
    text: str
    chunks_taken: int

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


def send_raw(
    api: Api, path: str, chunks: Iterable[Any], headers: list[tuple[bytes, bytes]], method: str = "POST"
) -> RawAnswer:
    """Send a body in chunks, under any headers: what a client library would refuse, or send in one piece. A function
    among the chunks is run, and the next chunk waits for it."""
    return api.client.portal.call(functools.partial(_call, api, path, iter(chunks), headers, method))


async def _call(
    api: Api, path: str, chunks: Iterator[Any], headers: list[tuple[bytes, bytes]], method: str
) -> RawAnswer:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost:4647"), *headers],
        "client": ("192.0.2.1", 50_000),
        "server": ("127.0.0.1", 4647),
        "state": {},
    }
    answer = RawAnswer(0, {}, "", 0)

    async def receive() -> dict[str, Any]:
        nonlocal chunks
        chunk = next(chunks, None)
        if chunk is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        if chunk is ENDS:
            return {"type": "http.request", "body": b"", "more_body": False}
        if callable(chunk):
            await asyncio.to_thread(chunk)
            return await receive()
        if chunk is HANGS_UP:
            chunks = itertools.repeat(HANGS_UP)  # for good
            return {"type": "http.disconnect"}
        if chunk is STANDS_STILL:
            await asyncio.Event().wait()
        answer.chunks_taken += 1
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status_code = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.text += message.get("body", b"").decode()

    await api.client.app(scope, receive, send)
    return answer


def client_at(api: Api, address: str) -> TestClient:
    """The same server, asked from another address."""
    client = TestClient(api.client.app, raise_server_exceptions=False, client=(address, 50_000))
    client.portal = api.client.portal
    return client


def part(name: str | bytes, content: bytes | str, filename: str | bytes | None = None, *headers: bytes | str) -> bytes:
    """One part of a form, with its names byte for byte."""
    disposition = b'Content-Disposition: form-data; name="' + _bytes(name) + b'"'
    if filename is not None:
        disposition += b'; filename="' + _bytes(filename) + b'"'
    lines = [disposition, *map(_bytes, headers)]
    return b"\r\n".join([*lines, b"", _bytes(content)])


def form(*parts: bytes, boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    """A form of parts; `end` is what follows the last boundary."""
    cut = b"--" + boundary.encode()
    return b"".join(cut + b"\r\n" + one + b"\r\n" for one in parts) + cut + end


def send_form(api: Api, body: bytes, content_type: str = FORM, headers: dict[str, str] | None = None) -> Any:
    """POST a form that was made by hand."""
    return api.client.post("/v1/upload", content=body, headers={"Content-Type": content_type, **(headers or {})})


def check_refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, in the contract's shape."""
    assert answer.status_code == status, answer.text
    return check_error_shape(answer, code)


def check_error_shape(answer: Any, code: str | None = None) -> dict[str, Any]:
    """The body of any error: the fields that the contract promises, and nothing for a cache."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert code in (None, body["error"])
    assert isinstance(body["error"], str)
    assert body["message"].strip()
    if "action" in body:
        assert body["action"]["type"] in {"upgrade", "verify", "wait", "redirect"}
    if answer.status_code == 422:
        assert body["errors"]
        assert all(isinstance(text, str) for messages in body["errors"].values() for text in messages)
    return body


def stored_blobs(api: Api) -> list[str]:
    """The files of the store, by name."""
    return sorted(path.name for path in (api.data_dir / "blobs").rglob("*") if path.is_file())


def nothing_is_stored(api: Api) -> bool:
    """Whether the store is as empty as on the first day, and nothing half-way is left."""
    return not stored_blobs(api) and not list((api.data_dir / "tmp").iterdir())


def used(api: Api, headers: dict[str, str]) -> tuple[int, int]:
    """Uploads and bytes that a key has used, from the headers of a refused upload."""
    answer = api.client.post("/v1/upload", headers=headers)
    return int(answer.headers["x-monthly-uploads-used"]), int(answer.headers["x-storage-used"])


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
