"""The sweeper: expired images leave the counts, and bytes go after the grace period when nothing uses them."""

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from library import (
    Headers,
    add,
    add_file,
    add_rows,
    check_counts,
    check_files,
    connect,
    list_ids,
    owner,
    picture,
    run_media,
    somebody,
    sweep_now,
)
from running import servers, until
from wire import stored_blobs

from imgpro_lite.services.sweeper import MIN_PAUSE_SECONDS, SWEEP_EVERY_SECONDS, seconds_until_due

GRACE_SECONDS = 7 * 86_400


def delete(api: Api, headers: Headers, media_id: str) -> None:
    assert api.client.delete(f"/v1/media/{media_id}", headers=headers).status_code == 200


def variants(api: Api) -> list[str]:
    return sorted(path.name for path in (api.data_dir / "cache").rglob("*") if path.is_file())


def storage(api: Api, headers: Headers) -> int:
    return int(api.client.get("/v1/usage", headers=headers).json()["storage_used_bytes"])


def rows(api: Api) -> int:
    with connect(api.data_dir) as conn:
        return int(conn.execute("SELECT count(*) FROM media").fetchone()[0])


# ── expiry ──


def test_expired_images_leave_the_counts(api: Api) -> None:
    headers = owner(api)
    kept, ends = add(api, headers, namespace="ns", tags="a"), add(api, headers, namespace="ns", tags="a", ttl="1h")
    free = api.new_key()
    retained = add(api, free)
    anonymous = add(api, {})
    api.clock.advance(seconds=3599)
    assert sweep_now(api).expired == 0
    api.clock.advance(seconds=1)
    assert storage(api, headers) == 2 * len(picture())  # gone from every list, but not swept yet
    assert list_ids(api, headers) == [kept["id"]]
    assert sweep_now(api).expired == 1
    assert storage(api, headers) == len(picture())
    assert api.client.get("/v1/namespaces", headers=headers).json()["namespaces"][0]["count"] == 1
    assert sweep_now(api).expired == 0
    api.clock.at = retained["expires_at"]
    assert anonymous["expires_at"] == retained["expires_at"]
    swept = sweep_now(api)
    assert (swept.expired, swept.purged) == (2, 1)  # the image with the ttl has had its grace period
    assert storage(api, free) == 0
    assert api.client.get(f"/v1/media/{ends['id']}", headers=headers).status_code == 404
    check_counts(api.data_dir)


def test_more_than_one_step(api: Api) -> None:
    headers = owner(api)
    add_rows(api.data_dir, headers, 1_450, ttl_expires_at=api.clock.at + 10)
    left = add_rows(api.data_dir, headers, 3, ttl_expires_at=api.clock.at + 11)
    api.clock.advance(seconds=10)
    assert sweep_now(api).expired == 1_450
    assert list_ids(api, headers) == left[::-1]
    assert storage(api, headers) == 300
    api.clock.advance(seconds=GRACE_SECONDS)
    swept = sweep_now(api)
    assert (swept.expired, swept.purged) == (3, 1_450)
    check_counts(api.data_dir)
    assert rows(api) == 3


@pytest.mark.slow
def test_the_running_server_sweeps_by_itself_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    """It begins with a sweep, so what ended while it was down is out of the counts soon after."""
    headers = authorization(make_key(tmp_path / "data", "--verified"))
    now = int(time.time())
    add_rows(tmp_path / "data", headers, 5_000, ttl_expires_at=now - 1)
    add_rows(tmp_path / "data", headers, 2, ttl_expires_at=now + 3600)
    add_file(tmp_path / "data")
    with servers(tmp_path) as start:

        def storage_bytes() -> int:
            return int(server.get("/v1/usage", headers=headers).json()["storage_used_bytes"])

        server = start()
        until(lambda: storage_bytes() < 500_200)
        server.end(signal.SIGKILL)
        check_counts(server.data_dir)
        server = start()
        until(lambda: storage_bytes() == 200)
        check_counts(server.data_dir)


def test_the_next_sweep_comes_when_the_next_image_ends(api: Api) -> None:
    app: Any = api.client.app
    portal: Any = api.client.portal
    headers = owner(api)

    def pause_seconds() -> int:
        return int(portal.call(seconds_until_due, app.state.runtime))

    assert pause_seconds() == SWEEP_EVERY_SECONDS
    add_rows(api.data_dir, headers, 1, ttl_expires_at=api.clock.at + 3600)
    assert pause_seconds() == SWEEP_EVERY_SECONDS  # others may come that end earlier
    add_rows(api.data_dir, headers, 2, ttl_expires_at=api.clock.at + 7)
    assert pause_seconds() == 7
    api.clock.advance(seconds=8)
    assert pause_seconds() == MIN_PAUSE_SECONDS
    assert sweep_now(api).expired == 2
    assert pause_seconds() == SWEEP_EVERY_SECONDS


def test_variants_of_purged_bytes_are_gone_even_if_the_server_died_before_the_files_went(start: ApiFactory) -> None:
    api = start(storage={"grace_days": 0})
    headers = owner(api)
    gone, kept = (api.upload(picture(number), headers).json() for number in (1, 2))
    for shown in (gone, kept):
        assert api.fetch(shown["src"].replace(".png", ".webp?size=s")).status_code == 200
    assert len(variants(api)) == 2
    with connect(api.data_dir) as conn:  # rows go first; this is what a crash leaves
        conn.execute("UPDATE media SET deleted_at = 1 WHERE id = ?", (gone["id"],))
        conn.execute("DELETE FROM media WHERE id = ?", (gone["id"],))
    assert sweep_now(api).purged == 0
    assert len(variants(api)) == len(stored_blobs(api)) == 1
    assert api.fetch(kept["src"].replace(".png", ".webp?size=s")).status_code == 200


