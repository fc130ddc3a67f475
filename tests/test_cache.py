"""The cache of variants: bounded, least recently used first, and never trusted more than its files."""

import os
import shutil
from pathlib import Path

import pytest

from imgpro_lite.store.cache import FAILURE_SECONDS, MAX_FAILURES, TOUCH_AFTER_SECONDS, VariantCache

NOW = 1_700_000_000
CAP_BYTES = 1000
FILE_BYTES = 100  # ten of them fit


def open_cache(data_dir: Path, max_bytes: int = CAP_BYTES) -> VariantCache:
    cache = VariantCache(data_dir / "cache", max_bytes)
    cache.prepare()
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> VariantCache:
    return open_cache(tmp_path)


def name_of(number: int) -> str:
    return f"{number:02x}-variant.webp"


def add(cache: VariantCache, number: int, *, at: int = NOW, size_bytes: int = FILE_BYTES) -> Path:
    temporary = cache.temporary(name_of(number))
    temporary.write_bytes(bytes([number]) * size_bytes)
    return cache.adopt(temporary, name_of(number), at)


def kept(cache: VariantCache) -> set[int]:
    """The numbers of the files on disk."""
    return {int(path.name[:2], 16) for path in cache.root.rglob("*") if path.is_file()}


def disk_bytes(cache: VariantCache) -> int:
    return sum(path.stat().st_size for path in cache.root.rglob("*") if path.is_file())


def test_what_was_put_in_is_found(cache: VariantCache) -> None:
    path = add(cache, 1)
    assert cache.find(name_of(1), NOW) == path == cache.path(name_of(1))
    assert path.read_bytes() == bytes([1]) * FILE_BYTES
    assert cache.find(name_of(2), NOW) is None
    assert cache.total_bytes == FILE_BYTES


def test_a_temporary_file_is_not_a_variant(cache: VariantCache, tmp_path: Path) -> None:
    first, second = cache.temporary(name_of(1)), cache.temporary(name_of(1))
    assert first != second
    first.write_bytes(b"half")
    assert cache.find(name_of(1), NOW) is None
    assert open_cache(tmp_path).find(name_of(1), NOW) is None
    assert not first.exists()  # a crash left it


def test_a_variant_that_is_made_twice_counts_once(cache: VariantCache) -> None:
    add(cache, 1)
    add(cache, 1, size_bytes=300)
    assert cache.total_bytes == disk_bytes(cache) == 300


def test_the_cap_holds_after_every_variant(cache: VariantCache) -> None:
    for number in range(256):
        add(cache, number, at=NOW + number, size_bytes=1 + number % 90)
        assert cache.total_bytes <= CAP_BYTES
        if number % 16 == 0:
            assert cache.total_bytes == disk_bytes(cache)
    assert 255 in kept(cache)


def test_the_least_recently_used_goes_first(cache: VariantCache) -> None:
    for number in range(10):
        add(cache, number)
    for number in (0, 3, 5):
        assert cache.find(name_of(number), NOW)
    for number in range(10, 15):
        add(cache, number)
    assert kept(cache) == {0, 3, 5, 8, 9, *range(10, 15)}
    for number in range(15):
        assert (cache.find(name_of(number), NOW) is not None) is (number in kept(cache))


def test_one_that_is_larger_than_the_cap_is_still_served(cache: VariantCache) -> None:
    add(cache, 1)
    path = add(cache, 2, size_bytes=5 * CAP_BYTES)
    assert cache.find(name_of(2), NOW) == path
    assert kept(cache) == {2}
    add(cache, 3)
    assert kept(cache) == {3}


def test_one_who_reads_an_evicted_file_reads_it_to_the_end(cache: VariantCache) -> None:
    with add(cache, 1).open("rb") as reading:
        for number in range(2, 20):
            add(cache, number)
        assert 1 not in kept(cache)
        assert reading.read() == bytes([1]) * FILE_BYTES


