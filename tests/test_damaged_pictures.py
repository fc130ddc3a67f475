"""Damaged files of every format, through a real server: taken or refused in words, and nothing is left behind."""

import random
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from images import make_image
from running import WAIT_SECONDS, Running, servers, until

from imgpro_lite.formats import Format

UNLIMITED = "[limits]\nanonymous_uploads_per_hour = 0\nanonymous_uploads_per_day = 0\n"
WORKER_MEMORY_MB = 700

# Where the formats have their headers, in which most that goes wrong begins.
HEADER_BYTES = 200


class Damager:
    """Files that are almost pictures, the same ones for a format every time."""

    def __init__(self, format_: Format) -> None:
        self.whole = make_image(format_, 48, 32)
        self.random = random.Random(f"damage to {format_}")

    def damage(self) -> bytes:
        """One more of them."""
        data = bytearray(self.whole)
        match self.random.randrange(5):
            case 0 | 1:
                for _ in range(self.random.choice((1, 1, 2, 8))):
                    data[self.position()] ^= 1 << self.random.randrange(8)
            case 2:
                del data[self.position() :]
            case 3:
                at = self.position()
                data[at:at] = self.random.randbytes(self.random.choice((1, 4, 100)))
            case 4:
                at, length = self.position(), self.random.choice((1, 2, 4, 40))
                data[at : at + length] = self.random.choice((b"\0", b"\xff", b"\x7f")) * length
        return bytes(data)

    def position(self) -> int:
        end = len(self.whole)
        return self.random.randrange(min(HEADER_BYTES, end) if self.random.random() < 0.5 else end)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("damaged")
    config = f"worker_memory_mb = {WORKER_MEMORY_MB}\nrefine_avif = false\n{UNLIMITED}"
    with servers(directory) as start:
        yield start(config=config)


def check_damaged(server: Running, client: httpx2.Client, data: bytes) -> None:
    """Upload it, and look at it in two formats if it was taken."""
    answer = client.post(f"{server.url}/v1/upload", files={"file": ("photo.jpg", data)})
    if answer.status_code != 201:
        assert answer.status_code == 400, (answer.text, data)
        assert answer.json()["error"] == "unsupported_format"
        return
    stem = answer.json()["src"].rpartition(".")[0].removeprefix(f"http://localhost:{server.port}")
    for extension in ("webp", "png"):
        view = client.get(f"{server.url}{stem}.{extension}?size=s")
        assert view.status_code == 200 or (view.status_code, view.json()["error"]) == (422, "transform_failed"), data


def check_nothing_is_left(server: Running) -> None:
    assert until(lambda: len(server.workers()) == 1)
    for line in Path(f"/proc/{server.workers()[0]}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmPeak"):
            assert int(line.split()[1]) <= WORKER_MEMORY_MB * 1024
    assert until(lambda: not list((server.data_dir / "tmp").iterdir()))
    assert "Traceback" not in server.stderr
    assert server.get("/healthz").status_code == 200


def damage_many(server: Running, format_: Format, count: int) -> None:
    damager = Damager(format_)
    with httpx2.Client(timeout=WAIT_SECONDS, trust_env=False) as client:
        check_damaged(server, client, damager.whole)
        for _ in range(count):
            check_damaged(server, client, damager.damage())
    check_nothing_is_left(server)


@pytest.mark.parametrize("format_", Format)
def test_a_few(server: Running, format_: Format) -> None:
    damage_many(server, format_, 1 if format_ is Format.SVG else 4)  # an SVG takes a worker for itself


@pytest.mark.slow
@pytest.mark.parametrize("format_", Format)
def test_many(server: Running, format_: Format) -> None:
    damage_many(server, format_, 40 if format_ is Format.SVG else 200)
