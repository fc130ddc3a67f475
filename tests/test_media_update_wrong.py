"""PATCH /v1/media/{id}: what is wrong is refused by name, and changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from library import Headers, add, change_media, check_counts, get_media, patch_media, somebody
from shared import serve
from wire import check_refusal

FULL = {
    "name": "n",
    "tags": "a,b",
    "namespace": "ns",
    "public": "false",
    "date": "5",
    "external_id": "e",
    "author": "Jane",
}


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


RESERVED = (
    "id url src width height filesize extension editable created_at expires_at file ttl error message action errors"
)


@pytest.mark.parametrize("name", [*RESERVED.split(), "usage", "media", "upgrade", "object", "status"])
def test_a_reserved_name(shared: Api, headers: Headers, name: str) -> None:
    before = add(shared, headers)
    for body in ({name: "x"}, {name: None, "name": "y"}, {"metadata": {name: 1}}):
        errors = check_refusal(patch_media(shared, headers, before["id"], body), 422, "validation_error")["errors"]
        assert list(errors) == (["metadata"] if "metadata" in body else [name])
    assert get_media(shared, headers, before["id"]) == before


# ── wrong types ──

ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "5": 5,
    "1.5": 1.5,
    "empty": "",
    "[]": [],
    "{}": {},
    "surrogate": "\ud800",
    "NUL": "a\0b",
    "2^63": 2**63,
}
ACCEPTED = {
    "name": ["NUL"],  # without it
    "tags": ["null", "empty", "[]"],
    "tag_mode": [],
    "namespace": ["null"],
    "public": ["true"],
    "date": ["null", "5"],
    "external_id": ["null"],
    "metadata": ["{}"],
    "other": ["null", "true", "5", "1.5", "empty", "[]", "{}", "NUL", "2^63"],
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ACCEPTED)
def test_any_value_in_any_field(shared: Api, headers: Headers, field: str, odd: str) -> None:
    before = add(shared, headers, **FULL)
    answer = patch_media(shared, headers, before["id"], {field: ODD[odd]})
    if odd in ACCEPTED[field]:
        assert answer.status_code == 200, answer.text
        assert get_media(shared, headers, before["id"]) == answer.json()
    else:
        errors = check_refusal(answer, 422, "validation_error")["errors"]
        assert list(errors) == ["metadata" if field == "other" else field]
        assert get_media(shared, headers, before["id"]) == before


def test_every_wrong_field_at_once(shared: Api, headers: Headers) -> None:
    media_id = add(shared, headers)["id"]
    body = {
        "name": 1,
        "tags": 1,
        "tag_mode": "x",
        "namespace": "A",
        "public": 2,
        "date": "x",
        "external_id": [],
        "id": 1,
    }
    errors = check_refusal(patch_media(shared, headers, media_id, body), 422, "validation_error")["errors"]
    assert set(errors) == set(body)


@pytest.mark.parametrize("tags", [",".join("abcdefghijk"), "x" * 51, ["a", 1], [["a"]], "[", ["a\nb"], ["\ud800"]])
def test_wrong_tags(shared: Api, headers: Headers, tags: Any) -> None:
    before = add(shared, headers, tags="a")
    answer = patch_media(shared, headers, before["id"], {"tags": tags, "name": "new"})
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["tags"]
    assert get_media(shared, headers, before["id"]) == before


def test_too_many_tags_together(shared: Api, headers: Headers) -> None:
    media_id = add(shared, headers, tags="a,b,c,d,e,f")["id"]
    refused = patch_media(shared, headers, media_id, {"tags": "g,h,i,j,k", "tag_mode": "add"})
    assert list(check_refusal(refused, 422, "validation_error")["errors"]) == ["tags"]
    shown = change_media(shared, headers, media_id, {"tags": "a,g,h,i,j", "tag_mode": "add"})
    assert shown["tags"] == list("abcdefghij")


@pytest.mark.parametrize(
    "body", ["x", "[]", "null", '"x"', '{"name": "a", "name": "b"}', '{"x": NaN}', "[" * 200_000, " " * 1_100_000]
)
def test_no_json_object(shared: Api, headers: Headers, body: str) -> None:
    media_id = add(shared, headers)["id"]
    check_refusal(shared.client.patch(f"/v1/media/{media_id}", headers=headers, content=body), 400, "bad_request")
