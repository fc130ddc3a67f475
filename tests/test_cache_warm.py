"""`imgpro-lite cache warm`: what is missing, made by a command of its own that a running server then serves from."""

import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import authorization, make_key
from conftest import Api, FakeClock
from images import make_image
from running import WAIT_SECONDS, command, environment, is_alive, run, until

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError


@pytest.fixture
def clock() -> FakeClock:
    """The operator's commands use the machine's clock, so the server begins at the same time."""
    return FakeClock(int(time.time()))


def upload(api: Api, count: int, headers: dict[str, str] | None = None) -> list[str]:
    """Upload different pictures, every second one to a namespace: their addresses without the extension."""
    addresses = []
    for number in range(count):
        answer = api.upload(
            make_image("jpeg", 700 + number, 900), headers, **({"namespace": "odd"} if number % 2 else {})
        )
        assert answer.status_code == 201, answer.text
        addresses.append(str(answer.json()["src"]).removesuffix(".jpeg"))
    return addresses


def warm(api: Api, *arguments: str, config: str = "") -> tuple[int, str, str]:
    """The command with an imgpro.toml: its exit code and what it says on standard output and error."""
    directory = api.data_dir.parent
    (directory / "imgpro.toml").write_text(f"[imaging]\nworkers = 1\n{config}", "utf-8")
    done = run(directory, "cache", "warm", "--data-dir", str(api.data_dir), *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def files(api: Api, pattern: str = "*") -> dict[str, int]:
    """The names of the files in the cache, with their inodes."""
    found = (path for path in (api.data_dir / "cache").rglob(pattern) if path.is_file())
    return {path.name: path.stat().st_ino for path in found}


def kinds(api: Api) -> list[str]:
    """Size and format of the files in the cache."""
    return sorted(re.sub(r"[0-9a-f]{64}-([a-z0-9]+)-.*(\.[a-z]+)\.[0-9]+", r"\1\2", name) for name in files(api))


def cached_bytes(api: Api) -> int:
    """What the running server believes that its cache holds."""
    return int(api.client.app.state.runtime.maker.cache.total_bytes)  # type: ignore[attr-defined]


def test_a_running_server_serves_what_was_warmed(api: Api) -> None:
    addresses = upload(api, 3)
    assert warm(api) == (0, "3 made, 0 already there, of 3 images.\n", "")
    made = files(api)
    assert kinds(api) == ["640.webp"] * 3
    until(lambda: cached_bytes(api) == sum(int(name.rpartition(".")[2]) for name in made))
    for address in addresses:
        answer = api.fetch(f"{address}.webp?size=m")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert files(api) == made
    assert warm(api) == (0, "0 made, 3 already there, of 3 images.\n", "")
    assert files(api) == made


@pytest.mark.slow
def test_only_what_is_wanted_and_missing_is_made(api: Api) -> None:
    upload(api, 2, authorization(make_key(api.data_dir, "--verified", email="ops@example.com")))
    upload(api, 3)  # the first two have the same bytes as those
    told = warm(api, "--email", " OPS@example.com")
    assert told == (0, "2 made, 0 already there, of 2 images.\n", "")
    told = warm(api, "--limit", "2")  # the newest, of which the older has the namespace
    assert told == (0, "1 made, 1 already there, of 2 images.\n", "")
    told = warm(api, "--namespace", "odd", "--size", "s,m,l,full", "--format", "webp,jpg")
    assert told == (0, "4 made, 6 already there, of 2 images.\n", "")
    # In full size the original is the JPEG, and `l` is the full size, because nothing is enlarged.
    assert kinds(api) == ["320.jpeg", "320.webp", "640.jpeg", *["640.webp"] * 3, "full.webp"]


@pytest.mark.slow
def test_it_goes_on_after_a_picture_that_cannot_be_made(api: Api) -> None:
    upload(api, 4)
    blobs = sorted(path for path in (api.data_dir / "blobs").rglob("*") if path.is_file())
    blobs[0].write_bytes(b"\xff\xd8\xff rotten")
    blobs[1].unlink()
    code, summary, problems = warm(api)
    assert (code, summary) == (1, "2 made, 0 already there, 2 could not be made, of 4 images.\n")
    assert re.search(r"^[a-z0-9]{14}\.webp at 640 px: The picture could not be made", problems, re.MULTILINE)
    assert re.search(r"^[a-z0-9]{14}\.webp at 640 px: its original is missing", problems, re.MULTILINE)
    assert len(files(api)) == 2


@pytest.mark.slow
def test_it_ends_before_the_cache_is_full(api: Api) -> None:
    """And what it has made is all still there, because nothing had to make room."""
    upload(api, 12)
    code, summary, _ = warm(api, "--size", "full", "--format", "png", config="[cache]\nmax_mb = 1\n")
    made = int(summary.split()[0])
    assert code == 0
    assert "Stopped: the cache has reached 90% of its 1 MB." in summary
    assert 0 < made == len(files(api)) < 12
    total_bytes = sum(int(name.rpartition(".")[2]) for name in files(api))
    assert 0.9 * 1024 * 1024 <= total_bytes < 0.9 * 1024 * 1024 + total_bytes / made * 2


def test_it_leaves_disk_space_for_uploads(api: Api) -> None:
    upload(api, 1)
    free_mb = shutil.disk_usage(api.data_dir).free // 1024 // 1024
    code, summary, _ = warm(api, config=f"[storage]\nmin_free_mb = {free_mb * 2 // 3}\n")
    assert (code, files(api)) == (0, {})
    assert "Stopped: little disk space is left" in summary


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "xl"], "--size: choose from s, m, l and full"),
        (["--size", "s,,m"], "--size: choose from"),
        (["--format", "gif"], "--format: choose from avif, jpeg, png, webp"),
        (["--format", "webp,heic"], "--format: choose from"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_choices_that_do_not_exist(tmp_path: Path, arguments: list[str], told: str) -> None:
    make_key(tmp_path)
    result = CliRunner().invoke(cli, ["cache", "warm", "--data-dir", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert told in " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_user_than_the_server_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path)
    os.chown(tmp_path, 65534, 65534)
    result = CliRunner().invoke(cli, ["cache", "warm", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, OperatorError)
    assert "belongs to another user" in str(result.exception)
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_ctrl_c_and_again(api: Api) -> None:
    upload(api, 16)
    arguments = ("--format", "avif", "--size", "full")
    terminal, theirs = pty.openpty()
    warming = subprocess.Popen(
        command("cache", "warm", "--data-dir", str(api.data_dir), *arguments),
        env=environment() | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    until(lambda: len(files(api)) >= 2 or warming.poll() is not None)
    workers = [int(pid) for pid in Path(f"/proc/{warming.pid}/task/{warming.pid}/children").read_text("ascii").split()]
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in workers] == [19] * len(workers) != []
    warming.send_signal(signal.SIGINT)
    summary, _ = warming.communicate(timeout=WAIT_SECONDS)
    shown = os.read(terminal, 65_536).decode()
    os.close(terminal)
    assert warming.returncode == 130
    assert "Warming" in shown
    assert "Interrupted; running it again makes the rest." in shown
    assert "Traceback" not in shown
    assert [pid for pid in workers if is_alive(pid)] == []
    assert files(api, "*.tmp") == {}
    there = len(files(api))
    assert 0 < int(summary.split()[0]) <= there < 16
    assert warm(api, *arguments) == (0, f"{16 - there} made, {there} already there, of 16 images.\n", "")
