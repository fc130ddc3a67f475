"""POST /v1/upload: metadata, external ids, and the name that an image gets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api
from images import make_image
from shared import serve
from wire import check_refusal, form, part, send_form, stored_blobs, used

from imgpro_lite.fields import RESERVED

PICTURE = make_image("png", 8, 6)
OTHER = make_image("png", 9, 6)
# Decision 33: all request and response fields of the contract about images, and the words of errors.
CONTRACT_WORDS = """
    file name tags namespace public external_id date ttl metadata id url src width height filesize extension editable
    created_at expires_at upgrade error message action errors usage media object status items cursor has_more limit
    tag_mode ids update updated deleted
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


# ── metadata ──


def test_form_fields_that_nobody_knows_are_metadata(api: Api) -> None:
    fields = {"author": "Jane Doe", "license": "cc-by-4.0", "count": "5", "empty": "", "größe": "日本"}
    image = api.upload(PICTURE, **fields).json()
    assert {name: image[name] for name in fields} == fields
    assert api.client.get(f"/v1/media/{image['id']}").json()["author"] == "Jane Doe"


def test_metadata_may_have_any_text(shared: Api) -> None:
    image = send_form(shared, form(part("file", PICTURE, "a.png"), part("a\0<b>", "\0\u202e{{7*7}}\r\n"))).json()
    assert image["a\0<b>"] == "\0\u202e{{7*7}}\r\n"
    assert shared.client.get(f"/v1/media/{image['id']}").json()["a\0<b>"] == "\0\u202e{{7*7}}\r\n"


def test_metadata_keeps_its_json_types(api: Api) -> None:
    metadata = {"a": 1, "b": 2.5, "c": None, "d": [1, {"e": True}], "__proto__": {"x": 1}, "f": "\0\n", "g": 2**70}
    image = api.upload(PICTURE, metadata=json.dumps(metadata)).json()
    shown = api.client.get(f"/v1/media/{image['id']}").json()
    assert {name: image[name] for name in metadata} == metadata
    assert {name: shown[name] for name in metadata} == metadata


def test_a_form_field_wins_over_the_same_key_of_metadata(api: Api) -> None:
    image = api.upload(PICTURE, metadata='{"author": "object", "year": 1999}', author="field").json()
    assert (image["author"], image["year"]) == ("field", 1999)


def test_the_limits_hold_for_fields_and_metadata_together(api: Api) -> None:
    half = {f"key{number}": "x" for number in range(25)}
    rest = {f"more{number}": "x" for number in range(25)}
    assert api.upload(PICTURE, metadata=json.dumps(half), **rest).status_code == 201
    answer = api.upload(PICTURE, metadata=json.dumps(half), **rest, one="more")
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["metadata"]
    answer = api.upload(PICTURE, metadata=json.dumps({"a": "x" * 10_000}), b="x" * 10_000)
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["metadata"]


@pytest.mark.parametrize("name", sorted(CONTRACT_WORDS.split()))
def test_a_reserved_name_is_never_metadata(shared: Api, name: str) -> None:
    assert name in RESERVED
    errors = check_refusal(shared.upload(PICTURE, metadata=json.dumps({name: "x"})), 422, "validation_error")["errors"]
    assert list(errors) == ["metadata"]
    if name not in ("file", "name", "tags", "namespace", "public", "external_id", "date", "ttl", "metadata"):
        assert list(check_refusal(shared.upload(PICTURE, **{name: "x"}), 422, "validation_error")["errors"]) == [name]


# ── external_id (decision 35) ──


def test_a_duplicate_shows_the_existing_image_both_ways(api: Api) -> None:
    headers = authorization(make_key(api.data_dir, "--verified", "--plan", "free"))
    image = api.upload(PICTURE, headers, external_id="sku-1", author="Jane", public="false").json()
    answer = api.upload(OTHER, headers, external_id="sku-1", name="new")
    body = check_refusal(answer, 409, "duplicate")
    assert body.pop("error") == "duplicate"
    assert body.pop("message")
    assert body.pop("media") == image
    del image["author"]  # the fixed fields only
    assert body == image
    assert answer.headers["x-monthly-uploads-used"] == "1"
    assert used(api, headers) == (1, len(PICTURE))
    assert len(stored_blobs(api)) == 1


def test_external_ids_are_compared_to_the_letter(api: Api) -> None:
    headers = api.new_key()
    for external_id in ("sku", "SKU", " sku", "sk\u00fc", "sku\u0308"):
        assert api.upload(PICTURE, headers, external_id=external_id).status_code == 201
    check_refusal(api.upload(PICTURE, headers, external_id="SKU"), 409, "duplicate")


def test_an_external_id_belongs_to_one_team(api: Api) -> None:
    for headers in (api.new_key(), api.new_key()):
        assert api.upload(PICTURE, headers, external_id="sku-1").status_code == 201


def test_an_external_id_is_free_again_when_its_image_has_expired(api: Api) -> None:
    headers = api.new_key()
    old = api.upload(PICTURE, headers, external_id="sku-1", ttl="1h").json()
    api.clock.at = old["expires_at"] - 1
    check_refusal(api.upload(PICTURE, headers, external_id="sku-1"), 409, "duplicate")
    api.clock.at = old["expires_at"]
    new = api.upload(PICTURE, headers, external_id="sku-1").json()
    assert new["external_id"] == "sku-1"
    body = check_refusal(api.upload(PICTURE, headers, external_id="sku-1"), 409, "duplicate")
    assert body["id"] == new["id"]


def test_an_anonymous_external_id_is_never_unique(api: Api) -> None:
    for _ in range(2):
        answer = api.upload(PICTURE, external_id="sku-1")
        assert answer.status_code == 201
        assert "sku-1" not in answer.text


# ── the name ──


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\\\x.jpg", "x.jpg"),
        ("C:\\\\fake\\\\x.jpg", "x.jpg"),
        ("/a/b/", "image.png"),
        ("CON", "CON"),
        ("émoji 🏖.jpg", "émoji 🏖.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("n" * 4096, "n" * 255),
        ("a\0b.jpg", "ab.jpg"),
        ("a%0d%0aSet-Cookie: x.jpg", "a%0d%0aSet-Cookie: x.jpg"),
        (b"caf\xe9.jpg", "caf\ufffd.jpg"),
        (" .jpg ", ".jpg"),
        ("\u200e", "image.png"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_default_name_is_that_of_the_file(shared: Api, filename: str | bytes, name: str) -> None:
    image: dict[str, Any] = send_form(shared, form(part("file", PICTURE, filename))).json()
    assert image["name"] == name
    assert image["src"].endswith(f"/{image['id']}.png")
    files = {path.name for path in shared.data_dir.iterdir()}
    assert files <= {
        "blobs",
        "cache",
        "intermediates",
        "manifests",
        "tmp",
        "imgpro.db",
        "imgpro.db-shm",
        "imgpro.db-wal",
        "lock",
        "running",
        "secret",
    }


@pytest.mark.parametrize("name", ["", " ", "\u202e"])
def test_an_empty_name_is_as_none(api: Api, name: str) -> None:
    assert api.upload(PICTURE, filename="a.png", name=name).json()["name"] == "a.png"
