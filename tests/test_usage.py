"""GET /v1/usage and GET /v1/namespaces: what a team has used, after everything that changes it."""

from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory
from library import (
    Headers,
    add,
    add_rows,
    check_counts,
    delete_batch,
    list_media_by_command,
    owner,
    patch_media,
    picture,
    run_media,
    sweep_now,
    update_batch,
)
from wire import check_refusal

SIZE = len(picture())
NOVEMBER_ENDS_AT = 1_701_388_800  # of the clock's 1_700_000_000: 2023-12-01
DECEMBER_ENDS_AT = 1_704_067_200
GB = 1024**3


def usage(api: Api, headers: Headers) -> dict[str, Any]:
    answer = api.client.get("/v1/usage", headers=headers)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def used(api: Api, headers: Headers) -> tuple[int, int]:
    shown = usage(api, headers)
    return shown["uploads_used"], shown["storage_used_bytes"]


def namespaces(api: Api, headers: Headers) -> list[tuple[str, int, int]]:
    answer = api.client.get("/v1/namespaces", headers=headers)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["namespaces"]
    items = answer.json()["namespaces"]
    assert all(list(item) == ["namespace", "count", "storage_bytes"] for item in items)
    return [tuple(item.values()) for item in items]


# ── usage ──


def test_a_new_key(api: Api) -> None:
    assert usage(api, api.new_key()) == {
        "plan": "free",
        "uploads_used": 0,
        "uploads_limit": 100,
        "uploads_remaining": 100,
        "storage_used_bytes": 0,
        "storage_limit_bytes": 5 * GB,
        "resets_at": NOVEMBER_ENDS_AT,
        "verified": False,
    }


@pytest.mark.parametrize(
    ("plan", "uploads", "storage_gb"),
    [("free", 100, 5), ("pro", 1_000, 50), ("scale", 10_000, 500), ("max", 100_000, 5_120), ("owner", None, None)],
)
def test_every_plan(api: Api, plan: str, uploads: int | None, storage_gb: int | None) -> None:
    headers = owner(api, "--plan", plan)
    add(api, headers)
    assert usage(api, headers) == {
        "plan": plan,
        "uploads_used": 1,
        "uploads_limit": uploads,
        "uploads_remaining": None if uploads is None else uploads - 1,
        "storage_used_bytes": SIZE,
        "storage_limit_bytes": None if storage_gb is None else storage_gb * GB,
        "resets_at": NOVEMBER_ENDS_AT,
        "verified": True,
    }


def test_uploads_are_those_of_the_month_and_storage_is_what_is_kept(api: Api) -> None:
    headers = owner(api)
    first, _ = add(api, headers), add(api, headers)
    assert used(api, headers) == (2, 2 * SIZE)
    assert api.client.delete(f"/v1/media/{first['id']}", headers=headers).status_code == 200
    assert used(api, headers) == (2, SIZE)
    api.clock.at = NOVEMBER_ENDS_AT - 1
    add(api, headers)
    assert used(api, headers) == (3, 2 * SIZE)
    assert usage(api, headers)["resets_at"] == NOVEMBER_ENDS_AT
    api.clock.at = NOVEMBER_ENDS_AT
    assert used(api, headers) == (0, 2 * SIZE)
    assert usage(api, headers)["resets_at"] == DECEMBER_ENDS_AT
    add(api, headers)
    assert used(api, headers) == (1, 3 * SIZE)


@pytest.mark.parametrize(
    ("at", "resets_at"),
    [
        (1_704_067_199, 1_704_067_200),  # 2023-12-31 23:59:59
        (1_704_067_200, 1_706_745_600),  # 2024-01-01: the contract's own example
        (1_709_164_800, 1_709_251_200),  # 2024-02-29
        (1_740_787_199, 1_740_787_200),  # 2025-02-28 23:59:59
        (2_147_483_648, 2_148_595_200),  # 2038-01-19
    ],
)
def test_a_month_ends_with_the_calendars(api: Api, at: int, resets_at: int) -> None:
    api.clock.at = at
    assert usage(api, owner(api))["resets_at"] == resets_at


def test_more_than_the_plan_has(start: ApiFactory) -> None:
    headers = owner(start(), "--plan", "pro")
    api = start(plans={"pro": {"label": "Pro", "uploads_per_month": 1, "storage_mb": 1}})
    add(api, headers)
    add_rows(api.data_dir, headers, 1, filesize_bytes=2 * 1024**2)
    shown = usage(api, headers)
    assert (shown["uploads_remaining"], shown["uploads_used"], shown["uploads_limit"]) == (0, 1, 1)
    assert (shown["storage_used_bytes"], shown["storage_limit_bytes"]) == (SIZE + 2 * 1024**2, 1024**2)


