"""The file that only takes up room: given away for deletions on a full disk, and made again when there is room."""

import errno
import os
import sys
from pathlib import Path

import pytest
from conftest import ApiFactory
from library import add, owner, picture
from running import until
from wire import check_refusal

from imgpro_lite.store import failpoints
from imgpro_lite.store.files import allocate
from imgpro_lite.store.reserve import Reserve
from imgpro_lite.store.sqlite_file import LEAST_TO_OPEN_BYTES


def test_deletions_get_the_reserve(
    start: ApiFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = start(storage={"reserve_mb": 1})
    reserve, headers = api.data_dir / "reserve", owner(api)
    shown, other = add(api, headers), add(api, headers)
    assert reserve.stat().st_blocks * 512 >= reserve.stat().st_size == 1024 * 1024  # it really takes up the room

    def full_until_it_is_gone() -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("imgpro_lite.store.reserve.free_bytes", lambda _path: LEAST_TO_OPEN_BYTES)
        patch.setattr(failpoints, "_armed", dict.fromkeys(("delete.marked", "upload.begun"), full_until_it_is_gone))
        check_refusal(api.upload(picture(5), headers), 503, "storage_full")
        assert reserve.exists()  # it is not for uploads
        assert api.client.delete(f"/v1/media/{shown['id']}", headers=headers).status_code == 200
        assert not reserve.exists()
        (line,) = (record.getMessage() for record in caplog.records if "Removed" in record.getMessage())
        assert "Make room, or delete images" in line
        check_refusal(api.upload(picture(5), headers), 503, "storage_full")
        assert api.client.get("/healthz").status_code == 503
        assert api.fetch(other["src"]).status_code == 200
    until(reserve.exists)  # a second later, because there is room
    assert api.upload(picture(5), headers).status_code == 201
    assert api.client.get("/healthz").status_code == 200


def test_a_reserve_is_made_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reserve"
    free = {"bytes": 1000}
    monkeypatch.setattr("imgpro_lite.store.reserve.free_bytes", lambda _path: free["bytes"])
    reserve = Reserve(path, 5 * LEAST_TO_OPEN_BYTES, 10 * LEAST_TO_OPEN_BYTES)
    reserve.prepare()
    assert not path.exists()
    free["bytes"] = 20 * LEAST_TO_OPEN_BYTES
    reserve.prepare()
    assert path.stat().st_size == 5 * LEAST_TO_OPEN_BYTES
    free["bytes"] = 2 * LEAST_TO_OPEN_BYTES  # little, but a start can do with it
    reserve.prepare()
    assert path.exists()
    free["bytes"] = LEAST_TO_OPEN_BYTES - 1
    reserve.prepare()
    assert reserve.is_missing
    assert not reserve.release()
    free["bytes"] = 100 * LEAST_TO_OPEN_BYTES
    reserve.restore()
    Reserve(path, LEAST_TO_OPEN_BYTES, 0).prepare()
    assert path.stat().st_size == LEAST_TO_OPEN_BYTES
    none = Reserve(path, 0, 0)
    none.prepare()
    assert list(tmp_path.iterdir()) == []
    assert not none.is_missing


def test_a_reserve_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_descriptor: int, _size_bytes: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("imgpro_lite.store.reserve.allocate", fails)
    Reserve(tmp_path / "reserve", LEAST_TO_OPEN_BYTES, 0).prepare()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_allocate_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", fails)
    Reserve(tmp_path / "reserve", LEAST_TO_OPEN_BYTES + 5, 0).prepare()
    assert (tmp_path / "reserve").stat().st_size == LEAST_TO_OPEN_BYTES + 5


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
def test_a_quota_that_has_no_room_for_it_is_not_used_up_for_that(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried every second; the free space of the disk says nothing about a quota."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="large"):
            allocate(file.fileno(), 2_000_000)
        assert (tmp_path / "file").stat().st_size == 0
        Reserve(tmp_path / "reserve", 2_000_000, 0).restore()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert caplog.records == []
