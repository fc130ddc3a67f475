"""`imgpro-lite fsck` beside a server that works, after one that was killed, and what the operator reads."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checking import a_file, blob_of, check, flip_a_bit, kinds, repair, run_fsck, run_json
from library import check_files, list_ids, owner, picture, run_media
from running import command, environment
from shared import serve


@pytest.fixture
def left_by_a_kill(tmp_path: Path) -> Path:
    """What is on the disk while a server works, as kill -9 leaves it."""
    with serve(tmp_path / "data") as api:
        headers = owner(api)
        for number in range(3):
            assert api.upload(picture(number), headers, tags="a").status_code == 201
        (api.data_dir / "tmp" / "tmp-half").write_bytes(b"half of an upload")
        assert kinds(check(api.data_dir)) == set()  # it is still arriving
        shutil.copytree(api.data_dir, tmp_path / "killed")
    return tmp_path / "killed"


def test_what_a_killed_server_leaves_is_put_right(left_by_a_kill: Path) -> None:
    assert (left_by_a_kill / "imgpro.db-wal").stat().st_size > 0
    assert kinds(repair(left_by_a_kill)) == {"leftover"}
    with serve(left_by_a_kill) as api:
        assert check(api.data_dir) == []


@pytest.mark.slow
def test_a_server_that_works_meanwhile_is_neither_accused_nor_hurt(tmp_path: Path) -> None:
    """Files that are about to get a row, and rows whose file is about to go, are no problems."""
    with serve(tmp_path / "data") as api:
        headers = owner(api)
        checks = 0

        def work(first: int) -> list[str]:
            kept = []
            for number in range(first, first + 8):
                media_id = str(api.upload(picture(number), headers, tags="a,b", namespace="ns").json()["id"])
                if number % 3:
                    kept.append(media_id)
                else:
                    run_media(api.data_dir, "delete", media_id, "--purge")
            return kept

        with ThreadPoolExecutor() as threads:
            working = [threads.submit(work, first) for first in (0, 20)]
            while not all(task.done() for task in working):
                assert check(api.data_dir, repair=True, remove_broken=True) == []
                checks += 1
            kept = [media_id for task in working for media_id in task.result()]
        assert checks > 1
        assert sorted(list_ids(api, headers)) == sorted(kept)
        assert not (api.data_dir / "set-aside").exists()
        check_files(api.data_dir)


# --- the command


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data directory of a server that has ended, and its image."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with serve(data_dir) as api:
        return data_dir, str(api.upload(picture(), owner(api), name="Sunset").json()["id"])


@pytest.fixture
def data_dir(sound: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    shutil.copytree(sound[0], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def sunset(data_dir: Path, sound: tuple[Path, str]) -> Path:
    """The file of the image."""
    return blob_of(data_dir, sound[1])


def test_the_report_and_the_exit_code(data_dir: Path, sunset: Path, sound: tuple[Path, str]) -> None:
    sunset.unlink()
    for number in range(30):
        a_file(f"tmp/left{number}")(data_dir)
    code, output = run_fsck(data_dir, "--repair")
    assert code == 1
    assert "Missing files: 1\n" in output
    assert f"  {sunset.relative_to(data_dir)} is missing.\n    {sound[1]} 'Sunset', of ops@example.com" in output
    assert "Restore them from a backup" in output
    assert "Leftovers of uploads: 30, 30 repaired\n" in output
    assert output.count("was left by an upload that did not end. Repaired.") == 20
    assert "and 10 more; --json shows all" in output
    assert output.endswith("Looked at 1 images, 0 files and 0 in the cache; read 0.0 MB.\nProblems left: 1.\n")


def test_the_report_for_scripts(data_dir: Path, sunset: Path, sound: tuple[Path, str]) -> None:
    a_file("tmp/left")(data_dir)
    flip_a_bit(sunset)
    code, (damaged, left), summary = run_json(data_dir, "--repair", "--remove-broken")
    assert code == 0
    assert (damaged["kind"], left["kind"]) == ("damaged_file", "leftover")
    assert [image["id"] for image in damaged["images"]] == [sound[1]]
    assert left.keys() == {"kind", "message", "repaired"}
    assert summary == {"ok": True, "complete": True, "found": 2, "repaired": 2, "left": 0}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["fsck", "--json"], ["media", "list"]])
def test_a_full_disk_behind_the_output_is_told(data_dir: Path, arguments: list[str]) -> None:
    a_file("tmp/left")(data_dir)
    with Path("/dev/full").open("w") as full:
        line = command(*arguments, "--data-dir", str(data_dir))
        done = subprocess.run(line, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("imgpro-lite: ")
    assert done.stderr.endswith("No space left on device.\n" if arguments[0] == "fsck" else "No space left on device\n")
    assert len(done.stderr.splitlines()) == 1
