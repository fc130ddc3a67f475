"""Temporary data directories: gone at the end, and those of killed servers are removed by the next."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from commands import run_main
from running import WAIT_SECONDS, command, environment

from imgpro_lite.store.files import DirectoryLock
from imgpro_lite.store.temporary_dir import ABANDONED_SECONDS, PREFIX, hold_temporary_data_dir, remove_abandoned


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_left_over(parent: Path, name: str = "1") -> Path:
    """What a server has left that was killed a while ago."""
    root = parent / f"{PREFIX}{name}"
    (root / "data").mkdir(parents=True)
    (root / "data" / "imgpro.db").touch()
    (root / "in-use").touch()
    set_age(root, ABANDONED_SECONDS + 1)
    return root


def set_age(root: Path, seconds: float) -> None:
    os.utime(root, (time.time() - seconds,) * 2)


def test_it_is_gone_at_the_end(parent: Path) -> None:
    with hold_temporary_data_dir() as data_dir:
        data_dir.mkdir()
        (data_dir / "imgpro.db").touch()
        assert data_dir.is_relative_to(parent)
    assert list(parent.iterdir()) == []


def test_what_a_killed_server_left_is_removed(parent: Path) -> None:
    root = make_left_over(parent)
    with hold_temporary_data_dir():
        assert not root.exists()


def test_one_in_use_stays_however_old(parent: Path) -> None:
    with hold_temporary_data_dir() as data_dir:
        set_age(data_dir.parent, 10 * ABANDONED_SECONDS)
        remove_abandoned(parent)
        assert data_dir.parent.exists()


def test_one_that_is_just_being_made_stays(parent: Path) -> None:
    root = make_left_over(parent)
    set_age(root, 0)
    remove_abandoned(parent)
    assert root.exists()


def test_a_link_is_not_followed(parent: Path) -> None:
    """Anybody may put one where the system keeps temporary files."""
    target = make_left_over(parent / "elsewhere")
    (parent / f"{PREFIX}link").symlink_to(target)
    remove_abandoned(parent)
    assert target.exists()


@pytest.mark.parametrize(
    "arguments", [("--temporary",), ("--dev", "--temporary", "--data-dir", "kept")], ids=["no dev mode", "two of them"]
)
def test_refused(parent: Path, arguments: tuple[str, ...]) -> None:
    status, _, err = run_main("serve", *arguments)
    assert status == 1
    assert "--temporary" in err
    assert list(parent.iterdir()) == []


def test_a_lock_is_taken_before_anything_is_removed(parent: Path) -> None:
    root = make_left_over(parent)
    lock = DirectoryLock(root / "in-use")
    set_age(root, ABANDONED_SECONDS + 1)
    remove_abandoned(parent)
    assert root.exists()
    lock.release()
    remove_abandoned(parent)
    assert not root.exists()


def test_standard_input_that_is_at_its_end(tmp_path: Path) -> None:
    ended = subprocess.run(
        command("serve", "--dev", "--temporary", "--stop-with-stdin", "--port", "0"),
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "standard input is at its end" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stdin", "SIGTERM", "SIGINT"])
def test_serve_removes_it(tmp_path: Path, way: str) -> None:
    server = subprocess.Popen(
        command("serve", "--dev", "--temporary", "--stop-with-stdin", "--port", "0", "--print-json"),
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert b'"url"' in server.stdout.readline()
    assert list(tmp_path.glob(f"{PREFIX}*/data/imgpro.db")) != []
    if way == "stdin":
        server.stdin.close()
    else:
        server.send_signal(getattr(signal, way))
    assert server.wait(WAIT_SECONDS) == 0
    server.stdout.close()
    server.stdin.close()
    assert list(tmp_path.iterdir()) == []