# ── bytes ──


@pytest.mark.parametrize("how", ["deleted", "expired"])
def test_bytes_stay_for_the_grace_period(api: Api, how: str) -> None:
    headers = owner(api)
    shown = add(api, headers, **({"ttl": "1h"} if how == "expired" else {}))
    assert api.fetch(shown["src"].replace(".png", ".webp?size=s")).status_code == 200
    assert api.fetch(shown["src"].replace(".png", ".jpeg")).status_code == 200
    assert len(variants(api)) == 2
    if how == "deleted":
        delete(api, headers, shown["id"])
    api.clock.advance(seconds=3600)
    sweep_now(api)
    api.clock.advance(seconds=GRACE_SECONDS - 3601)
    assert sweep_now(api).purged == 0
    assert len(stored_blobs(api)) == 1
    api.clock.advance(seconds=3601)
    assert sweep_now(api).purged == 1
    assert stored_blobs(api) == variants(api) == []
    assert rows(api) == 0
    assert sweep_now(api).purged == 0


def test_bytes_stay_while_another_image_has_them(api: Api) -> None:
    headers, other = owner(api), somebody(api)
    mine, again, theirs = add(api, headers), add(api, headers), add(api, other)
    variant = theirs["src"].replace(".png", ".webp?size=s")
    assert api.fetch(variant).status_code == 200
    for one, key in ((mine, headers), (again, headers)):
        delete(api, key, one["id"])
    api.clock.advance(seconds=GRACE_SECONDS)
    assert sweep_now(api).purged == 2
    assert api.fetch(theirs["src"]).content == picture()
    assert len(variants(api)) == 1
    delete(api, other, theirs["id"])
    api.clock.advance(seconds=GRACE_SECONDS - 1)
    assert sweep_now(api).purged == 0
    run_media(api.data_dir, "restore", theirs["id"])
    api.clock.advance(seconds=1)
    assert sweep_now(api).purged == 0
    assert api.fetch(theirs["src"]).content == picture()
    delete(api, other, theirs["id"])
    api.clock.advance(seconds=GRACE_SECONDS)
    assert sweep_now(api).purged == 1
    assert stored_blobs(api) == variants(api) == []


def test_an_image_that_was_deleted_later_keeps_the_bytes(api: Api) -> None:
    headers = owner(api)
    early, late = add(api, headers), add(api, headers)
    delete(api, headers, early["id"])
    api.clock.advance(days=5)
    delete(api, headers, late["id"])
    api.clock.advance(days=2)
    assert sweep_now(api).purged == 1
    assert len(stored_blobs(api)) == 1
    run_media(api.data_dir, "restore", late["id"])
    assert api.fetch(late["src"]).content == picture()
    check_files(api.data_dir)


def test_no_grace_period(start: ApiFactory) -> None:
    api = start(storage={"grace_days": 0})
    headers = owner(api)
    delete(api, headers, add(api, headers)["id"])
    assert sweep_now(api).purged == 1
    assert stored_blobs(api) == []


def test_a_clock_that_is_set_back(api: Api) -> None:
    headers = owner(api)
    deleted, ends = add(api, headers), api.upload(picture(1), headers, ttl="1h").json()
    delete(api, headers, deleted["id"])
    api.clock.advance(seconds=3600)
    assert sweep_now(api).expired == 1
    for days in (-1, -400, 401):
        api.clock.advance(days=days)
        assert sweep_now(api).purged == 0
        check_files(api.data_dir)
        assert len(stored_blobs(api)) == 2
        check_counts(api.data_dir)
    assert api.client.get(f"/v1/media/{ends['id']}", headers=headers).status_code == 404
    api.clock.advance(days=7)
    assert sweep_now(api).purged == 2


def test_below_the_free_space_mark_bytes_go_at_once(start: ApiFactory) -> None:
    api = start()
    headers = owner(api)
    kept, gone = add(api, headers), api.upload(picture(1), headers).json()
    delete(api, headers, gone["id"])
    assert sweep_now(api).purged == 0
    api = start(storage={"min_free_mb": 2**40})
    # The sweep at the start may have done it already.
    sweep_now(api)
    until(lambda: len(stored_blobs(api)) == 1)
    assert api.fetch(kept["src"]).content == picture()
    assert api.upload(picture(2), headers).json()["error"] == "storage_full"
    check_files(api.data_dir)


@pytest.mark.slow
def test_an_upload_of_bytes_that_are_being_swept(start: ApiFactory) -> None:
    """Hundreds of times, at every moment of a sweep: an image that was accepted has its bytes."""
    api = start(storage={"grace_days": 0})
    headers = owner(api)
    purged = 0
    with ThreadPoolExecutor(1) as threads:
        for _ in range(60):
            uploading: Future[Any] = threads.submit(add, api, headers)
            while not uploading.done():
                purged += sweep_now(api).purged
            shown = uploading.result()
            assert api.fetch(shown["src"]).content == picture()
            delete(api, headers, shown["id"])
    assert purged >= 45
    check_counts(api.data_dir)
    check_files(api.data_dir)
