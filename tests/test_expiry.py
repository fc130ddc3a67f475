"""An image whose time is over is gone from every route in that second, and from the counts within 60 seconds."""

import itertools
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api
from library import (
    Headers,
    add,
    add_rows,
    check_counts,
    check_files,
    connect,
    delete_batch,
    list_ids,
    list_page,
    owner,
    patch_media,
    picture,
    run_media,
    somebody,
    sweep_now,
    team_of,
    update_batch,
)
from wire import check_refusal, stored_blobs

import imgpro_lite
from imgpro_lite.clock import Clock
from imgpro_lite.models import MediaFilter
from imgpro_lite.store.media_lists import list_media, plan_walk
from imgpro_lite.store.sqlite_file import connect_file, migrate

DAY = 86_400
SIZE = len(picture())
FIELDS = {"tags": "a,b", "namespace": "ns"}

LISTS: list[dict[str, Any]] = [
    {},
    {"limit": 1},
    {"namespace": "ns"},
    {"tags": "a"},
    {"tags": "a,b"},
    {"tags": "a,b", "tag_mode": "any"},
    {"tags": "a,nothing-has-it", "tag_mode": "any"},
    {"tags": "b", "namespace": "ns"},
    {"tags": "a,b", "namespace": "ns"},
    {"tags": "a,b", "namespace": "ns", "tag_mode": "any"},
]
ADDRESSES = ["", "?size=s", "?size=l", "?size=s&x=1"]


def probe(api: Api, shown: dict[str, Any], headers: Headers | None) -> dict[str, bool]:
    """Whether each way of reading shows an image."""
    found: dict[str, bool] = {}
    media = f"/v1/media/{shown['id']}"
    for name, key in (("GET", None), ("GET with the key", headers)):
        found[name] = _is_there(api.client.get(media, headers=key))
    for query in LISTS if headers else []:
        found[f"list {query}"] = shown["id"] in list_ids(api, headers or {}, **query)
    for extension in (".png", ".webp", ".jpeg"):
        for query in ADDRESSES:
            address = shown["src"].replace(".png", extension) + query
            for how in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": '"x"'}):
                found[f"{extension}{query} {how}"] = _is_there(api.fetch(address, headers=how))
    return found


def _is_there(answer: Any) -> bool:
    assert answer.status_code in (200, 206, 404), answer.text
    return bool(answer.status_code != 404)


def by_ttl(api: Api) -> tuple[dict[str, Any], Headers | None]:
    headers = owner(api)
    return add(api, headers, ttl="1h", **FIELDS), headers


def by_retention(api: Api) -> tuple[dict[str, Any], Headers | None]:
    headers = api.new_key()
    return add(api, headers, **FIELDS), headers


def by_being_anonymous(api: Api) -> tuple[dict[str, Any], Headers | None]:
    return add(api, {}, **FIELDS), None


@pytest.mark.parametrize("upload", [by_ttl, by_retention, by_being_anonymous])
def test_the_second_in_which_an_image_ends(
    api: Api, upload: Callable[[Api], tuple[dict[str, Any], Headers | None]]
) -> None:
    shown, headers = upload(api)
    api.clock.at = shown["expires_at"] - 1
    for _ in range(2):  # the second time, bytes come from memory
        before = probe(api, shown, headers)
        assert all(before.values()), before
    api.clock.at = shown["expires_at"]
    after = probe(api, shown, headers)
    assert not any(after.values()), after
    # Decision 50: until it is swept, a clock that is set back shows it again; then no more.
    api.clock.at -= 1
    assert all(probe(api, shown, headers).values())
    api.clock.at += 1
    sweep_now(api)
    for at in (0, -1, -3600, -DAY):
        api.clock.at = shown["expires_at"] + at
        assert not any(probe(api, shown, headers).values())
    check_files(api.data_dir)
    assert len(stored_blobs(api)) == 1


