"""`imgpro-lite exec`: a command with a server of its own, of which nothing is left however it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import run_main
from running import WAIT_SECONDS, command, environment, is_alive, run, until

from imgpro_lite.__main__ import run as entry_point
from imgpro_lite.cli.throwaway import DEFAULT_MIN_FREE_MB, warn_of_little_room
from imgpro_lite.settings import Settings
from imgpro_lite.testing.server_process import SMALL_MIN_FREE_MB

# What is run: it writes down what it was given and asks the server; on Ctrl-C it asks again before it ends.
PROGRAM = """
import json, os, signal, sys, time, urllib.request
from pathlib import Path

def ask():
    with urllib.request.urlopen(os.environ["IMGPRO_CONTROL_URL"] + "/clock") as answer:
        return answer.status

def clean_up(number, frame):
    time.sleep(0.3)
    Path("cleaned-up").write_text(str(ask()))
    sys.exit(3)

signal.signal(signal.SIGINT, clean_up)
umask = os.umask(0)
os.umask(umask)
request = urllib.request.Request(
    os.environ["IMGPRO_URL"] + "/v1/usage", headers={"Authorization": "Bearer " + os.environ["IMGPRO_KEY"]}
)
with urllib.request.urlopen(request) as answer:
    usage = json.load(answer)
told = {"pid": os.getpid(), "arguments": sys.argv[1:], "umask": umask, "usage": usage, "control": ask()}
Path("told.new").write_text(json.dumps(told))
Path("told.new").rename("told")
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""


class Run:
    """A command under `exec`, whose temporary files are to be seen."""

    def __init__(self, directory: Path, *options: str, arguments: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            command("exec", *options, "--", sys.executable, "-c", PROGRAM, *arguments),
            cwd=directory,
            env=environment() | {"TMPDIR": str(self.temporary), "IMGPRO_KEY": "not this one"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=0o027,
            start_new_session=True,
        )

    def told(self) -> dict[str, Any]:
        """What the program has written down, once it has."""
        path = self.directory / "told"
        until(lambda: path.exists() or self.process.poll() is not None)
        told: dict[str, Any] = json.loads(path.read_text())
        return told

    def end(self) -> tuple[int, str, str]:
        """Exit status, standard output and standard error, at its end."""
        out, err = self.process.communicate(timeout=WAIT_SECONDS)
        return self.process.returncode, out, err

    def left(self) -> list[Path]:
        """What is left of the server."""
        return list(self.temporary.iterdir())


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Run]:
    """A command that waits."""
    running = Run(tmp_path, arguments=("wait",))
    pid = running.told()["pid"]
    assert running.left() != []
    yield running
    for process in (running.process.pid, pid):
        if is_alive(process):
            os.kill(process, signal.SIGKILL)
    running.process.communicate()


def test_the_command_has_a_server_and_its_status_is_passed_on(tmp_path: Path) -> None:
    running = Run(tmp_path, "--log", "server.log", arguments=("--", "-x", "two words"))
    assert running.end() == (7, "", "")
    told = running.told()
    assert told["arguments"] == ["--", "-x", "two words"]
    assert told["usage"] | {"plan": "free", "verified": True} == told["usage"]
    assert (told["control"], told["umask"]) == (200, 0o027)
    assert running.left() == []
    assert "GET /v1/usage 200" in (tmp_path / "server.log").read_text()


