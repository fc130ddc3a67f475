"""GET /v1/media/{id}: who sees an image, and what of it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from shared import serve

CONTRACT_FIELDS = {
    "id",
    "name",
    "url",
    "src",
    "width",
    "height",
    "filesize",
    "extension",
    "editable",
    "tags",
    "namespace",
    "public",
    "created_at",
}
FREE_RETENTION_SECONDS = 30 * 86_400
ANYBODY: dict[str, str] = {}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for the tables below."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def get(api: Api, media_id: str, headers: dict[str, str] = ANYBODY) -> tuple[int, dict[str, object]]:
    answer = api.client.get(f"/v1/media/{media_id}", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


def test_an_image_as_its_upload_described_it(api: Api, clock: FakeClock) -> None:
    key = api.new_key()
    fields = {
        "name": "Grüße.jpg",
        "tags": "Hero, homepage,hero",
        "namespace": "my-project",
        "external_id": "ext-1",
        "date": "2025-06-15",
        "metadata": json.dumps({"license": "cc-by-4.0", "stars": 5, "nested": {"a": [1, None]}}),
        "author": "Jane Doe",
    }
    uploaded = api.upload(make_image("png", 40, 30), key, **fields).json()
    status, shown = get(api, uploaded["id"], key)
    assert (status, shown) == (200, uploaded)
    assert shown["tags"] == ["hero", "homepage"]
    assert (shown["width"], shown["height"], shown["extension"], shown["editable"]) == (40, 30, "png", True)
    assert (shown["license"], shown["stars"], shown["nested"]) == ("cc-by-4.0", 5, {"a": [1, None]})
    assert (shown["author"], shown["date"]) == ("Jane Doe", 1_749_945_600)
    assert shown["created_at"] == clock.at
    assert shown["expires_at"] == clock.at + FREE_RETENTION_SECONDS
    assert set(shown) == CONTRACT_FIELDS | {
        *("expires_at", "date", "external_id"),
        *("license", "stars", "nested", "author"),
    }


def test_what_is_not_set(api: Api) -> None:
    uploaded = api.upload(make_image("png", 4, 3), api.new_key()).json()
    _, shown = get(api, uploaded["id"])
    assert set(shown) == CONTRACT_FIELDS | {"expires_at"}
    assert (shown["tags"], shown["namespace"], shown["public"]) == ([], None, True)


def test_only_the_owner_sees_the_external_id(api: Api) -> None:
    owner, stranger = api.new_key("a@example.com"), api.new_key("b@example.com")
    uploaded = api.upload(make_image("png", 4, 3), owner, external_id="secret-1").json()
    assert uploaded["external_id"] == "secret-1"
    assert get(api, uploaded["id"], owner) == (200, uploaded)
    seen = {name: value for name, value in uploaded.items() if name != "external_id"}
    assert get(api, uploaded["id"], stranger) == (200, seen)
    assert get(api, uploaded["id"]) == (200, seen)


@pytest.mark.parametrize("public", ["true", "false"])
def test_who_sees_an_image(api: Api, public: str) -> None:
    owner, stranger = api.new_key("a@example.com"), api.new_key("b@example.com")
    same_address = api.new_key("a@example.com")  # its own space until the address is confirmed (decision 6)
    media_id = api.upload(make_image("png", 4, 3), owner, public=public).json()["id"]
    assert get(api, media_id, owner)[0] == 200
    for other in (stranger, same_address, ANYBODY):
        status, shown = get(api, media_id, other)
        assert status == (200 if public == "true" else 404)
        assert public == "true" or set(shown) == {"error", "message"}


def test_a_private_image_looks_like_none(api: Api) -> None:
    media_id = api.upload(make_image("png", 4, 3), api.new_key(), public="false").json()["id"]
    unknown = ("0" if media_id[0] != "0" else "1") + media_id[1:]
    assert get(api, media_id) == get(api, unknown)


def test_an_anonymous_image(api: Api, clock: FakeClock) -> None:
    uploaded = api.upload(make_image("png", 4, 3), external_id="ext-1", name="mine.png").json()
    status, shown = get(api, uploaded["id"])
    assert status == 200
    assert shown == {name: value for name, value in uploaded.items() if name != "upgrade"}
    assert (shown["editable"], shown["expires_at"]) == (False, clock.at + FREE_RETENTION_SECONDS)
    assert "external_id" not in shown
    assert get(api, uploaded["id"], api.new_key()) == (200, shown)


def test_nobody_owns_a_private_image_uploaded_without_a_key(api: Api) -> None:
    uploaded = api.upload(make_image("png", 4, 3), public="false").json()
    assert uploaded["public"] is False
    for headers in (ANYBODY, api.new_key()):
        assert get(api, uploaded["id"], headers)[0] == 404
    assert api.fetch(uploaded["src"]).status_code == 200


def test_metadata_never_stands_in_for_a_fixed_field(api: Api) -> None:
    key = api.new_key()
    reserved = sorted(CONTRACT_FIELDS | {"expires_at", "date", "external_id", "ttl", "upgrade", "error", "status"})
    for name in reserved:
        refused = api.upload(make_image("png", 4, 3), key, metadata=json.dumps({name: "forged"}))
        assert (refused.status_code, refused.json()["error"]) == (422, "validation_error"), name
        assert "metadata" in refused.json()["errors"], name
    odd = {"__proto__": "x", "Id": "y", "constructor": {}, "": "z"} | {"größe": "ü", "a b": 1, "x": None}
    answer = api.upload(make_image("png", 4, 3), key, metadata=json.dumps({k: v for k, v in odd.items() if k}))
    assert answer.status_code == 201, answer.text
    _, shown = get(api, answer.json()["id"], key)
    assert shown["id"] == answer.json()["id"]
    assert {name: shown[name] for name in odd if name} == {name: value for name, value in odd.items() if name}


def test_metadata_of_an_older_version_never_stands_in_for_a_fixed_field(api: Api) -> None:
    key = api.new_key()
    uploaded = api.upload(make_image("png", 4, 3), key, author="Jane").json()
    stored = dict.fromkeys(uploaded, "forged") | {"kept": 1}
    with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn, conn:
        conn.execute("UPDATE media SET metadata = ?", (json.dumps(stored),))
    assert get(api, uploaded["id"], key) == (200, uploaded | {"author": "forged", "kept": 1})


@pytest.mark.parametrize(
    "media_id",
    [
        "abcdefghijkl12",  # well-formed, but nobody's
        "abc123",
        "ABCDEFGHIJKL12",
        "abcdefghijkl1",
        "abcdefghijkl123",
        "abcdefghijkl1_",
        "abcdefghijkl1%00",
        "abcdefghijkl12%0a",
        "abcdefghijkl12/",
        "abcdefghijkl12/x",
        "abcdefghijkl12.png",
        "%2e%2e%2f%2e%2e%2fetc",
        "%F0%9F%8E%89",
        "'%20OR%201=1--",
        "1" * 5000,
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_ids_that_are_none(shared: Api, media_id: str, with_key: bool) -> None:
    status, shown = get(shared, media_id, shared.new_key() if with_key else ANYBODY)
    assert (status, shown["error"]) == (404, "not_found")
    assert set(shown) == {"error", "message"}


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer img_live_" + "a" * 32,
        "Bearer ",
        "Bearer",
        "",
        "Basic dXNlcjpwYXNz",
        "Bearer " + "x" * 8192,
        "img_live_x",
    ],
)
def test_a_wrong_key_is_refused_even_where_none_is_needed(shared: Api, authorization: str) -> None:
    media_id = shared.upload(make_image("png", 4, 3)).json()["id"]
    status, shown = get(shared, media_id, {"Authorization": authorization})
    assert (status, shown) == (401, {"error": "unauthorized", "message": "Invalid or missing API key"})


def test_an_expired_image_is_nobodys(api: Api, clock: FakeClock) -> None:
    key = api.new_key()
    by_ttl = api.upload(make_image("png", 4, 3), key, ttl="2h").json()
    by_retention = api.upload(make_image("png", 4, 3)).json()
    for shown in (by_ttl, by_retention):
        clock.at = shown["expires_at"] - 1
        assert get(api, shown["id"])[0] == 200
        clock.advance(seconds=1)
        assert get(api, shown["id"])[0] == 404
        assert get(api, shown["id"], key)[0] == 404


def test_it_outlives_a_restart(start: ApiFactory) -> None:
    api = start()
    key = api.new_key()
    uploaded = api.upload(make_image("png", 4, 3), key, external_id="e").json()
    again = start()
    assert get(again, uploaded["id"], key) == (200, uploaded)
    assert again.fetch(uploaded["src"]).content == make_image("png", 4, 3)