def test_nothing_changes_an_image_that_is_over(api: Api) -> None:
    headers = owner(api)
    ids = [add(api, headers, ttl="1h", external_id=f"e{number}", **FIELDS)["id"] for number in range(5)]
    api.clock.advance(seconds=3599)
    assert patch_media(api, headers, ids[0], {"name": "x"}).status_code == 200
    assert update_batch(api, headers, ids, tags="c", tag_mode="add") == 5
    assert api.client.delete(f"/v1/media/{ids[1]}", headers=headers).status_code == 200
    assert delete_batch(api, headers, {"ids": [ids[2]]}) == 1
    check_refusal(api.upload(picture(), headers, external_id="e0"), 409, "duplicate")
    check_refusal(patch_media(api, headers, ids[0], {"external_id": "e3"}), 409, "duplicate")
    api.clock.advance(seconds=1)
    check_refusal(patch_media(api, headers, ids[0], {"name": "y"}), 404, "not_found")
    check_refusal(api.client.delete(f"/v1/media/{ids[3]}", headers=headers), 404, "not_found")
    assert update_batch(api, headers, ids, tags="d", tag_mode="add") == 0
    assert delete_batch(api, headers, {"ids": ids}) == 0
    assert delete_batch(api, headers, query=f"?ids={ids[3]}") == 0
    assert delete_batch(api, headers, {"namespace": "ns"}) == 0
    again = add(api, headers, external_id="e0")
    assert list_ids(api, headers) == [again["id"]]
    assert patch_media(api, headers, again["id"], {"external_id": "e3"}).status_code == 200
    check_counts(api.data_dir)


def test_the_counts_follow_the_sweep(api: Api) -> None:
    headers = owner(api)
    add(api, headers, **FIELDS)
    add(api, headers, ttl="1h", **FIELDS)
    for seconds, images in ((3599, 2), (1, 1)):
        api.clock.advance(seconds=seconds)
        sweep_now(api)
        usage = api.client.get("/v1/usage", headers=headers).json()
        assert (usage["uploads_used"], usage["storage_used_bytes"]) == (2, images * SIZE)
        (namespace,) = api.client.get("/v1/namespaces", headers=headers).json()["namespaces"]
        assert (namespace["count"], namespace["storage_bytes"]) == (images, images * SIZE)
        check_counts(api.data_dir)


# ── expiry in lists is kept beside the tags; what changes it must be seen there too ──


@pytest.mark.parametrize("with_team", [False, True])
def test_verifying_lifts_the_retention_in_every_list_but_no_ttl(api: Api, with_team: bool) -> None:
    api.clock.at = Clock().now()  # that of the command
    if with_team:
        owner(api, email="dev@example.com")
    made = make_key(api.data_dir, email="dev@example.com")
    headers = authorization(made)
    kept, month, week = (add(api, headers, **FIELDS, **ttl) for ttl in ({}, {"ttl": "60d"}, {"ttl": "7d"}))
    deleted = add(api, headers, **FIELDS)["id"]
    api.client.delete(f"/v1/media/{deleted}", headers=headers)
    run_keys(api.data_dir, "verify", made["key_id"])
    check_counts(api.data_dir)
    run_media(api.data_dir, "restore", deleted)
    check_counts(api.data_dir)
    for days, ids in [(7, [deleted, month["id"], kept["id"]]), (60, [deleted, kept["id"]])]:
        api.clock.at = kept["created_at"] + days * DAY - 1
        assert week["id"] in list_ids(api, headers) or days > 7
        assert len(list_ids(api, headers)) == len(ids) + 1
        api.clock.advance(seconds=1)
        for query in LISTS:
            assert list_ids(api, headers, **query) == ids, query
    sweep_now(api)
    check_counts(api.data_dir)
    assert list_ids(api, headers, tags="a") == [deleted, kept["id"]]


def test_a_restored_image_is_in_every_list_again(api: Api) -> None:
    api.clock.at = Clock().now()
    headers = owner(api)
    shown = add(api, headers, ttl="1h", **FIELDS)
    with connect(api.data_dir) as conn:  # an hour ago, for the command too
        conn.execute("UPDATE media SET ttl_expires_at = ttl_expires_at - 3601")
    check_counts(api.data_dir)
    for query in LISTS:
        assert list_ids(api, headers, **query) == []
    for _ in range(2):  # unswept, and swept
        run_media(api.data_dir, "restore", shown["id"])
        check_counts(api.data_dir)
        for query in LISTS:
            assert list_ids(api, headers, **query) == [shown["id"]]
        with connect(api.data_dir) as conn:
            conn.execute("UPDATE media SET retention_expires_at = ?", (api.clock.at,))
        sweep_now(api)
        assert list_ids(api, headers, tags="a") == []


