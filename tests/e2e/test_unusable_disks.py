"""Starts on disks that are full or that cannot be written to."""

import contextlib
import subprocess
from pathlib import Path

import pytest
import shared as one_server
from library import owner, picture
from mounts import in_namespace, needs_mounts
from running import WAIT_SECONDS, Running, command, environment, until

pytestmark = needs_mounts()

RESERVE_MB = 8
COPY = 'mount -t tmpfs -o "size=40m" tmpfs "$2" && cp -a "$1/." "$2/"'
FILL = COPY + ' && (cat /dev/zero > "$2/filler" 2> /dev/null || true)'
READ_ONLY = COPY + ' && mount --bind "$2/$3" "$2/$3" && mount -o remount,bind,ro "$2/$3"'


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data directory with an image, and the path of the image."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with one_server.serve(data_dir, storage={"reserve_mb": RESERVE_MB}) as api:
        src: str = api.upload(picture(), owner(api)).json()["src"]
    return data_dir, src.removeprefix("http://localhost:4647")


def test_a_start_on_a_full_disk(library: tuple[Path, str], tmp_path: Path) -> None:
    source, path = library
    (tmp_path / "data").mkdir()
    wrapper = in_namespace(FILL, str(source), str(tmp_path / "data"))
    config = f"[storage]\nmin_free_mb = 0\nreserve_mb = {RESERVE_MB}\n"
    with contextlib.closing(Running.spawn(tmp_path, wrapper=wrapper, config=config)) as server:
        assert server.is_ready(), server.stderr
        assert server.get(path).content == picture()
        assert server.upload(picture(1)).json()["error"] == "storage_full"
        seen = Path(f"/proc/{server.process.pid}/root{tmp_path}/data")
        assert not (seen / "reserve").exists()
        (seen / "filler").unlink()
        until((seen / "reserve").exists)
        assert server.upload(picture(1)).status_code == 201


def refusal(library: tuple[Path, str], directory: Path, script: str, *arguments: str) -> str:
    """What a server says that does not start."""
    data_dir = directory / "data"
    data_dir.mkdir()
    serve = command("serve", "--port", "0", "--data-dir", str(data_dir))
    ended = subprocess.run(
        [*in_namespace(script, str(library[0]), str(data_dir), *arguments), *serve],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


def test_a_start_on_a_full_disk_without_a_reserve(library: tuple[Path, str], tmp_path: Path) -> None:
    said = refusal(library, tmp_path, f'{COPY} && rm "$2/reserve" && {FILL.partition(" && ")[2].partition(" && ")[2]}')
    assert "The disk is full; make room first. Nothing was changed." in said
    assert "backup" not in said


@pytest.mark.parametrize("name", [".", "imgpro.db", "blobs", "tmp", "cache", "intermediates"])
def test_what_cannot_be_written_to(library: tuple[Path, str], tmp_path: Path, name: str) -> None:
    said = refusal(library, tmp_path, READ_ONLY, name)
    assert str(tmp_path / "data") in said
    assert name in said
    assert "user" in said
