"""A disk that fails or is full, at every step of an upload and a view: refused, nothing left behind, and fine again."""

import errno
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_image
from library import add, check_counts, check_files, connect, owner, picture, sweep_now
from running import until
from shared import serve
from views import call, files_below, put, runtime_of
from wire import check_refusal

from imgpro_lite.errors import StorageFull
from imgpro_lite.store import failpoints, files

ANSWERS = {errno.EIO: (500, "internal_error"), errno.ENOSPC: (503, "storage_full")}
BEFORE_THE_COMMIT = [
    *("upload.written", "upload.synced", "upload.begun", "upload.charged"),
    *("blob.renamed", "blob.sync", "blob.durable", "upload.inserted"),
]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("server") / "data") as api:
        yield api


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a point raise, each time it is reached, until the end of the test or of the block."""

    def arm(point: str, number: int) -> None:
        def failing() -> None:
            raise OSError(number, os.strerror(number))

        assert point in failpoints.POINTS
        monkeypatch.setattr(failpoints, "_armed", {point: failing})

    return arm


def check_nothing_is_left(api: Api, stored: list[Path]) -> None:
    assert files_below(api.data_dir / "tmp") == []
    assert files_below(api.data_dir / "blobs") == stored
    assert files_below(api.data_dir / "cache", "*.tmp") == []
    check_counts(api.data_dir)
    check_files(api.data_dir)


@pytest.mark.parametrize("content", [picture(21), pytest.param(SVG, marks=pytest.mark.slow)], ids=["png", "svg"])
@pytest.mark.parametrize("number", ANSWERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("point", BEFORE_THE_COMMIT)
def test_an_upload_that_the_disk_does_not_take(
    shared: Api,
    fail: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    number: int,
    content: bytes,
) -> None:
    api = shared
    stored = files_below(api.data_dir / "blobs")
    fail(point, number)
    check_refusal(api.upload(content), *ANSWERS[number])
    check_nothing_is_left(api, stored)
    assert not runtime_of(api).blobs.doubtful
    monkeypatch.undo()
    shown = api.upload(content).json()
    api.client.get("/healthz").raise_for_status()
    assert api.fetch(shown["src"]).status_code == 200
    forget(api, shown["id"])


def forget(api: Api, media_id: str) -> None:
    """Purge an image, so that the next test finds none of its bytes."""
    with connect(api.data_dir) as conn:
        conn.execute("UPDATE media SET deleted_at = 0 WHERE id = ?", (media_id,))
    sweep_now(api)


def test_an_earlier_image_keeps_the_bytes_that_a_failed_upload_had_too(shared: Api, fail: Callable[..., None]) -> None:
    api = shared
    shown = api.upload(picture(22)).json()
    stored = files_below(api.data_dir / "blobs")
    fail("upload.inserted", errno.EIO)
    check_refusal(api.upload(picture(22)), 500, "internal_error")
    check_nothing_is_left(api, stored)
    assert api.fetch(shown["src"]).content == picture(22)


def test_a_failed_sync_is_never_tried_again_with_the_same_file(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one that failed, the next may well succeed without anything being on the disk (fsyncgate)."""
    api, synced = shared, list[int]()

    def fails(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(files, "sync_file", fails)
    monkeypatch.setattr("imgpro_lite.store.spool.sync_file", fails)
    for _ in range(2):
        check_refusal(api.upload(picture(23)), 500, "internal_error")
    assert len(synced) == 2  # once for each file, and each upload has written its own
    monkeypatch.undo()
    written: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (written.append(os.fstat(descriptor).st_ino), real(descriptor)))
    shown = api.upload(picture(23)).json()
    (path,) = (path for path in files_below(api.data_dir / "blobs") if path.stat().st_ino in written)
    assert path.read_bytes() == api.fetch(shown["src"]).content == picture(23)


