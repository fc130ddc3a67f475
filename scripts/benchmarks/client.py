"""One HTTP client for all servers that are compared, so that what it costs itself is the same for each."""

import http.client
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_BOUNDARY = "a-boundary-that-is-in-no-picture"


@dataclass(frozen=True)
class Answer:
    """What came, and the seconds from sending the request to the last byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def fetch(url: str, headers: dict[str, str] | None = None) -> Answer:
    """GET."""
    return _request("GET", url, None, headers or {})


def post_image(server_url: str, key: str, content: bytes) -> tuple[str, float]:
    """Upload a JPEG; the address of its bytes without the extension, and the seconds until the answer was there."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    answer = _request("POST", f"{server_url}/v1/upload", body, headers)
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["src"]).rpartition(".")[0], answer.seconds


def _request(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    try:
        started_at = time.perf_counter()
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        answer = connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - started_at
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content, seconds)
    finally:
        connection.close()
