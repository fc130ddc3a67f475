"""PATCH and DELETE /v1/media/batch: exactly the images that are meant, all of them or none."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from library import (
    Headers,
    add,
    add_rows,
    batch_errors,
    check_counts,
    delete_batch,
    list_ids,
    list_page,
    owner,
    send_batch,
    somebody,
    update_batch,
)
from shared import serve
from wire import check_refusal

UNKNOWN = "abcdefghijkl12"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all of this; after everything its counts are right."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api
        check_counts(api.data_dir)


@pytest.fixture
def headers(shared: Api) -> Headers:
    """A new team for each test."""
    return somebody(shared)


def strangers_and_ghosts(api: Api, headers: Headers) -> list[str]:
    """Ids that are none of the team's: deleted, expired, foreign, anonymous, unknown, no ids at all."""
    deleted, expired = add(api, headers)["id"], add(api, headers, ttl="3600")["id"]
    assert api.client.delete(f"/v1/media/{deleted}", headers=headers).status_code == 200
    api.clock.advance(seconds=3600)
    foreign, anonymous = add(api, somebody(api), namespace="ns")["id"], add(api, {})["id"]
    return [deleted, expired, foreign, anonymous, UNKNOWN, "", "x", "'; --", "é" * 300, UNKNOWN.upper()]


# ── update ──


