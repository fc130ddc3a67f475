"""Files that are sent in chunks: exact to the byte, and nothing stays open when a client goes away."""

import asyncio
import errno
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from hot import ask, is_hot
from images import make_image
from running import servers, until
from shared import serve
from views import call, original, put

from imgpro_lite.hot_answers import MAX_ANSWER_BYTES
from imgpro_lite.web.file_answer import CHUNK_BYTES

PICTURE = make_image("png", 4, 3)
SIZES = [
    *(MAX_ANSWER_BYTES + 1, CHUNK_BYTES * 6 - 1, CHUNK_BYTES * 6, CHUNK_BYTES * 6 + 1),
    *(CHUNK_BYTES * 8 + 1, 1_000_003),
]


def padded(size_bytes: int) -> bytes:
    """A picture of exactly so many bytes, none of its parts like another."""
    return PICTURE + random.Random(size_bytes).randbytes(size_bytes - len(PICTURE))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # What follows a picture stays, so that files of any size are easily made.
    with serve(tmp_path_factory.mktemp("large"), uploads={"strip_location": "never"}) as api:
        yield api


@pytest.fixture(scope="module")
def stems(shared: Api) -> dict[int, str]:
    return {size_bytes: put(shared, padded(size_bytes)) for size_bytes in SIZES}


def as_it_is(_patch: pytest.MonkeyPatch) -> None:
    """Linux, with the file in memory."""


def without_the_flag(patch: pytest.MonkeyPatch) -> None:
    """Not Linux."""
    patch.delattr(os, "RWF_NOWAIT")


def from_a_slow_disk(patch: pytest.MonkeyPatch) -> None:
    """Nothing is in memory."""
    patch.setattr(os, "preadv", refusal(errno.EAGAIN))


def on_another_file_system(patch: pytest.MonkeyPatch) -> None:
    """One that does not know the flag."""
    patch.setattr(os, "preadv", refusal(errno.EOPNOTSUPP))