def test_a_change_of_date_or_tags_keeps_the_expiry(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, ttl="1h", **FIELDS)
    stays = add(api, headers, **FIELDS)["id"]
    for body in ({"date": "2030-01-01"}, {"tags": "a,b,c"}, {"tags": "a,b", "namespace": "other"}, {"namespace": "ns"}):
        assert patch_media(api, headers, shown["id"], body).status_code == 200
        check_counts(api.data_dir)
    api.clock.advance(seconds=3600)
    for query in LISTS:
        assert list_ids(api, headers, **query) == [stays]


def test_pages_go_on_where_images_end_meanwhile(api: Api) -> None:
    headers = somebody(api)
    columns = {"tags": '["a", "b"]', "namespace": "ns"}
    ends = {"ttl_expires_at": api.clock.at + 10}
    ids = [
        media_id
        for number in range(12)
        for media_id in add_rows(api.data_dir, headers, 1, **columns, **({} if number % 3 else ends))
    ][::-1]
    left = [media_id for number, media_id in enumerate(ids) if (11 - number) % 3]
    for query in LISTS[2:]:
        api.clock.at = 1_700_000_000
        first = list_page(api, headers, limit=5, **query)
        api.clock.advance(seconds=10)
        second = list_page(api, headers, limit=5, cursor=first["cursor"], **query)
        shown = [item["id"] for page in (first, second) for item in page["items"]]
        assert shown == ids[:5] + [media_id for media_id in left if media_id not in ids[:5]][: len(second["items"])]
        assert not set(shown[5:]) - set(left)


def test_a_library_of_an_earlier_version(tmp_path: Path) -> None:
    """What was stored before lists had the expiry gets it when the file is opened."""
    scripts = sorted((Path(imgpro_lite.__file__).parent / "store" / "schema").glob("*.sql"))
    path = tmp_path / "imgpro.db"
    ends = [None, 1_700_000_000, 1_700_000_001]
    with connect(tmp_path) as conn:
        conn.executescript("".join(script.read_text("utf-8") for script in scripts[:2]) + "PRAGMA user_version = 2;")
        conn.execute(
            "INSERT INTO teams (id, hash, kind, email, plan, created_at) VALUES (2, 'a0000', 'verified', 'x', '', 1)"
        )
        for number, (ends_at, deleted_at) in enumerate(itertools.product(ends, [None, 5])):
            conn.execute(
                "INSERT INTO media (id, team_id, team_hash, sha256, format, width_px, height_px, frames, has_alpha, "
                "filesize_bytes, name, namespace, tags, public, metadata, created_at, ttl_expires_at, deleted_at) "
                "VALUES (?, 2, 'a0000', zeroblob(32), 'png', 1, 1, 1, 0, 9, '', 'ns', ?, 1, '{}', 5, ?, ?)",
                (f"{number:014d}", '["a", "b"]', ends_at, deleted_at),
            )
    with closing(connect_file(path)) as conn:
        migrate(conn, Clock())
        check_counts(tmp_path)
        for at, live in ((0, 3), (1_700_000_000, 2), (1_700_000_001, 1)):
            for tags, namespace in (((), None), ((), "ns"), (("a",), None), (("a", "b"), "ns")):
                filter_ = MediaFilter(namespace, tags)
                assert len(list_media(conn, 2, filter_, None, 50, at)) == live


def test_lists_walk_past_what_is_over_without_reading_it(api: Api) -> None:
    """The plans of SQLite: only indexes that have the time of expiry. Reading rows would take four times as long."""
    headers = somebody(api)
    add_rows(api.data_dir, headers, 50, tags='["a", "b"]', namespace="ns")
    add_rows(api.data_dir, headers, 500, tags='["a"]')
    team_id = team_of(api.data_dir, headers)
    with connect(api.data_dir) as conn:
        for query in LISTS:
            tags = tuple(query["tags"].split(",")) if "tags" in query else ()
            walk = plan_walk(conn, team_id, MediaFilter(query.get("namespace"), tags, "tag_mode" in query))
            assert walk is not None
            values = {**walk.values, "after_at": 2**62, "after_seq": 2**62, "limit": 51, "now": api.clock.at}
            steps = [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {walk.sql}", values)]
            used = {
                re.sub(r".* USING (?:COVERING )?(?:INDEX )?([\w ]+) \(.*", r"\1", s) for s in steps if "SEARCH" in s
            }
            assert used
            assert used <= {"media_list", "media_namespace", "PRIMARY KEY"}, steps
            assert not [step for step in steps if "SCAN media" in step], steps
        for name in ("media_list", "media_namespace", "media_tags"):
            (sql,) = conn.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
            assert "expires_at" in sql