@pytest.mark.slow
def test_ctrl_c_is_for_the_command_which_still_has_its_server(waiting: Run) -> None:
    os.killpg(waiting.process.pid, signal.SIGINT)
    assert waiting.end()[0] == 3
    assert (waiting.directory / "cleaned-up").read_text() == "200"
    assert waiting.left() == []


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_comes_once(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    counting = (
        "trap 'echo interrupted; over=1' INT; echo ready; until [ \"$over\" ]; do sleep 0.1; done; sleep 0.5; echo end"
    )
    process = subprocess.Popen(
        ["setsid", "--ctty", *command("exec", "--", "sh", "-c", counting)],
        cwd=tmp_path,
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.write(ours, b"\x03")
    assert process.communicate(timeout=WAIT_SECONDS)[0] == "interrupted\nend\n"
    os.close(ours)
    os.close(theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP), (signal.SIGINT, 3)],
)
def test_a_signal_is_passed_on(waiting: Run, number: int, status: int) -> None:
    pid = waiting.told()["pid"]
    waiting.process.send_signal(number)
    assert waiting.end()[0] == status
    assert not is_alive(pid)
    assert waiting.left() == []


@pytest.mark.slow
def test_no_server_outlives_an_exec_that_was_killed(waiting: Run) -> None:
    waiting.process.kill()
    until(lambda: waiting.left() == [])


@pytest.mark.slow
def test_a_signal_while_the_server_starts(tmp_path: Path) -> None:
    running = Run(tmp_path)
    until(running.left)
    running.process.terminate()
    assert running.end()[0] == 128 + signal.SIGTERM
    until(lambda: running.left() == [])
    assert not (tmp_path / "told").exists()


@pytest.mark.slow
def test_a_server_that_dies(waiting: Run) -> None:
    """Its log is shown, and it is a failure whatever the command makes of it."""
    (root,) = waiting.left()
    children = Path(f"/proc/{waiting.process.pid}/task/{waiting.process.pid}/children").read_text().split()
    (server,) = set(map(int, children)) - {waiting.told()["pid"]}
    os.kill(server, signal.SIGKILL)
    # Its first thread may be gone before the others, and only then it has ended.
    until(lambda: not is_alive(server) and len([*Path(f"/proc/{server}/task").iterdir()]) == 1)
    os.kill(waiting.told()["pid"], signal.SIGTERM)
    status, _, err = waiting.end()
    assert status == 125
    assert "The imgpro-lite server has ended (exit status -9)." in err
    assert "GET /v1/usage 200" in err
    assert root.exists()  # for the next one to remove


@pytest.mark.slow
def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "imgpro.toml").write_text("[server]\nport = 'many'\n")
    ended = run(tmp_path, "exec", "--config", "imgpro.toml", "--", "touch", "ran")
    assert ended.returncode == 125
    assert "did not start" in ended.stderr
    assert "port" in ended.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("module", ["main", "throwaway"])
def test_ctrl_c_while_the_command_is_imported(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == f"imgpro_lite.cli.{module}":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, f"imgpro_lite.cli.{module}")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["imgpro-lite", "exec", "true"])
    umask = os.umask(0o077)
    try:
        with pytest.raises(SystemExit) as ended:
            entry_point()
    finally:
        os.umask(umask)
    assert ended.value.code == 130


@pytest.mark.slow
def test_the_log_can_be_a_pipe(tmp_path: Path) -> None:
    ended = run(tmp_path, "exec", "--log", "/dev/stderr", "--", "sh", "-c", "exit 7")
    assert ended.returncode == 7
    assert "started, listening" in ended.stderr


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    status, out, err = run_main("exec", "--log", str(tmp_path / "missing" / "log"), "--", "true")
    assert (status, out, err) == (125, "", f"imgpro-lite: No such file or directory: {tmp_path}/missing/log\n")


def test_a_disk_with_little_room_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")  # a file system without any
    warn_of_little_room(None)
    assert capsys.readouterr().err.startswith(f"imgpro-lite: /proc has 0 MB free, and below {SMALL_MIN_FREE_MB} ")
    assert Settings().storage.min_free_mb == DEFAULT_MIN_FREE_MB


@pytest.mark.parametrize(("name", "status"), [("no-such-command", 127), ("./not-executable", 126)])
def test_a_command_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-executable").touch(mode=0o600)
    assert run_main("exec", name)[::2] == (
        status,
        f"imgpro-lite: {name}: {'cannot be executed' if status == 126 else 'command not found'}\n",
    )