@pytest.mark.parametrize("number", ANSWERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("content", [picture(26), SVG], ids=["png", "svg"])
def test_a_worker_without_a_file_to_write_to(
    shared: Api, monkeypatch: pytest.MonkeyPatch, content: bytes, number: int
) -> None:
    """Such as when there are no inodes: reduced pictures of an upload, or its sanitised form, cannot be made."""
    api, really_open = shared, os.open
    stored = files_below(api.data_dir / "blobs")

    def fails(path: Any, flags: int, *args: int, **options: Any) -> int:
        if flags & os.O_EXCL and (Path(path).name.startswith("made-") or "intermediates" in str(path)):
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", fails)
    check_refusal(api.upload(content), *ANSWERS[number])
    check_nothing_is_left(api, stored)
    assert files_below(api.data_dir / "intermediates", "*.tmp") == []
    monkeypatch.undo()
    forget(api, api.upload(content).json()["id"])


@pytest.mark.parametrize("number", ANSWERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("point", ["cache.made", "cache.renamed"])
def test_a_variant_that_the_disk_does_not_take(
    shared: Api, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    api = shared
    stem = put(api, picture(30 + 10 * list(ANSWERS).index(number) + len(point)))
    stored = files_below(api.data_dir / "blobs")
    fail(point, number)
    check_refusal(api.client.get(f"{stem}.webp"), *ANSWERS[number])
    check_nothing_is_left(api, stored)
    monkeypatch.undo()
    assert api.client.get(f"{stem}.webp").status_code == 200  # it was not remembered as one that cannot be made
    assert api.client.get(f"{stem}.png").status_code == 200


@pytest.mark.parametrize("number", ANSWERS, ids=errno.errorcode.get)
def test_a_deletion_that_the_disk_does_not_take(shared: Api, fail: Callable[..., None], number: int) -> None:
    api, headers = shared, owner(shared, email=f"e{number}@example.com")
    shown = add(api, headers)
    fail("delete.marked", number)
    check_refusal(api.client.delete(f"/v1/media/{shown['id']}", headers=headers), *ANSWERS[number])
    assert api.fetch(shown["src"]).status_code == 200
    check_counts(api.data_dir)


@pytest.mark.parametrize("number", StorageFull.ERRNOS)
def test_the_systems_words_for_a_full_disk(number: int) -> None:
    with pytest.raises(StorageFull), files.disk_full_as_refusal():
        raise OSError(number, os.strerror(number))


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_file_that_may_not_grow_any_more(shared: Api) -> None:
    """The system takes a part of a write, and then nothing."""
    import resource

    api = shared
    stored = files_below(api.data_dir / "blobs")
    content = make_image("png", 8, 9) + bytes(9_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, before[1]))
    try:
        check_refusal(api.upload(content), 503, "storage_full")
        check_nothing_is_left(api, stored)
        assert api.upload(picture(25)).status_code == 201
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert api.fetch(api.upload(content).json()["src"]).content == content


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_database_whose_files_may_not_grow_any_more(shared: Api) -> None:
    """SQLite calls this an I/O error, as it does where the quota of the user is used up."""
    import resource

    api, headers = shared, owner(shared, email="limited@example.com")
    add(api, headers)
    stored = files_below(api.data_dir / "blobs")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    try:
        metadata = json.dumps({"long": "x" * 15_000})
        # The log may have been folded, and begins anew then: after some of these it has to grow in any case.
        while (answer := api.upload(picture(), headers, metadata=metadata)).status_code == 201:
            pass
        check_refusal(answer, 503, "storage_full")
        assert int(answer.headers["retry-after"]) >= 1
        check_nothing_is_left(api, stored)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert api.upload(picture(), headers).status_code == 201


def test_a_disk_with_room_is_not_full(tmp_path: Path) -> None:
    """An I/O error of the database is one there, and stays a 500."""
    assert not files.is_out_of_room(tmp_path, 10_000_000)
    assert list(tmp_path.iterdir()) == []


def limit_pages(api: Api, pages: int | None) -> None:
    """Have SQLite say that the disk is full when the database would grow; None ends that."""

    def limit(conn: sqlite3.Connection) -> None:
        (now,) = conn.execute("PRAGMA page_count").fetchone()
        conn.execute(f"PRAGMA max_page_count = {2**31 if pages is None else now + pages}")

    call(api, runtime_of(api).db._writer.run, limit)


def test_a_database_that_cannot_grow(shared: Api) -> None:
    """The file has its name when the row does not fit: it goes again."""
    api = shared
    stored = files_below(api.data_dir / "blobs")
    limit_pages(api, 0)
    fields = {"metadata": json.dumps({"long": "x" * 9000})}
    check_refusal(api.upload(picture(24), **fields), 503, "storage_full")
    check_nothing_is_left(api, stored)
    limit_pages(api, None)
    assert api.upload(picture(24), **fields).status_code == 201


def test_a_doubtful_file_that_could_not_be_removed_goes_with_the_next_sweep(start: ApiFactory) -> None:
    api = start()
    blobs = runtime_of(api).blobs
    with blobs.temporary() as (path, _):
        blobs.adopt(path, bytes(32))
    assert blobs.path(bytes(32)).exists()
    sweep_now(api)
    assert not blobs.path(bytes(32)).exists()
    assert not blobs.doubtful
    with blobs.temporary() as (path, _):
        blobs.adopt(path, bytes(32))
    left = start()  # the other one has ended, and its mark of running stays, so that this start looks
    until(lambda: not blobs.path(bytes(32)).exists())
    assert left.client.get("/healthz").status_code == 200