def test_an_update_changes_all_it_names(shared: Api, headers: Headers) -> None:
    ids = [add(shared, headers, tags="old", author="Jane", external_id=str(number))["id"] for number in range(3)]
    other = add(shared, headers, tags="old")
    before = list_page(shared, headers)["items"]
    assert update_batch(shared, headers, ids, tags="new-tag", namespace="my-project", public=False) == 3
    after = list_page(shared, headers)["items"]
    changed = {"tags": ["new-tag"], "namespace": "my-project", "public": False}
    assert after == [before[0], *(item | changed for item in before[1:])]
    assert after[0]["id"] == other["id"]
    assert shared.client.get(f"/v1/media/{ids[0]}", headers=headers).json()["author"] == "Jane"
    assert list_ids(shared, headers, tags="new-tag", namespace="my-project") == ids[::-1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"tags": "b, C"}, {"tags": ["b", "c"]}),
        ({"tags": ["c"]}, {"tags": ["c"]}),
        ({"tags": "c", "tag_mode": "replace"}, {"tags": ["c"]}),
        ({"tags": "c,a", "tag_mode": "add"}, {"tags": ["a", "b", "c"]}),
        ({"tags": "c,a", "tag_mode": "remove"}, {"tags": ["b"]}),
        ({"tags": ""}, {"tags": []}),
        ({"tags": None}, {"tags": []}),
        ({"tag_mode": "remove"}, {}),
        ({"namespace": None}, {"namespace": None}),
        ({"namespace": "other"}, {"namespace": "other"}),
        ({"public": "false"}, {"public": False}),
        ({"public": 0}, {"public": False}),
    ],
)
def test_one_change(shared: Api, headers: Headers, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    ids = [add(shared, headers, tags="a,b", namespace="ns")["id"] for _ in range(2)]
    before = list_page(shared, headers)["items"]
    assert update_batch(shared, headers, ids, **changes) == 2
    assert list_page(shared, headers)["items"] == [item | expected for item in before]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_is_not_there_is_skipped_and_what_is_twice_counts_once(shared: Api, headers: Headers, method: str) -> None:
    ghosts = strangers_and_ghosts(shared, headers)
    kept, mine = add(shared, headers, namespace="ns")["id"], add(shared, headers)["id"]
    ids = [mine, *ghosts, mine, UNKNOWN, mine]
    if method == "PATCH":
        assert update_batch(shared, headers, ids, namespace="new") == 1
        assert update_batch(shared, headers, ghosts, namespace="new") == 0
        assert list_ids(shared, headers, namespace="new") == [mine]
    else:
        assert delete_batch(shared, headers, {"ids": ids}) == 1
        assert delete_batch(shared, headers, {"ids": ids}) == 0
        assert list_ids(shared, headers) == [kept]
    foreign = shared.client.get(f"/v1/media/{ghosts[2]}").json()
    assert foreign["namespace"] == "ns"
    assert shared.client.get(f"/v1/media/{ghosts[3]}").json()["namespace"] is None


def test_one_image_with_too_many_tags_stops_the_whole_batch(shared: Api, headers: Headers) -> None:
    few = [add(shared, headers, tags="a")["id"] for _ in range(2)]
    many = add(shared, headers, tags="1,2,3,4,5,6,7,8,9")["id"]
    before = list_page(shared, headers)["items"]
    changes = {"tags": "x,y", "tag_mode": "add", "namespace": "new", "public": False}
    body = {"ids": [few[0], many, few[1]], "update": changes}
    assert batch_errors(shared, headers, "PATCH", body) == ["update.tags"]
    assert list_page(shared, headers)["items"] == before
    assert update_batch(shared, headers, few, **changes) == 2
    assert update_batch(shared, headers, [many, *few], tags="x", tag_mode="add") == 3
    assert list_page(shared, headers)["items"][0]["tags"] == [*"123456789", "x"]


def test_a_hundred_at_once(shared: Api, headers: Headers) -> None:
    ids = add_rows(shared.data_dir, headers, 101, namespace="ns")
    assert update_batch(shared, headers, ids[:100], tags="t") == 100
    assert len(list_ids(shared, headers, tags="t")) == 100
    for method in ("PATCH", "DELETE"):
        body: dict[str, Any] = {"ids": ids} | ({"update": {"tags": "u"}} if method == "PATCH" else {})
        assert batch_errors(shared, headers, method, body) == ["ids"]
    assert batch_errors(shared, headers, "DELETE", "", "?ids=" + ",".join(ids)) == ["ids"]
    assert batch_errors(shared, headers, "DELETE", {"ids": ids[:1] * 101}) == ["ids"]
    assert len(list_ids(shared, headers)) == 101
    assert delete_batch(shared, headers, {"ids": ids[:100]}) == 100
    assert list_ids(shared, headers) == [ids[100]]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["ids", "update"]),
        ({"ids": None, "update": None}, ["ids", "update"]),
        ({"ids": [], "update": {}}, ["ids"]),
        ({"ids": {}, "update": []}, ["ids", "update"]),
        ({"ids": 5, "update": "x"}, ["ids", "update"]),
        ({"ids": [1], "update": {}}, ["ids"]),
        ({"ids": [None], "update": {}}, ["ids"]),
        ({"ids": [["MINE"]], "update": {}}, ["ids"]),
        ({"ids": ["MINE", "\ud800"], "update": {}}, ["ids"]),
        ({"ids": ["MINE", "a\0"], "update": {}}, ["ids"]),
        ({"ids": ["MINE"]}, ["update"]),
        ({"ids": ["MINE"], "tags": "x"}, ["tags", "update"]),
        ({"ids": ["MINE"], "namespace": "ns", "update": {"public": False}}, ["namespace"]),
        ({"ids": ["MINE"], "update": {"foo": 1, "tags": "x"}}, ["update.foo"]),
        ({"ids": ["MINE"], "update": {"name": "x"}}, ["update.name"]),
        ({"ids": ["MINE"], "update": {"external_id": "x"}}, ["update.external_id"]),
        ({"ids": ["MINE"], "update": {"metadata": {}}}, ["update.metadata"]),
        ({"ids": ["MINE"], "update": {"date": 5}}, ["update.date"]),
        ({"ids": ["MINE"], "update": {"public": None}}, ["update.public"]),
        ({"ids": ["MINE"], "update": {"tags": 1, "namespace": "A"}}, ["update.namespace", "update.tags"]),
        ({"ids": ["MINE"], "update": {"tags": ",".join("abcdefghijk")}}, ["update.tags"]),
        ({"ids": ["MINE"], "update": {"tag_mode": "x", "namespace": ""}}, ["update.namespace", "update.tag_mode"]),
        ({"ids": 1, "update": {"tags": 1, "x": 1}, "y": 1}, ["ids", "update.tags", "update.x", "y"]),
    ],
)
def test_a_wrong_update(shared: Api, headers: Headers, body: dict[str, Any], fields: list[str]) -> None:
    mine = add(shared, headers, tags="a", namespace="ns")["id"]
    before = list_page(shared, headers)
    assert batch_errors(shared, headers, "PATCH", json.dumps(body).replace("MINE", mine)) == fields
    assert list_page(shared, headers) == before


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_who_may(shared: Api, method: str) -> None:
    headers = owner(shared)
    mine = add(shared, headers)["id"]
    body: dict[str, Any] = {"ids": [mine]} | ({"update": {"tags": "x"}} if method == "PATCH" else {})
    check_refusal(send_batch(shared, None, method, body), 401, "unauthorized")
    check_refusal(send_batch(shared, {"Authorization": "Bearer x"}, method, body), 401, "unauthorized")
    check_refusal(send_batch(shared, owner(shared, "--read-only"), method, body), 403, "forbidden")
    assert list_page(shared, headers)["items"][0]["tags"] == []