def partly_in_memory(patch: pytest.MonkeyPatch) -> None:
    """Every other time the system has only some of the bytes that are asked for."""
    real, calls = os.preadv, iter(range(1_000_000))

    def preadv(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        if next(calls) % 2:
            raise OSError(errno.EAGAIN, "not in memory")
        some = bytearray(max(1, len(buffers[0]) // 3))
        count = real(descriptor, [some], offset, flags)
        buffers[0][:count] = some[:count]
        return count

    patch.setattr(os, "preadv", preadv)


def refusal(number: int) -> Callable[..., int]:
    def preadv(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    return preadv


SYSTEMS = [as_it_is, without_the_flag, from_a_slow_disk, on_another_file_system, partly_in_memory]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="there is nothing to take away")
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_byte_in_its_place(
    shared: Api, stems: dict[int, str], monkeypatch: pytest.MonkeyPatch, system: Callable[[pytest.MonkeyPatch], None]
) -> None:
    system(monkeypatch)
    for size_bytes, stem in stems.items():
        content = padded(size_bytes)
        status, headers, body = ask(shared, f"{stem}.png")
        assert (status, int(headers["content-length"])) == (200, size_bytes)
        assert body == content
        assert ask(shared, f"{stem}.png", "HEAD") == (200, headers, b"")
        assert not is_hot(shared, f"{stem}.png")
        for start, end in [
            (0, 1),
            (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
            (1, size_bytes),
            (size_bytes - 1, size_bytes),
            (CHUNK_BYTES, 2 * CHUNK_BYTES),
        ]:
            status, headers, body = ask(shared, f"{stem}.png", Range=f"bytes={start}-{end - 1}")
            assert status == 206
            assert headers["content-range"] == f"bytes {start}-{end - 1}/{size_bytes}"
            assert body == content[start:end]


def test_many_at_once_are_not_mixed_up(shared: Api, stems: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    partly_in_memory(monkeypatch)
    wanted = [*stems.items()] * 4
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda item: shared.client.get(f"{item[1]}.png").content, wanted))
    assert answers == [padded(size_bytes) for size_bytes, _ in wanted]


def test_a_large_file_is_never_in_memory_as_a_whole(shared: Api, stems: dict[int, str]) -> None:
    sent = download(shared, f"{stems[1_000_003]}.png")
    assert b"".join(sent.chunks) == padded(1_000_003)
    assert max(len(chunk) for chunk in sent.chunks) <= CHUNK_BYTES


class Sent:
    """What the application has sent to a client that takes it chunk by chunk."""

    def __init__(self, stop_after: int | None) -> None:
        self.status = 0
        self.chunks: list[bytes] = []
        self.stop_after = stop_after
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.chunks.append(bytes(message.get("body", b"")))
        if len(self.chunks) == self.stop_after:
            self.gone.set()
        await asyncio.sleep(0)


def download(api: Api, path: str, stop_after: int | None = None) -> Sent:
    """GET a path as a client that goes away after so many chunks."""
    return call(api, _download, api, path, stop_after)  # type: ignore[no-any-return]


async def _download(api: Api, path: str, stop_after: int | None) -> Sent:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost:4647")],
        "client": None,  # as uvicorn says when the connection is gone by now
        "server": ("127.0.0.1", 4647),
        "state": {},
    }
    sent = Sent(stop_after)
    await asyncio.wait_for(api.client.app(scope, sent.receive, sent.send), 20)
    return sent


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("stop_after", [1, 3, None])
def test_one_who_goes_away_leaves_nothing_open(
    shared: Api, stems: dict[int, str], caplog: pytest.LogCaptureFixture, stop_after: int | None
) -> None:
    caplog.set_level("INFO", "imgpro_lite.access")
    before = open_files()
    sent = download(shared, f"{stems[1_000_003]}.png", stop_after)
    assert open_files() == before
    assert sent.status == 200
    if stop_after:
        assert stop_after <= len(sent.chunks) <= stop_after + 1
    status = 499 if stop_after else 200
    assert [record.status for record in caplog.records] == [status]  # type: ignore[attr-defined]


def test_a_client_without_an_address_is_answered_from_memory_too(shared: Api) -> None:
    stem = put(shared, PICTURE)
    for _ in range(2):
        sent = download(shared, f"{stem}.png")
        assert (sent.status, b"".join(sent.chunks)) == (200, PICTURE)
    assert is_hot(shared, f"{stem}.png")


def test_a_file_that_is_cut_while_it_is_sent_is_not_made_up(start: ApiFactory) -> None:
    api = start(uploads={"strip_location": "never"})
    content = padded(1_000_003)
    stem = put(api, content)
    path = original(api, content)

    class Cutting(Sent):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if len(self.chunks) == 1:
                os.truncate(path, CHUNK_BYTES * 2)

    async def scene() -> Cutting:
        sent = Cutting(None)
        scope = {"type": "http", "method": "GET", "path": f"{stem}.png", "raw_path": f"{stem}.png".encode()}
        scope |= {
            "query_string": b"",
            "headers": [],
            "client": None,
            "root_path": "",
            "state": {},
            "http_version": "1.1",
        }
        await asyncio.wait_for(api.client.app(scope, sent.receive, sent.send), 20)
        return sent

    sent = call(api, scene)
    assert b"".join(sent.chunks) == content[: CHUNK_BYTES * 2]


@pytest.mark.slow
def test_clients_that_hang_up_cost_the_server_nothing(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(config="[uploads]\nstrip_location = 'never'\n")
        content = PICTURE + random.Random(1).randbytes(18_000_000)
        address = server.upload(content).json()["src"]
        path = "/" + address.split("/", 3)[3]
        files = Path(f"/proc/{server.process.pid}/fd")
        before = len(list(files.iterdir()))
        for _ in range(10):
            connection = server.connect()
            connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.read_head()[0] == 200
            connection.close()
        until(lambda: len(list(files.iterdir())) <= before)
        until(lambda: server.stderr.count(" 499 ") == 10)  # noticed soon, not only at the end of the file
        assert server.get(address).content == content
        assert "Traceback" not in server.stderr
