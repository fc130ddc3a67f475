"""`imgpro-lite fsck` where directories are links, mounts or lost, and where not everything may be read."""

import shutil
from pathlib import Path

import pytest
from checking import Damage, as_nobody, blob_of, check, kinds, told
from library import connect, list_ids, owner, picture
from shared import serve

from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import BYTES_PER_MB
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import load_secrets

IMAGES = 5


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The data directory of a server that has ended, and its images."""
    data_dir = tmp_path_factory.mktemp("library") / "data"
    with serve(data_dir) as api:
        headers = owner(api)
        for number in range(IMAGES):
            assert api.upload(picture(number), headers, tags="one").status_code == 201
        return data_dir, list_ids(api, headers)


@pytest.fixture
def data_dir(original: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(original[0], copy)
    return copy


@pytest.fixture
def blobs(data_dir: Path, original: tuple[Path, list[str]]) -> list[Path]:
    """The files of the images."""
    return [blob_of(data_dir, media_id) for media_id in original[1]]


def count_live(data_dir: Path) -> int:
    with connect(data_dir) as conn:
        (count,) = conn.execute("SELECT count(*) FROM media WHERE deleted_at IS NULL").fetchone()
    return int(count)


# --- files that are not there, because their disk is not


@pytest.mark.parametrize("left", [["lost+found/"], [".keep"], [".keep", "one blob"]])
def test_where_most_files_are_missing_no_image_is_removed(data_dir: Path, blobs: list[Path], left: list[str]) -> None:
    one = blobs[0].read_bytes()
    shutil.rmtree(data_dir / "blobs")
    (data_dir / "blobs").mkdir()
    for name in left:
        if name == "one blob":
            blobs[0].parent.mkdir(parents=True)
            blobs[0].write_bytes(one)
        elif name.endswith("/"):
            (data_dir / "blobs" / name).mkdir()
        else:
            (data_dir / "blobs" / name).touch()
    with pytest.raises(OperatorError, match="mounted"):
        check(data_dir, repair=True, remove_broken=True)
    assert count_live(data_dir) == IMAGES


def test_where_most_files_are_really_lost_force_removes_the_images(data_dir: Path, blobs: list[Path]) -> None:
    for path in blobs[:3]:
        path.unlink()
    assert told(data_dir, repair=True, remove_broken=True, force=True) == [("missing_file", True)] * 3
    assert count_live(data_dir) == IMAGES - 3
    assert check(data_dir) == []


# --- links


@pytest.mark.parametrize("level", ["folder", "inner folder", "file"])
def test_links_through_which_images_are_seen_stay(data_dir: Path, blobs: list[Path], level: str) -> None:
    linked = {"folder": blobs[0].parent.parent, "inner folder": blobs[0].parent, "file": blobs[0]}[level]
    elsewhere = data_dir.with_name("elsewhere")
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    assert told(data_dir, repair=True, remove_broken=True) == [("access", False)]
    assert linked.is_symlink()
    assert len(blobs[0].read_bytes()) > 0
    # Its disk is not mounted.
    elsewhere.rename(data_dir.with_name("unmounted"))
    found = told(data_dir, repair=True, remove_broken=True)
    assert found == [("access", False), *[("missing_file", False)] * (len(found) - 1)]
    assert linked.is_symlink()
    assert count_live(data_dir) == IMAGES


def test_what_is_damaged_behind_a_link_is_seen(data_dir: Path, blobs: list[Path]) -> None:
    target = data_dir.with_name("elsewhere")
    blobs[0].rename(target)
    blobs[0].symlink_to(target)
    target.write_bytes(target.read_bytes()[:-1])
    assert told(data_dir, repair=True) == [("access", False), ("damaged_file", False)]


def test_what_belongs_to_the_file_system_stays(data_dir: Path) -> None:
    folders = [data_dir / name / "lost+found" for name in ("", "blobs", "cache", "intermediates", "tmp")]
    for folder in folders:
        folder.mkdir(mode=0o700)
    assert check(data_dir, repair=True) == []
    assert all(folder.exists() for folder in folders)


# --- what may not be read


def test_what_may_not_be_read_keeps_nobody_from_looking_at_the_rest(
    data_dir: Path, original: tuple[Path, list[str]]
) -> None:
    with as_nobody(data_dir) as copy:
        blobs = [blob_of(copy, media_id) for media_id in original[1]]
        blobs[0].chmod(0)
        blobs[1].parent.chmod(0)
        blobs[2].parent.parent.chmod(0o400)
        blobs[3].unlink()
        (copy / "cache").chmod(0)
        found = check(copy)
        assert [str(problem.kind) for problem in found].count("access") == 5  # of the cache, that it is closed, and why
        assert [problem.message for problem in found if problem.kind == "missing_file"] == [
            f"{blobs[3].relative_to(copy)} is missing."
        ]
        assert told(copy, repair=True).count(("access", True)) == 4
        assert told(copy) == [("missing_file", False)]


# --- what keeps a server from starting


def make_reserve_a_directory(data_dir: Path) -> None:
    (data_dir / "reserve").unlink(missing_ok=True)
    (data_dir / "reserve").mkdir()


STARTS: dict[str, tuple[Damage, bool]] = {
    "an empty secret": (lambda data_dir: (data_dir / "secret").write_text("\n"), False),
    "garbage as the secret": (lambda data_dir: (data_dir / "secret").write_bytes(b"\xff of no kind"), False),
    "no directory": (lambda data_dir: shutil.rmtree(data_dir / "cache") or (data_dir / "cache").touch(), True),
    "a reserve that is a directory": (make_reserve_a_directory, True),
    "a secret that is closed": (lambda data_dir: (data_dir / "secret").chmod(0), True),
    "a directory that is closed": (lambda data_dir: (data_dir / "cache").chmod(0o500), True),
}


@pytest.mark.parametrize("what", STARTS)
def test_what_keeps_a_server_from_starting_is_told(data_dir: Path, what: str) -> None:
    damage, is_repairable = STARTS[what]
    with as_nobody(data_dir) as copy:
        damage(copy)
        with pytest.raises((OperatorError, OSError)):
            prepare(copy)
        found = check(copy, repair=True)
        assert kinds(found) <= {"start", "access"}
        assert [problem.repaired for problem in found] == [is_repairable]
        assert (check(copy) == []) == is_repairable
        if is_repairable:
            prepare(copy)


def prepare(data_dir: Path) -> None:
    """What a start does before it opens the database."""
    blobs = BlobStore(data_dir, min_free_bytes=0, reserve_bytes=BYTES_PER_MB)
    blobs.reserve.prepare()
    blobs.prepare()
    VariantCache(data_dir / "cache", BYTES_PER_MB).prepare()
    load_secrets(data_dir)
