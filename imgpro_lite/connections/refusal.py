"""A refusal that no application gives, because there is no whole request for one: its bytes and its log line."""

from collections.abc import Iterable
from http import HTTPStatus

from pydantic_core import to_json

from imgpro_lite import ids
from imgpro_lite.errors import ImgProError
from imgpro_lite.logs import log_request
from imgpro_lite.web.responses import CORS_HEADERS

# What the log says where the request did not come as far.
UNKNOWN = "-"


def refusal(
    error: ImgProError, default_headers: Iterable[tuple[bytes, bytes]], *, client: str, method: str, target: bytes
) -> bytes:
    """A whole answer in the contract's shape, after which the connection ends. It is in the log already."""
    request_id = ids.new_request_id()
    body = b"" if method == "HEAD" else to_json(error.body())
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": request_id,
        **CORS_HEADERS,
        **error.headers,
        "connection": "close",
    }
    headers.pop("Connection", None)
    log_request(
        request_id=request_id,
        client=client,
        method=method,
        path=target.partition(b"?")[0].decode("latin-1") or UNKNOWN,  # a query may hold a token
        status=error.status,
        response_bytes=len(body),
        seconds=0.0,
    )
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in default_headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", body])
