"""A backup disk that is too small, fills up, or is pulled out, and a data directory without room for a restore."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shared as one_server
from checking import check
from library import owner, picture
from mounts import in_namespace, needs_mounts
from running import environment, run

pytestmark = needs_mounts()

IMAGES = 8
IMAGE_BYTES = 1024 * 1024
# The command, in a process in which something else happens: `{}` is what.
OTHERWISE = """
import subprocess, sys
from imgpro_lite.cli.main import main
from imgpro_lite.services.backup import making, restoring
from imgpro_lite.store import failpoints
{}
sys.argv[0] = "imgpro-lite"
main()
"""
NO_CHECK = "making.require_room = restoring.require_room = lambda *_: None"
PULL = """
left = [3]
def pull():
    left[0] -= 1
    if left[0] == 0:
        subprocess.run(["umount", "-l", "disk"], check=True)
failpoints._armed = {POINT: pull}
"""
MOUNT = 'mount -t tmpfs -o size="$1",mode=700 tmpfs disk'


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with one_server.serve(folder / "data") as api:
        headers = owner(api)
        for number in range(IMAGES):
            assert api.upload(picture(number) + bytes(IMAGE_BYTES), headers).status_code == 201
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    (copy / "disk").mkdir()
    return copy


def on_disk(folder: Path, size: str, line: list[str], then: str = "true") -> tuple[int, str, str]:
    """Run a command where `disk` is a file system of this size, and then a shell script there."""
    script = f'"$@"; code=$?; {then}; exit $code'
    whole = [*in_namespace(MOUNT, size), "sh", "-c", script, "sh", *line]
    ended = subprocess.run(whole, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def otherwise(what: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", OTHERWISE.format(what), *arguments]


def test_a_disk_that_is_too_small_is_told_before_anything_is_copied(folder: Path) -> None:
    line = otherwise("", "backup", "disk/dest", "--data-dir", "data")
    code, out, err = on_disk(folder, "5m", line, "find disk/dest/blobs disk/dest/backups -type f")
    assert (code, out) == (1, "")
    assert "has too little room: 9." in err
    assert "free" in err


def test_a_disk_that_fills_up_leaves_what_was_there(folder: Path) -> None:
    line = otherwise(NO_CHECK, "backup", "disk/dest", "--data-dir", "data")
    code, out, err = on_disk(
        folder, "5m", line, "ls disk/dest/backups disk/dest/tmp; find disk/dest/blobs -type f | wc -l"
    )
    assert code == 1
    assert "is full" in err
    assert "running it again goes on where it was" in err
    *_, copied = out.split()
    assert 1 <= int(copied) < IMAGES


@pytest.mark.parametrize("point", ["copy.written", "copy.renamed"])
def test_a_disk_that_is_pulled_out(folder: Path, point: str) -> None:
    line = otherwise(f"POINT = {point!r}{PULL}", "backup", "disk/dest", "--data-dir", "data")
    code, out, err = on_disk(folder, "50m", line, "find disk")
    assert (code, out) == (1, "disk\n")  # nothing was written to the disk below it
    assert "has gone" in err
    assert "mounted" in err


@pytest.mark.parametrize("point", ["copy.written", "copy.renamed"])
def test_a_backup_disk_that_is_pulled_out_while_it_is_restored(folder: Path, point: str) -> None:
    assert run(folder, "backup", "dest", "--data-dir", "data").returncode == 0
    line = [
        "sh",
        "-c",
        'cp -a dest disk/dest && exec "$@"',
        "sh",
        *otherwise(f"POINT = {point!r}{PULL}", "restore", "disk/dest", "--data-dir", "new"),
    ]
    code, out, err = on_disk(folder, "50m", line)
    assert (code, out) == (1, "")
    assert "has gone" in err
    assert not (folder / "new").exists()


@pytest.mark.parametrize(("what", "says"), [("", "too little room"), (NO_CHECK, "is full")])
def test_a_restore_without_room_changes_nothing(folder: Path, what: str, says: str) -> None:
    assert run(folder, "backup", "dest", "--data-dir", "data").returncode == 0
    code, out, err = on_disk(folder, "5m", otherwise(what, "restore", "dest", "--data-dir", "disk/new"), "find disk")
    assert (code, out) == (1, "disk\n")
    assert says in err


def test_a_restore_onto_a_disk_of_its_own(folder: Path) -> None:
    assert run(folder, "backup", "dest", "--data-dir", "data").returncode == 0
    line = otherwise("", "restore", "dest", "--data-dir", "disk")
    again = otherwise("", "restore", "dest", "--data-dir", "disk", "--replace")
    both = ["sh", "-c", '"$@" && cp -a disk once', "sh", *line]
    assert on_disk(folder, "50m", both)[0] == 0
    assert check(folder / "once") == []
    assert on_disk(folder, "50m", ["sh", "-c", 'cp -a once/. disk && "$@" && cp -a disk twice', "sh", *again])[0] == 0
    assert check(folder / "twice") == []
    assert list((folder / "twice" / "set-aside").iterdir())
