"""Clients that are slow or silent, or too many: each is given up after its time, and nobody else notices."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import make_image
from running import Connection, Running, form, servers, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="e2e servers are started on Linux only")

# Small, but so that a machine under load has still sent a whole head in that time.
LIMITS = "[server]\nheader_seconds = 2\nbody_idle_seconds = 2\nreading_seconds = 1\nmax_connections = 30\n"
AS_SENT = (
    '[uploads]\nstrip_location = "never"\n'  # with what follows a picture, so that files of any size are easily made
)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
FILE_BYTES = 6_000_000  # more than the system takes for a client that does not read


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("slow-clients")) as start:
        server = start(config=LIMITS + AS_SENT)
        yield server
        assert server.end() == 0
        assert "Traceback" not in server.stderr


@pytest.fixture(scope="module")
def large_path(server: Running) -> str:
    """The path of a file that fills every buffer on its way."""
    content = make_image("jpeg", 60, 40) + random.Random(1).randbytes(FILE_BYTES)
    src: str = server.upload(content).json()["src"]
    return src.removeprefix(f"http://localhost:{server.port}")


def open_sockets(server: Running) -> int:
    descriptors = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum(str(one.readlink()).startswith("socket:") for one in descriptors if one.is_symlink())


def ask_slowly(server: Running, path: str) -> Connection:
    """A request by a client with next to no memory, which reads nothing."""
    connection = server.connect()
    connection.set_receive_buffer(4096)
    connection.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def read_refusal(connection: Connection) -> tuple[int, str]:
    """The status and code of the only answer."""
    status, body = connection.read_json()
    assert connection.read_to_end() == b""
    return status, body["error"]


@pytest.mark.slow
def test_requests_that_do_not_end(server: Running) -> None:
    """All at once, because each takes its time."""
    silent = server.connect()
    heads = [server.connect() for _ in range(4)]
    heads[0].send(b"G")
    heads[1].send(b"GET /verify?t=secret HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000)
    heads[2].send(HEALTH[:-2])
    heads[3].send(HEALTH)
    assert heads[3].read_json()[0] == 200
    heads[3].send(b"\r\n")  # the next request has not even begun
    upload = server.connect()
    upload.send_upload_head("Content-Length: 1000")
    upload.send(form(b"")[:90])
    until(lambda: list((server.data_dir / "tmp").iterdir()))
    for connection in [*heads, upload]:
        assert read_refusal(connection) == (408, "request_timeout")
    assert silent.read_to_end() == b""  # no answer where there was no question
    until(lambda: not list((server.data_dir / "tmp").iterdir()))
    until(lambda: "GET /verify 408" in server.stderr)


def test_a_client_that_does_not_read(server: Running, large_path: str) -> None:
    before = server.stderr.count("does not read")
    connection = ask_slowly(server, large_path)
    until(lambda: server.stderr.count("does not read") == before + 1)
    assert connection.ends_by_reset()
    assert len(server.get(large_path).content) > FILE_BYTES


def test_too_many_connections(server: Running) -> None:
    idle: list[Connection] = []
    while True:
        connection = server.connect()
        connection.send(HEALTH)
        status, headers = connection.read_head()
        if status == 503:
            break
        idle.append(connection)
        assert len(idle) <= 30
    assert len(idle) > 25  # some from the tests before may not have ended quite
    assert (headers["retry-after"], headers["connection"]) == ("5", "close")
    assert b'"error":"overloaded"' in connection.read_to_end()
    idle[0].send(HEALTH)  # those that are there are in nobody's way
    assert idle[0].read_json()[0] == 200
    idle[1].close()
    until(lambda: server.get("/healthz").status_code == 200)
    for connection in idle:
        connection.close()


@pytest.mark.slow
def test_a_stop_does_not_wait_for_slow_clients_longer_than_it_may(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(config="[server]\nshutdown_seconds = 1\n" + AS_SENT)
        content = make_image("jpeg", 60, 40) + random.Random(1).randbytes(FILE_BYTES)
        path = server.upload(content).json()["src"].removeprefix(f"http://localhost:{server.port}")
        silent, half, uploading = server.connect(), server.connect(), server.connect()
        half.send(HEALTH[:-2])
        uploading.send_upload_head("Content-Length: 1000")
        ask_slowly(server, path)
        until(lambda: list((server.data_dir / "tmp").iterdir()))
        assert server.end() == 0
        assert uploading.read_head()[0] == 503
        assert silent.read_to_end() == half.read_to_end() == b""
        assert not list((server.data_dir / "tmp").iterdir())
        assert "Traceback" not in server.stderr


@pytest.mark.slow
def test_clients_that_do_not_read_cost_little_memory(tmp_path: Path) -> None:
    def resident_mb() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024

    with servers(tmp_path) as start:
        server = start()
        content = make_image("jpeg", 60, 40) + random.Random(1).randbytes(FILE_BYTES)
        path = server.upload(content).json()["src"].removeprefix(f"http://localhost:{server.port}")
        server.get(path)
        before_mb = resident_mb()
        for _ in range(200):
            ask_slowly(server, path)
        until(lambda: open_sockets(server) > 200)
        assert server.get("/healthz").status_code == 200
        # 150 KB each, and as much again for what else is different.
        assert resident_mb() - before_mb < 60


@pytest.mark.slow
def test_many_half_sent_heads_keep_nobody_else_waiting(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server = start(config="[server]\nheader_seconds = 5\n")
        slow = [server.connect() for _ in range(200)]
        for connection in slow:
            connection.send(HEALTH[:-2])
        assert server.get("/healthz").status_code == 200
        for connection in slow:
            assert connection.read_json()[0] == 408
