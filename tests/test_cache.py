"""The cache of variants: bounded, least recently used first, and never trusted more than its files."""

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from caches import CAP_BYTES, FILE_BYTES, NOW, add, damage, disk_bytes, kept, name_of, open_beside, open_cache, read

from imgpro_lite.store.cache import FAILURE_SECONDS, MAX_FAILURES, TOUCH_AFTER_SECONDS, VariantCache


@pytest.fixture
def cache(tmp_path: Path) -> VariantCache:
    return open_cache(tmp_path)


def test_what_was_put_in_is_found(cache: VariantCache) -> None:
    path = add(cache, 1)
    assert cache.find(name_of(1), NOW) == path
    assert read(cache, 1) == bytes([1]) * FILE_BYTES
    assert path.read_bytes() == bytes([1]) * FILE_BYTES
    assert cache.find(name_of(2), NOW) is None
    assert cache.open(name_of(2), NOW) is None
    assert cache.total_bytes == FILE_BYTES


def test_a_temporary_file_is_not_a_variant(cache: VariantCache, tmp_path: Path) -> None:
    first, second = cache.temporary(name_of(1)), cache.temporary(name_of(1))
    assert first != second
    first.write_bytes(b"half")
    assert cache.find(name_of(1), NOW) is None
    assert open_beside(tmp_path).find(name_of(1), NOW) is None
    assert first.exists()  # the server may be making it
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
    assert {4, 5} <= {int(path.name[:2], 16) for path in cache.root.rglob("*-variant.webp.*")}


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


# ── files that are not whole ──


@pytest.mark.parametrize("how", ["empty", "cut", "longer"])
def test_a_file_that_is_damaged_while_the_server_runs_is_made_again(cache: VariantCache, how: str) -> None:
    add(cache, 2)
    damage(add(cache, 1), how)
    assert read(cache, 1) is None
    assert kept(cache) == {2}
    assert cache.total_bytes == disk_bytes(cache) == FILE_BYTES
    add(cache, 1)
    assert read(cache, 1) == bytes([1]) * FILE_BYTES


@pytest.mark.parametrize("how", ["empty", "cut", "longer"])
def test_a_restart_drops_what_a_power_cut_left(cache: VariantCache, tmp_path: Path, how: str) -> None:
    add(cache, 2)
    damage(add(cache, 1), how)
    restarted = open_cache(tmp_path)
    assert (kept(restarted), restarted.total_bytes) == ({2}, FILE_BYTES)
    assert read(restarted, 1) is None


def test_a_restart_drops_files_without_a_length_in_their_name(cache: VariantCache, tmp_path: Path) -> None:
    path = add(cache, 1)
    path.rename(path.with_name(name_of(1)))  # as the first version named them
    restarted = open_cache(tmp_path)
    assert (kept(restarted), restarted.total_bytes) == (set(), 0)


def test_an_empty_file_is_never_a_variant(cache: VariantCache, tmp_path: Path) -> None:
    """A name that says 0 bytes is true to its file, but no picture."""
    path = add(cache, 1)
    path.with_name(f"{name_of(1)}.0").touch()
    path.unlink()
    assert read(open_cache(tmp_path), 1) is None
    assert kept(cache) == set()


# ── the cap, with everything at once ──


def test_the_disk_never_holds_more_than_the_cap_and_one_file(tmp_path: Path) -> None:
    cap_bytes, most_bytes = 100_000, 3_000
    cache = open_cache(tmp_path, cap_bytes)
    random = Random(1)
    for number in range(1000):
        name = f"{number % 256:02x}-variant{number}.webp"
        temporary = cache.temporary(name)
        temporary.write_bytes(random.randbytes(random.randrange(1, most_bytes)))
        if number % 50 == 0:
            assert disk_bytes(cache) <= cap_bytes + temporary.stat().st_size
        cache.adopt(temporary, name, NOW)
        assert cache.total_bytes <= cap_bytes
        if number % 50 == 0:
            assert disk_bytes(cache) == cache.total_bytes
    assert disk_bytes(cache) == cache.total_bytes > cap_bytes - most_bytes
    assert open_cache(tmp_path, cap_bytes).total_bytes == cache.total_bytes


# ── failures ──


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