def test_a_restart_knows_what_was_used_last(cache: VariantCache, tmp_path: Path) -> None:
    for number in range(10):
        path = add(cache, number, at=NOW)
        os.utime(path, (NOW + number, NOW + number))  # adopted one after the other
    later = open_cache(tmp_path)
    assert later.find(name_of(0), NOW + 10 + TOUCH_AFTER_SECONDS)  # used again, long after it was made
    restarted = open_cache(tmp_path)
    assert restarted.total_bytes == 10 * FILE_BYTES
    add(restarted, 10)
    add(restarted, 11)
    assert kept(restarted) == {0, *range(3, 12)}


def test_a_restart_with_a_smaller_cap_evicts(cache: VariantCache, tmp_path: Path) -> None:
    for number in range(10):
        os.utime(add(cache, number), (NOW + number, NOW + number))
    smaller = open_cache(tmp_path, 3 * FILE_BYTES)
    assert kept(smaller) == {7, 8, 9}
    assert smaller.total_bytes == 3 * FILE_BYTES


def test_a_restart_drops_empty_and_half_made_files(cache: VariantCache, tmp_path: Path) -> None:
    add(cache, 1).write_bytes(b"")
    add(cache, 2)
    cache.temporary(name_of(3)).write_bytes(b"half")
    restarted = open_cache(tmp_path)
    assert restarted.find(name_of(1), NOW) is None
    assert restarted.find(name_of(2), NOW)
    assert kept(restarted) == {2}
    assert restarted.total_bytes == FILE_BYTES


def test_a_restart_is_not_stopped_by_what_others_put_there(cache: VariantCache, tmp_path: Path) -> None:
    add(cache, 1)
    (cache.root / ".DS_Store").write_bytes(b"finder")
    (cache.root / "lost+found").mkdir()
    (cache.root / "ab" / "folder").mkdir(parents=True)
    restarted = open_cache(tmp_path, 2 * FILE_BYTES)
    assert restarted.find(name_of(1), NOW)
    for number in range(2, 6):
        add(restarted, number)
    assert {4, 5} <= {int(path.name[:2], 16) for path in cache.root.rglob("*-variant.webp")}


@pytest.mark.parametrize("noticed", ["by its reader", "when it is touched"])
@pytest.mark.parametrize("lost", ["file", "folder", "all"])
def test_what_somebody_deleted_is_missing_and_can_be_made_again(cache: VariantCache, lost: str, noticed: str) -> None:
    path = add(cache, 1)
    if lost == "file":
        path.unlink()
    else:
        shutil.rmtree(path.parent if lost == "folder" else cache.root)
    if noticed == "by its reader":  # who could not open what was found
        cache.forget(name_of(1))
    assert cache.find(name_of(1), NOW + TOUCH_AFTER_SECONDS + 1) is None
    assert cache.total_bytes == 0
    assert add(cache, 1).exists()
    assert cache.find(name_of(1), NOW) == path
    assert cache.total_bytes == disk_bytes(cache) == FILE_BYTES


def test_a_failure_is_remembered_for_ten_minutes(cache: VariantCache) -> None:
    cache.remember_failure("a", NOW)
    assert FAILURE_SECONDS == 600
    assert [cache.is_known_failure("a", NOW + seconds) for seconds in (0, 599, 600)] == [True, True, False]
    assert not cache.is_known_failure("b", NOW)
    cache.remember_failure("a", NOW + 300)
    assert cache.is_known_failure("a", NOW + 899)


def test_only_so_many_failures_are_remembered_and_the_newest_stay(cache: VariantCache) -> None:
    for number in range(MAX_FAILURES + 10):
        cache.remember_failure(str(number), NOW)
    remembered = [number for number in range(MAX_FAILURES + 10) if cache.is_known_failure(str(number), NOW)]
    assert remembered == list(range(10, MAX_FAILURES + 10))
