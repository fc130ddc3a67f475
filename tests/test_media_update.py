"""PATCH /v1/media/{id}: what changes an image, what clears a field, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from library import Headers, add, change_media, check_counts, get_media, list_ids, owner, patch_media, somebody
from shared import serve
from wire import check_refusal


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


# ── what changes ──


def test_everything_at_once(shared: Api, headers: Headers) -> None:
    before = add(shared, headers, name="old", tags="x,y", namespace="old", external_id="1", old_field="1", author="A")
    body = {
        "name": "Updated Name",
        "tags": "new-tag,Another",
        "namespace": "new-project",
        "public": False,
        "date": "2025-06-15",
        "external_id": "ext-456",
        "metadata": {"author": "Updated Author", "old_field": None, "new": [1]},
    }
    shown = change_media(shared, headers, before["id"], body)
    assert shown == {name: value for name, value in before.items() if name != "old_field"} | {
        "name": "Updated Name",
        "tags": ["new-tag", "another"],
        "namespace": "new-project",
        "public": False,
        "date": 1_749_945_600,
        "external_id": "ext-456",
        "author": "Updated Author",
        "new": [1],
    }


FULL = {
    "name": "n",
    "tags": "a,b",
    "namespace": "ns",
    "public": "false",
    "date": "5",
    "external_id": "e",
    "author": "Jane",
}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({}, {}),
        ({"name": " n\u202em\0 "}, {"name": "nm"}),
        ({"tags": "B, c ,b"}, {"tags": ["b", "c"]}),
        ({"tags": ["c", "A"]}, {"tags": ["c", "a"]}),
        ({"tags": ""}, {"tags": []}),
        ({"tags": []}, {"tags": []}),
        ({"tags": None}, {"tags": []}),
        ({"tags": "c,a", "tag_mode": "add"}, {"tags": ["a", "b", "c"]}),
        ({"tags": "c,a", "tag_mode": "remove"}, {"tags": ["b"]}),
        ({"tags": "c,a", "tag_mode": "replace"}, {"tags": ["c", "a"]}),
        ({"tags": None, "tag_mode": "add"}, {}),
        ({"tag_mode": "remove"}, {}),
        ({"namespace": "other"}, {"namespace": "other"}),
        ({"namespace": None}, {"namespace": None}),
        ({"public": True}, {"public": True}),
        ({"public": "TRUE"}, {"public": True}),
        ({"public": 1}, {"public": True}),
        ({"date": "1969-12-31T23:59:59Z"}, {"date": -1}),
        ({"date": 0}, {"date": 0}),
        ({"date": None}, {"date": "gone"}),
        ({"external_id": "E"}, {"external_id": "E"}),
        ({"external_id": "e"}, {}),
        ({"external_id": None}, {"external_id": "gone"}),
        ({"metadata": {}}, {}),
        ({"metadata": {"author": None}}, {"author": "gone"}),
        ({"metadata": '{"author": "Joe", "x": 1}'}, {"author": "Joe", "x": 1}),
        ({"author": "Joe", "größe": {"a": None}}, {"author": "Joe", "größe": {"a": None}}),
        ({"author": None}, {"author": "gone"}),
        ({"author": "top", "metadata": {"author": "inside", "x": 1}}, {"author": "top", "x": 1}),
        ({"nobody": None, "metadata": {"nothing": None}}, {}),
    ],
)
def test_one_field(shared: Api, headers: Headers, body: dict[str, Any], changed: dict[str, Any]) -> None:
    before = add(shared, headers, **FULL)
    shown = change_media(shared, headers, before["id"], body)
    expected = {name: value for name, value in (before | changed).items() if value != "gone"}
    assert shown == expected
    assert list_ids(shared, headers) == [before["id"]]


def test_what_never_changes(shared: Api, headers: Headers) -> None:
    before = add(shared, headers, ttl="1d")
    shared.clock.advance(seconds=60)
    shown = change_media(shared, headers, before["id"], {"name": "x"})
    assert shown == before | {"name": "x"}
    assert shared.fetch(shown["src"]).status_code == 200


def test_a_date_changes_the_place_in_the_list(shared: Api, headers: Headers) -> None:
    first, second, third = (add(shared, headers, tags="t", namespace="ns")["id"] for _ in range(3))
    for query in ({}, {"tags": "t"}, {"namespace": "ns"}):
        assert list_ids(shared, headers, **query) == [third, second, first]
    change_media(shared, headers, first, {"date": "2040-01-01"})
    change_media(shared, headers, third, {"date": "1990-01-01"})
    for query in ({}, {"tags": "t"}, {"namespace": "ns"}):
        assert list_ids(shared, headers, **query) == [first, second, third]
    change_media(shared, headers, first, {"date": None})
    change_media(shared, headers, third, {"date": None})
    assert list_ids(shared, headers, limit=1, tags="t") == [third, second, first]


# ── metadata ──


def test_the_limits_of_metadata_are_those_of_the_whole(shared: Api, headers: Headers) -> None:
    media_id = add(shared, headers, metadata=json.dumps({f"k{number}": 1 for number in range(50)}))["id"]
    before = get_media(shared, headers, media_id)
    assert (
        "metadata"
        in check_refusal(patch_media(shared, headers, media_id, {"one_more": 1}), 422, "validation_error")["errors"]
    )
    change_media(shared, headers, media_id, {"k0": 2})
    shown = change_media(shared, headers, media_id, {"metadata": {"k0": None, "k1": None}, "a": 1, "b": 1})
    assert "k1" not in shown
    assert len(shown) == len(before)
    shown = change_media(shared, headers, media_id, {f"k{number}": None for number in range(2, 50)})
    assert set(shown) == (set(before) - {f"k{number}" for number in range(50)}) | {"a", "b"}


def test_the_bytes_of_metadata_are_those_of_the_whole(shared: Api, headers: Headers) -> None:
    media_id = add(shared, headers, metadata=json.dumps({"first": "x" * 10_000}))["id"]
    before = get_media(shared, headers, media_id)
    refused = patch_media(shared, headers, media_id, {"name": "new", "second": "y" * 10_000})
    assert list(check_refusal(refused, 422, "validation_error")["errors"]) == ["metadata"]
    assert get_media(shared, headers, media_id) == before
    assert change_media(shared, headers, media_id, {"first": None, "second": "y" * 10_000})["second"] == "y" * 10_000


@pytest.mark.parametrize("where", ["top level", "metadata"])
@pytest.mark.parametrize(
    "body",
    [
        {f"k{number}": number for number in range(10_000)},
        {f"k{number}": None for number in range(51)},
        {"k": "x" * 900_000},
    ],
    ids=["10,000 keys", "51 keys", "a large value"],
)
def test_too_much_metadata(shared: Api, headers: Headers, body: dict[str, Any], where: str) -> None:
    before = add(shared, headers)
    answer = patch_media(shared, headers, before["id"], body if where == "top level" else {"metadata": body})
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["metadata"]
    assert get_media(shared, headers, before["id"]) == before


# ── external ids ──


def test_a_taken_external_id(shared: Api, headers: Headers) -> None:
    taken = add(shared, headers, external_id="taken", author="Jane")
    other = add(shared, headers, name="other")
    body = check_refusal(
        patch_media(shared, headers, other["id"], {"external_id": "taken", "name": "new"}), 409, "duplicate"
    )
    assert body["media"] == taken
    assert {name: value for name, value in body.items() if name in taken} == {
        name: value for name, value in taken.items() if name != "author"
    }
    assert get_media(shared, headers, other["id"]) == other
    stranger = somebody(shared)
    theirs = add(shared, stranger)["id"]
    assert change_media(shared, stranger, theirs, {"external_id": "taken"})["external_id"] == "taken"


def test_an_external_id_is_free_again(shared: Api, headers: Headers) -> None:
    other = add(shared, headers)["id"]
    cleared = add(shared, headers, external_id="cleared")["id"]
    change_media(shared, headers, cleared, {"external_id": None})
    deleted = add(shared, headers, external_id="deleted")["id"]
    assert shared.client.delete(f"/v1/media/{deleted}", headers=headers).status_code == 200
    expired = add(shared, headers, external_id="expired", ttl="3600")["id"]
    assert patch_media(shared, headers, other, {"external_id": "expired"}).status_code == 409
    shared.clock.advance(seconds=3600)
    for name in ("cleared", "deleted", "expired"):
        assert change_media(shared, headers, other, {"external_id": name})["external_id"] == name
    assert shared.client.get(f"/v1/media/{expired}", headers=headers).status_code == 404


# ── who may ──


def test_whose_image_may_be_changed(shared: Api, headers: Headers) -> None:
    mine = add(shared, headers)["id"]
    deleted, expired = add(shared, headers)["id"], add(shared, headers, ttl="3600")["id"]
    shared.client.delete(f"/v1/media/{deleted}", headers=headers)
    shared.clock.advance(seconds=3600)
    foreign = add(shared, somebody(shared))["id"]
    anonymous = add(shared, {})["id"]
    refused = [
        patch_media(shared, headers, media_id, {"name": "x"}) for media_id in (deleted, expired, foreign, anonymous)
    ]
    refused.append(patch_media(shared, headers, "abcdefghijkl12", {"name": "x"}))
    assert len({answer.text for answer in refused}) == 1
    for answer in refused:
        check_refusal(answer, 404, "not_found")
    check_refusal(patch_media(shared, headers, "x", {}), 404, "not_found")
    check_refusal(patch_media(shared, None, mine, {"name": "x"}), 401, "unauthorized")
    check_refusal(patch_media(shared, None, anonymous, {"name": "x"}), 401, "unauthorized")
    assert get_media(shared, headers, foreign)["name"] == "photo.jpg"


def test_a_key_that_may_only_read(shared: Api) -> None:
    media_id = add(shared, owner(shared))["id"]
    reader = owner(shared, "--read-only")
    check_refusal(patch_media(shared, reader, media_id, {"name": "x"}), 403, "forbidden")
    check_refusal(shared.client.delete(f"/v1/media/{media_id}", headers=reader), 403, "forbidden")
    assert get_media(shared, reader, media_id)["name"] == "photo.jpg"
