"""`imgpro-lite fsck` on what a server leaves that was killed while it took uploads."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from checking import run_json
from commands import authorization, make_key
from library import check_counts, check_files, picture
from running import Running, servers

pytestmark = pytest.mark.slow

WRITERS = 4
KILLS = 3


def upload_until_killed(server: Running, headers: dict[str, str], first: int) -> int:
    """How many uploads were acknowledged."""
    for number in range(first, first + 1000):
        try:
            assert server.upload(picture(number), headers=headers, data={"tags": "a,b"}).status_code == 201
        except httpx2.TransportError:
            return number - first
    raise AssertionError("it was not killed")


def test_nothing_is_lost_and_the_rest_is_put_right(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    headers = authorization(make_key(data_dir, "--verified"))
    acknowledged = 0
    with servers(tmp_path) as start, ThreadPoolExecutor(WRITERS) as threads:
        for kill in range(KILLS):
            server = start()
            working = [
                threads.submit(upload_until_killed, server, headers, 1000 * (WRITERS * kill + writer))
                for writer in range(WRITERS)
            ]
            time.sleep(0.5 + kill / 10)  # somewhere in the midst of it
            server.end(signal.SIGKILL)
            acknowledged += sum(task.result() for task in working)
            _, problems, summary = run_json(data_dir, "--repair")
            assert {problem["kind"] for problem in problems} <= {"leftover", "file_without_image", "cache"}
            assert (summary["left"], summary["complete"]) == (0, True)
            assert run_json(data_dir)[0] == 0
            check_counts(data_dir)
            check_files(data_dir)
        usage = start().get("/v1/usage", headers=headers).json()
    assert acknowledged > 0
    assert usage["uploads_used"] >= acknowledged
