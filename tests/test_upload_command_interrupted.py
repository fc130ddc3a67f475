"""`imgpro-lite upload` when the server asks to wait, and when somebody presses Ctrl-C."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from commands import authorization, make_key
from images import make_image
from library import picture, upload_by_command
from running import WAIT_SECONDS, Running, command, environment, servers, until

from imgpro_lite.app import create_app
from imgpro_lite.clock import Clock
from imgpro_lite.settings import Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("server")) as start:
        yield start(config="[limits]\nanonymous_uploads_per_hour = 1\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    return folder


class ShiftedClock(Clock):
    """The machine's clock, which a test may move so that a minute ends soon."""

    shift_seconds = 0

    def now(self) -> int:
        return super().now() + self.shift_seconds

    def move_to_second(self, second: int) -> None:
        """Go forward to this second of a minute."""
        self.shift_seconds = 60 + second - super().now() % 60


@pytest.mark.slow
def test_it_waits_when_the_server_asks_to(tmp_path: Path, folder: Path) -> None:
    data_dir = tmp_path / "data"
    headers = authorization(make_key(data_dir, "--verified"))
    settings = Settings.model_validate(
        {"data_dir": data_dir, "imaging": {"workers": 1}, "limits": {"requests_per_key_per_minute": 3}}
    )
    clock = ShiftedClock()
    listening = uvicorn.Server(uvicorn.Config(create_app(settings, clock), port=0, log_config=None))
    thread = threading.Thread(target=listening.run)
    thread.start()
    try:
        until(lambda: listening.started)
        port = listening.servers[0].sockets[0].getsockname()[1]
        secret = headers["Authorization"].removeprefix("Bearer ")
        where = ("--server", f"http://127.0.0.1:{port}", "--key", secret)
        clock.move_to_second(57)
        result = upload_by_command("-r", folder, *where, "--parallel", "1")
    finally:
        listening.should_exit = True
        thread.join(WAIT_SECONDS)
    assert result.exit_code == 0, result.output
    assert "The server asks to wait" in result.stderr
    assert "4 uploaded" in result.stderr
    assert len(result.stdout.splitlines()) == 4


def start_upload(directory: Path, *arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command("upload", *map(str, arguments)),
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Programs that a script starts with `&` are deaf to it, and so is all that they start, these tests for example.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupt(uploading: "subprocess.Popen[str]") -> tuple[str, str]:
    """Press Ctrl-C: what it still says."""
    uploading.send_signal(signal.SIGINT)
    assert uploading.stdout is not None
    assert uploading.stderr is not None
    # Not by communicate(), which knows nothing of lines that came together with the one that was read before.
    with uploading:
        told, problems = uploading.stdout.read(), uploading.stderr.read()
    assert uploading.returncode == 130
    assert "Traceback" not in problems
    return told, problems


@pytest.mark.slow
def test_ctrl_c_and_again(server: Running, tmp_path: Path) -> None:
    key = str(make_key(server.data_dir, "--verified")["key"])
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number}.png").write_bytes(make_image("png", 200 + number, 300))
    uploading = start_upload(tmp_path, "-r", folder, "--server", server.url, "--key", key, "--parallel", "2")
    assert uploading.stdout is not None
    first = uploading.stdout.readline()
    told, problems = interrupt(uploading)
    done = [first, *told.splitlines()]
    assert len(done) < 120
    assert f"{120 - len(done)} not tried" in problems
    there = len(server.get("/v1/media?limit=100", headers=authorization({"key": key})).json()["items"])
    assert len(done) <= there < 100
    again = upload_by_command("-r", folder, "--server", server.url, "--key", key)
    assert again.exit_code == 0
    assert f"{120 - there} uploaded, {there} already there" in again.stderr
    assert len(set(again.stdout.splitlines())) == 120


def test_ctrl_c_while_it_waits(server: Running, tmp_path: Path, folder: Path) -> None:
    """The wait is the rest of an hour; the command ends at once."""
    uploading = start_upload(tmp_path, "-r", folder, "--server", server.url, "--parallel", "1")
    assert uploading.stdout is not None
    assert uploading.stderr is not None
    assert uploading.stdout.readline().startswith("http://localhost")
    assert "The server asks to wait" in uploading.stderr.readline()
    told, problems = interrupt(uploading)
    assert told == ""
    assert "1 uploaded" in problems
    assert "not tried" in problems
