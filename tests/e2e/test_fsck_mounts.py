"""`imgpro-lite fsck` and `doctor` where a directory of the library is a file system of its own, or read-only."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from library import owner, picture
from mounts import in_namespace, needs_mounts
from running import command, environment
from shared import serve

pytestmark = needs_mounts()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data directory of a server that has ended, with one image."""
    with serve(tmp_path / "data") as api:
        assert api.upload(picture(), owner(api)).status_code == 201
    return tmp_path / "data"


def run_json(data_dir: Path, mount: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """A command after a shell script that mounts, with the data directory as its argument: the objects it prints."""
    line = command(arguments[0], "--json", "--data-dir", str(data_dir), *arguments[1:])
    done = subprocess.run(
        [*in_namespace(mount, str(data_dir)), *line], env=environment(), capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("mount", ["mount -t tmpfs tmpfs", 'mount --bind "$1/blobs"'])
def test_a_disk_for_the_blobs_alone(data_dir: Path, mount: str) -> None:
    """Of another disk or of the same, nothing can be renamed into it or out of it."""
    code, problems = run_json(data_dir, f'{mount} "$1/blobs" && touch "$1/blobs/notes"', "fsck", "--repair")
    assert code == 1
    messages = {problem["message"] for problem in problems[:-1] if problem["kind"] in ("start", "stray")}
    assert any(message.startswith("blobs/ and tmp/ are on different file systems") for message in messages)
    assert any(message.endswith("It cannot be moved: Invalid cross-device link.") for message in messages)
    _, (report,) = run_json(data_dir, f'{mount} "$1/blobs"', "doctor")
    assert "different file systems" in report["separate"][0]


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'


def test_a_snapshot_that_is_read_only(data_dir: Path, tmp_path: Path) -> None:
    """With the log of a server that ran, without any, and with one that cannot be read."""
    with serve(data_dir) as api:
        assert api.upload(picture(1)).status_code == 201
        (data_dir / "tmp" / "arriving").touch()
        shutil.copytree(data_dir, tmp_path / "snapshot")
    assert (tmp_path / "snapshot" / "imgpro.db-wal").stat().st_size > 0
    for snapshot in (data_dir, tmp_path / "snapshot"):
        next((snapshot / "blobs").glob("*/*/*")).unlink()
        code, (missing, summary) = run_json(snapshot, READ_ONLY, "fsck")
        assert (code, missing["kind"], summary["complete"]) == (1, "missing_file", True)
        assert run_json(snapshot, READ_ONLY, "fsck", "--repair")[0] == 1
    (tmp_path / "snapshot" / "imgpro.db-shm").unlink()
    code, (summary,) = run_json(tmp_path / "snapshot", READ_ONLY, "fsck")
    assert (code, summary["complete"]) == (1, False)
