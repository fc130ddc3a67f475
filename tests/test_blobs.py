"""Blobs and the data directory: bytes named by their hash, no leftovers, one server at a time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.links import Secret
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import hold_data_dir, load_secrets
from imgpro_lite.store.files import DirectoryLock
from imgpro_lite.store.spool import ALL_BATCHES_BYTES, MAX_BATCH_BYTES, MIN_BATCH_BYTES, batch_bytes

CONTENT = b"the bytes of a picture"
SHA256 = hashlib.sha256(CONTENT).digest()
MORE_THAN_ANY_DISK = 2**62


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path, min_free_bytes=0)
    store.prepare()
    return store


def arrive(blobs: BlobStore, content: bytes = CONTENT) -> None:
    """Take in bytes as an upload does."""
    with blobs.temporary() as (path, descriptor):
        os.write(descriptor, content)
        blobs.adopt(path, hashlib.sha256(content).digest())


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_a_blob_is_found_by_its_hash(blobs: BlobStore) -> None:
    arrive(blobs)
    name = SHA256.hex()
    assert blobs.path(SHA256) == blobs.root / name[:2] / name[2:4] / name
    assert blobs.path(SHA256).read_bytes() == CONTENT


def test_files_that_arrive_at_once_share_the_memory_there_is(blobs: BlobStore) -> None:
    assert batch_bytes(0) == batch_bytes(1) == batch_bytes(32) == MAX_BATCH_BYTES
    assert all(2 * count * batch_bytes(count) <= ALL_BATCHES_BYTES for count in range(1, 257))
    assert batch_bytes(100_000) == MIN_BATCH_BYTES
    with blobs.temporary(), blobs.temporary():
        assert blobs.arriving() == 2
    with pytest.raises(RuntimeError), blobs.temporary():
        raise RuntimeError
    assert blobs.arriving() == 0


def test_the_same_bytes_twice_are_one_blob(blobs: BlobStore) -> None:
    arrive(blobs)
    with blobs.path(SHA256).open("rb") as reading:
        arrive(blobs)
        assert reading.read() == CONTENT  # one who reads meanwhile is not disturbed
    arrive(blobs, b"others")
    assert blobs.path(SHA256).read_bytes() == CONTENT
    assert len(files(blobs.root)) == 2
    assert files(blobs.temp_dir) == []


def test_what_is_not_adopted_leaves_nothing(blobs: BlobStore) -> None:
    with blobs.temporary() as (path, descriptor):
        os.write(descriptor, CONTENT)
        assert files(blobs.temp_dir) == [path]
    with pytest.raises(LookupError), blobs.temporary():
        raise LookupError
    with blobs.temporary_path() as path:
        path.write_bytes(CONTENT)
    with blobs.temporary_path() as never_made:
        assert not never_made.exists()
    assert files(blobs.temp_dir) == []
    assert files(blobs.root) == []


def test_temporary_files_are_never_shared(blobs: BlobStore) -> None:
    with blobs.temporary() as (one, _), blobs.temporary() as (two, _), blobs.temporary_path() as three:
        assert len({one, two, three}) == 3


def test_a_start_clears_what_a_crash_left_and_keeps_the_blobs(blobs: BlobStore, tmp_path: Path) -> None:
    arrive(blobs)
    for number in range(20):
        (blobs.temp_dir / f"left-{number}").write_bytes(CONTENT)
    BlobStore(tmp_path, min_free_bytes=0).prepare()
    assert files(blobs.temp_dir) == []
    assert files(blobs.root) == [blobs.path(SHA256)]


def test_a_disk_below_the_mark_is_full(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path, min_free_bytes=MORE_THAN_ANY_DISK)
    blobs.prepare()
    with pytest.raises(StorageFull) as refusal:
        blobs.check_free_space()
    assert refusal.value.status == 503


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "lock")
    with pytest.raises(OperatorError) as refusal:
        DirectoryLock(tmp_path / "lock")
    assert str(tmp_path) in str(refusal.value)
    lock.release()
    DirectoryLock(tmp_path / "lock").release()


def test_a_data_directory_is_made_and_held_by_one(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    with hold_data_dir(directory) as held:
        assert held == directory
        assert held.is_dir()
        with pytest.raises(OperatorError, match="already running"), hold_data_dir(directory):
            pass
    with hold_data_dir(directory):
        pass


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    hold = "import sys, pathlib, imgpro_lite.store.files as f; lock = f.DirectoryLock(pathlib.Path(sys.argv[1])); "
    with subprocess.Popen(
        [sys.executable, "-c", hold + "print(flush=True); sys.stdin.read()", str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OperatorError):
            DirectoryLock(tmp_path / "lock")
        holder.kill()
        holder.wait()
        DirectoryLock(tmp_path / "lock").release()


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    in_the_way = tmp_path / "data"
    in_the_way.write_text("mine")
    for wanted in (in_the_way, in_the_way / "below"):
        with pytest.raises(OperatorError, match="cannot be used"), hold_data_dir(wanted):
            pass
    assert in_the_way.read_text() == "mine"


def test_the_secret_is_made_once_and_is_the_owners(tmp_path: Path) -> None:
    first = load_secrets(tmp_path)
    assert load_secrets(tmp_path) == first
    assert len(first) == 1
    assert len(bytes.fromhex(first[0].text)) == 32
    if sys.platform != "win32":
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert load_secrets(other) != first


def test_an_older_secret_stays_beside_a_newer_one(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old\nnew\n")
    assert load_secrets(tmp_path) == [Secret("old"), Secret("new")]


def test_an_empty_secret_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(OperatorError, match="empty"):
        load_secrets(tmp_path)
    assert (tmp_path / "secret").read_text() == "\n"
