"""Dev mode: reset, snapshot and restore of a small library, and of one with 1,000 images."""

import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pyvips

from benchmarks.harness import Row, Server, at_most, imgpro, median, scratch, spread

IMAGES = 1000
ROUNDS = 15
SMALL_GOAL_MS = 10  # a fixture calls it before each test
LARGE_GOAL_MS = 100


class Control:
    """One connection to a server in dev mode."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc)

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> float:
        """How long it took, in milliseconds."""
        started_at = time.perf_counter()
        self._connection.request(method, path, body, {"Content-Type": content_type})
        answer = self._connection.getresponse()
        content = answer.read()
        elapsed_ms = (time.perf_counter() - started_at) * 1000
        assert answer.status < 300, content
        return elapsed_ms

    def upload(self, number: int) -> None:
        """Upload a picture that is like no other."""
        picture = pyvips.Image.black(8 + number % 32, 8 + number // 32, bands=3).pngsave_buffer()
        disposition = b'Content-Disposition: form-data; name="file"; filename="a.png"'
        body = b"--x\r\n" + disposition + b"\r\n\r\n" + picture + b"\r\n--x--\r\n"
        self.request("POST", "/v1/upload", body, "multipart/form-data; boundary=x")

    def fill(self, images: int) -> None:
        """A library of so many."""
        for number in range(images):
            self.upload(number)


def run() -> Iterator[Row]:
    """Fill, and go to and fro."""
    with scratch() as directory, imgpro(directory / "data", arguments=("--dev",)) as server:
        control = Control(server)
        small = []
        for _ in range(ROUNDS):
            control.request("POST", "/v1/keys", json.dumps({"email": "bench@example.com"}).encode())
            control.upload(0)
            small.append(control.request("POST", "/_dev/reset"))
        yield at_most("dev mode: reset, one key and one image", median(small), "ms", SMALL_GOAL_MS, spread(small))
        control.fill(IMAGES)
        figures: dict[str, list[float]] = {"snapshot": [], "reset": [], "restore": [], "restore once more": []}
        for _ in range(ROUNDS):
            figures["snapshot"].append(control.request("PUT", "/_dev/snapshots/full"))
            figures["reset"].append(control.request("POST", "/_dev/reset"))
            figures["restore"].append(control.request("POST", "/_dev/snapshots/full/restore"))
            figures["restore once more"].append(control.request("POST", "/_dev/snapshots/full/restore"))
        for name, elapsed_ms in figures.items():
            what = f"dev mode: {name}, {IMAGES:,} images"
            yield at_most(what, median(elapsed_ms), "ms", LARGE_GOAL_MS, spread(elapsed_ms))