def test_a_refused_upload_uses_nothing(api: Api) -> None:
    headers = owner(api, "--plan", "free")
    add(api, headers, external_id="e")
    assert api.upload(picture(), headers, external_id="e").status_code == 409
    assert api.upload(b"no picture", headers).status_code == 400
    assert api.upload(picture(), headers, namespace="NO").status_code == 422
    assert used(api, headers) == (1, SIZE)


def test_keys_of_a_team_share_its_usage_and_others_do_not(api: Api) -> None:
    headers = owner(api)
    add(api, headers, namespace="ns")
    reader = owner(api, "--read-only")
    assert used(api, reader) == (1, SIZE)
    assert namespaces(api, reader) == [("ns", 1, SIZE)]
    for stranger in (owner(api, email="other@example.com"), api.new_key("ops@example.com")):
        assert used(api, stranger) == (0, 0)
        assert namespaces(api, stranger) == []


def test_confirming_an_address_adds_up(api: Api) -> None:
    team = owner(api, "--plan", "free")
    add(api, team, namespace="ns")
    joining = make_key(api.data_dir, "--plan", "free")
    space = authorization(joining)
    add(api, space, namespace="ns")
    add(api, space, namespace="own")
    assert (usage(api, space)["verified"], used(api, space)) == (False, (2, 2 * SIZE))
    run_keys(api.data_dir, "verify", joining["key_id"])
    for headers in (space, team):
        assert (usage(api, headers)["verified"], used(api, headers)) == (True, (3, 3 * SIZE))
        assert namespaces(api, headers) == [("ns", 2, 2 * SIZE), ("own", 1, SIZE)]


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/namespaces"])
def test_a_key_is_needed(api: Api, path: str) -> None:
    check_refusal(api.client.get(path), 401, "unauthorized")
    check_refusal(api.client.get(path, headers={"Authorization": "Bearer x"}), 401, "unauthorized")


# ── namespaces ──


def test_the_order_of_namespaces(api: Api) -> None:
    headers = owner(api)
    add(api, headers)  # in none
    for name, count, size in (("few", 2, 10_000), ("b-two", 3, 1), ("a-two", 3, 1), ("many", 20, 5)):
        add_rows(api.data_dir, headers, count, namespace=name, filesize_bytes=size)
    assert namespaces(api, headers) == [("many", 20, 100), ("a-two", 3, 3), ("b-two", 3, 3), ("few", 2, 20_000)]


def test_more_namespaces_than_a_page(api: Api) -> None:
    headers = owner(api)
    for number in range(120):
        add_rows(api.data_dir, headers, 1, namespace=f"ns-{number:03d}")
    assert namespaces(api, headers) == [(f"ns-{number:03d}", 1, 100) for number in range(120)]


def test_everything_that_changes_a_count(api: Api) -> None:
    headers = owner(api)
    first, second, third = (add(api, headers, namespace="one")["id"] for _ in range(3))
    expired = add(api, headers, namespace="one", ttl="3600")["id"]
    assert namespaces(api, headers) == [("one", 4, 4 * SIZE)]
    assert patch_media(api, headers, first, {"namespace": "two"}).status_code == 200
    assert namespaces(api, headers) == [("one", 3, 3 * SIZE), ("two", 1, SIZE)]
    assert patch_media(api, headers, first, {"name": "x", "tags": "a"}).status_code == 200
    assert update_batch(api, headers, [first, second], namespace="two", tags="b") == 2
    assert namespaces(api, headers) == [("one", 2, 2 * SIZE), ("two", 2, 2 * SIZE)]
    assert update_batch(api, headers, [second], namespace=None) == 1
    assert namespaces(api, headers) == [("one", 2, 2 * SIZE), ("two", 1, SIZE)]
    api.clock.advance(seconds=3600)
    assert sweep_now(api).expired == 1
    assert namespaces(api, headers) == [("one", 1, SIZE), ("two", 1, SIZE)]
    assert used(api, headers) == (4, 3 * SIZE)
    assert delete_batch(api, headers, {"namespace": "one"}) == 1
    assert api.client.delete(f"/v1/media/{first}", headers=headers).status_code == 200
    assert (namespaces(api, headers), used(api, headers)) == ([], (4, SIZE))
    run_media(api.data_dir, "restore", third, expired)
    assert namespaces(api, headers) == [("one", 2, 2 * SIZE)]
    assert used(api, headers) == (4, 3 * SIZE)
    sha256 = list_media_by_command(api.data_dir)[0]["sha256"]
    run_media(api.data_dir, "delete", third, "--purge")
    assert namespaces(api, headers) == [("one", 1, SIZE)]
    run_media(api.data_dir, "block", sha256)
    assert (namespaces(api, headers), used(api, headers)) == ([], (4, 0))
    check_counts(api.data_dir)
