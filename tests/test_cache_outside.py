"""The cache beside commands and people, who add and remove files while a server uses them."""

import asyncio
import os
import shutil
from pathlib import Path
from random import Random

import pytest
from caches import (
    CAP_BYTES,
    FILE_BYTES,
    NOW,
    add,
    damage,
    disk_bytes,
    kept,
    make_old,
    name_of,
    open_beside,
    open_cache,
    read,
)

from imgpro_lite.store.cache import VariantCache


@pytest.fixture
def cache(tmp_path: Path) -> VariantCache:
    return open_cache(tmp_path)


def rescan(cache: VariantCache) -> list[str]:
    return asyncio.run(cache.rescan())


def test_a_change_that_is_announced_is_noticed_once(cache: VariantCache, tmp_path: Path) -> None:
    add(cache, 1)
    rescan(cache)
    assert not cache.has_changed_outside()
    other = open_beside(tmp_path)
    add(other, 2)
    other.announce_change()
    assert cache.has_changed_outside()
    assert read(cache, 2) is None
    assert rescan(cache) == []
    assert read(cache, 2) == bytes([2]) * FILE_BYTES
    assert cache.total_bytes == 2 * FILE_BYTES
    assert not cache.has_changed_outside()


@pytest.mark.parametrize("lost", ["folder", "what is in it", "all"])
def test_removed_folders_are_noticed_without_an_announcement(cache: VariantCache, lost: str) -> None:
    path = add(cache, 1)
    add(cache, 2)
    rescan(cache)
    assert not cache.has_changed_outside()
    for removed in {"folder": [path.parent], "what is in it": cache.root.iterdir(), "all": [cache.root]}[lost]:
        shutil.rmtree(removed)
    assert cache.has_changed_outside()
    gone = {1} if lost == "folder" else {1, 2}
    assert set(rescan(cache)) == {name_of(number) for number in gone}
    assert cache.total_bytes == (2 - len(gone)) * FILE_BYTES
    assert not cache.has_changed_outside()
    add(cache, 1)
    assert read(cache, 1) is not None


def test_what_others_removed_is_dropped_and_the_rest_keeps_its_order(cache: VariantCache, tmp_path: Path) -> None:
    for number in range(8):
        add(cache, number)
    for number in (1, 0):
        assert cache.find(name_of(number), NOW)
    open_beside(tmp_path).remove_files(["05"])
    assert rescan(cache) == [name_of(5)]
    assert cache.total_bytes == disk_bytes(cache) == 7 * FILE_BYTES
    for number in range(10, 15):
        add(cache, number)
    assert kept(cache) == {6, 7, 1, 0, *range(10, 15), 4}


def test_what_others_added_comes_after_what_is_known_and_the_cap_holds(cache: VariantCache, tmp_path: Path) -> None:
    for number in range(8):
        add(cache, number)
    assert cache.find(name_of(0), NOW)
    other = open_beside(tmp_path)
    for number in range(10, 14):
        os.utime(add(other, number), (NOW + 20 - number, NOW + 20 - number))
    assert rescan(cache) == []
    assert kept(cache) == {0, *range(3, 8), *range(10, 14)}
    for number in range(20, 27):
        add(cache, number)
    assert kept(cache) == {*range(20, 27), 10, 11, 12}  # 13 was the first of them to be made
    assert cache.total_bytes == disk_bytes(cache)


def test_of_a_variant_that_two_processes_made_one_file_stays(cache: VariantCache, tmp_path: Path) -> None:
    other = open_beside(tmp_path)
    for theirs_at, ours_at in ((NOW, NOW + 1), (NOW + 1, NOW)):
        os.utime(add(other, 1, size_bytes=50), (theirs_at, theirs_at))
        os.utime(add(cache, 1, size_bytes=60), (ours_at, ours_at))
        rescan(cache)
        newest_bytes = 50 if theirs_at > ours_at else 60
        assert read(cache, 1) == bytes([1]) * newest_bytes
        assert cache.total_bytes == disk_bytes(cache) == newest_bytes


def test_a_file_of_another_size_counts_as_gone_and_new(cache: VariantCache, tmp_path: Path) -> None:
    add(cache, 1)
    open_beside(tmp_path).remove_files(["01"])
    add(open_beside(tmp_path), 1, size_bytes=50)
    assert rescan(cache) == [name_of(1)]
    assert read(cache, 1) == bytes([1]) * 50
    assert cache.total_bytes == 50


def test_a_rescan_is_right_about_what_happens_meanwhile(tmp_path: Path) -> None:
    """A thread reads while variants are made, used, removed and evicted: what it saw may be older than the index."""
    cache = open_cache(tmp_path, 300 * FILE_BYTES)
    random = Random(1)

    def add_from_outside(number: int) -> None:
        path = cache.root / f"{number:02x}" / f"{number:02x}-other.webp.{FILE_BYTES}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(FILE_BYTES))

    def change_something(number: int) -> None:
        if random.random() < 0.2:
            for name in cache.remove_files([f"{number:02x}"]):
                cache.forget(name)
            assert read(cache, number) is None
        elif read(cache, number) is None:
            add(cache, number, size_bytes=random.randrange(50, 150))
            assert read(cache, number) is not None

    async def scene() -> None:
        for _ in range(10):
            for number in random.sample(range(256), 50):
                add_from_outside(number)
            rescanning = asyncio.create_task(cache.rescan())
            while not rescanning.done():
                change_something(random.randrange(256))
                await asyncio.sleep(0)
            await rescanning
            on_disk = {path.stem for path in cache.root.rglob("*") if path.is_file()}
            assert {name for name in on_disk if cache.find(name, NOW)} == on_disk
            assert cache.total_bytes == disk_bytes(cache) > 0

    asyncio.run(scene())


def test_a_rescan_leaves_what_is_being_made(cache: VariantCache) -> None:
    fresh, old = cache.temporary(name_of(1)), cache.temporary(name_of(2))
    for path in (fresh, old):
        path.write_bytes(b"half")
    make_old(old)
    rescan(cache)
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_temporary_file_that_a_crash_left_goes_when_it_is_old(cache: VariantCache) -> None:
    """Although nothing else has changed in its folder, which is not read again otherwise."""
    path = cache.temporary(name_of(1))
    path.write_bytes(b"half")
    make_old(path.parent)
    rescan(cache)
    assert path.exists()
    make_old(path)
    rescan(cache)
    assert not path.exists()


def test_a_folder_that_has_not_changed_for_long_is_not_read_again(cache: VariantCache) -> None:
    """Which is what makes a rescan cheap; every removal and every new file changes the folder's time."""
    for number in (1, 2):
        make_old(add(cache, number).parent)
    rescan(cache)
    path = cache.find(name_of(1), NOW)
    assert path is not None
    damage(path, "cut")  # which does not change it
    assert rescan(cache) == []
    VariantCache(cache.root, CAP_BYTES).remove_files(["02"])
    assert rescan(cache) == [name_of(2)]
