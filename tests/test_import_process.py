"""Imports of a real server process: the system's own resolver, and an end in the middle of one."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from origins import ORIGIN_ADDRESS, PICTURE, Origin, answer, origin
from running import WAIT_SECONDS, Running, Start, servers, until

from imgpro_lite.settings import ImportSettings

IDLE_SECONDS = ImportSettings().idle_seconds  # after which it would end by itself


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start_server:
        yield start_server


def config(site: Origin, *, shutdown_seconds: int = 30) -> str:
    return (
        f'[import]\nallow_networks = ["{ORIGIN_ADDRESS}"]\nports = [{site.port}]\n'
        f"[server]\nshutdown_seconds = {shutdown_seconds}\n"
    )


def import_(server: Running, url: str) -> Any:
    return httpx2.post(f"{server.url}/v1/import", json={"url": url}, timeout=WAIT_SECONDS, trust_env=False)


@pytest.mark.slow
def test_the_systems_resolver_and_an_end_in_the_middle(start: Start) -> None:
    """SIGTERM lets an import go on for as long as any request; then it is told that the server stops."""
    asked = threading.Event()

    def endless(sock: Any) -> None:
        sock.sendall(answer(PICTURE[:20], "Content-Length: 5000"))
        asked.set()
        sock.recv(1)

    with origin() as site:
        site.pages |= {"/photo.png": answer(), "/endless.png": endless}
        server = start(config=config(site, shutdown_seconds=1))
        assert import_(server, site.url("/photo.png", ORIGIN_ADDRESS)).status_code == 201
        assert import_(server, site.url("/photo.png", "127.2")).status_code == 201  # the same, as C reads it
        for host in ("localhost", "127.1", "0x7f.1", "2130706433", "[::1]"):
            refused = import_(server, site.url("/photo.png", host))
            assert (refused.status_code, refused.json()["error"]) == (400, "fetch_failed")
        assert len(site.requests) == 2
        answers: list[Any] = []
        url = site.url("/endless.png", ORIGIN_ADDRESS)
        thread = threading.Thread(target=lambda: answers.append(import_(server, url)))
        thread.start()
        assert asked.wait(WAIT_SECONDS)
        assert server.end() == 0
        thread.join(WAIT_SECONDS)
    assert (answers[0].status_code, answers[0].json()["error"]) == (503, "overloaded")
    assert list((server.data_dir / "tmp").iterdir()) == []
    assert "Traceback" not in server.stderr


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [1, 2, 3], ids=["at once", "head and body", "head and two halves"])
def test_a_client_that_hangs_up(start: Start, pieces: int) -> None:
    """However its request came in, and long before the import would end by itself."""
    asked, hung_up = threading.Event(), threading.Event()

    def endless(sock: Any) -> None:
        sock.sendall(answer(PICTURE[:20], "Content-Length: 5000"))
        asked.set()
        assert sock.recv(1) == b""
        hung_up.set()

    with origin() as site:
        site.pages["/endless.png"] = endless
        server = start(config=config(site))
        client = server.connect()
        body = f'{{"url": "{site.url("/endless.png", ORIGIN_ADDRESS)}"}}'.encode()
        head = b"POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        for data in {1: [head + body], 2: [head, body], 3: [head, body[:9], body[9:]]}[pieces]:
            client.send(data)
            time.sleep(0.1)  # so that it arrives apart
        assert asked.wait(WAIT_SECONDS)
        client.close()
        assert hung_up.wait(IDLE_SECONDS - 2)
        until(lambda: not any((server.data_dir / "tmp").iterdir()))
        until(lambda: "/v1/import 499" in server.stderr)
