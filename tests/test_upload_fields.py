"""POST /v1/upload: every field beside the file: what is accepted, what it becomes, what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from images import make_image
from shared import serve
from wire import check_refusal, form, part, send_form

PICTURE = make_image("png", 8, 6)
NOW = 1_700_000_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.mark.parametrize(
    ("field", "sent", "shown"),
    [
        ("name", "My Photo", "My Photo"),
        ("name", "  \u202egpj.exe\r\n\0 ", "gpj.exe"),
        ("name", "n" * 300, "n" * 255),
        ("name", "<script>{{7*7}}", "<script>{{7*7}}"),
        ("tags", "hero,homepage", ["hero", "homepage"]),
        ("tags", " Hero , HERO,b,, ,", ["hero", "b"]),
        ("tags", ",", []),
        ("tags", '["a", "B,c"]', ["a", "b,c"]),
        ("tags", "[]", []),
        ("tags", "%,_,';--,\"", ["%", "_", "';--", '"']),
        ("tags", ",".join("abcdefghij"), list("abcdefghij")),
        ("tags", ",".join([*"abcdefghij", "A"]), list("abcdefghij")),
        ("tags", "t" * 50, ["t" * 50]),
        ("tags", "größe,日本", ["größe", "日本"]),
        ("namespace", "my-project", "my-project"),
        ("namespace", "ab", "ab"),
        ("namespace", "a--b", "a--b"),
        ("namespace", "0" * 64, "0" * 64),
        ("public", "true", True),
        ("public", "FALSE", False),
        ("public", "1", True),
        ("public", "0", False),
        ("date", "2025-06-15", 1_749_945_600),
        ("date", "2025-06-15T12:30:00", 1_749_990_600),
        ("date", "2025-06-15T12:30:00Z", 1_749_990_600),
        ("date", "2025-06-15T12:30:00+02:00", 1_749_983_400),
        ("date", "1749945600", 1_749_945_600),
        ("date", "0", 0),
        ("date", "-1", -1),
        ("date", "1969-12-31", -86_400),
        ("date", "0001-01-01", -62_135_596_800),
        ("date", "9999-12-31T23:59:59Z", 253_402_300_799),
        ("external_id", "sku 1/ü", "sku 1/ü"),
        ("external_id", "x" * 255, "x" * 255),
    ],
)
def test_a_field(api: Api, field: str, sent: str, shown: Any) -> None:
    headers = api.new_key()
    answer = api.upload(PICTURE, headers, **{field: sent})
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert image[field] == shown
    assert api.client.get(f"/v1/media/{image['id']}", headers=headers).json() == image


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        ("3600", 3600),
        ("60m", 3600),
        ("1h", 3600),
        ("2d", 172_800),
        ("1w", 604_800),
        ("2592000", 2_592_000),
        ("31d", 2_592_000),  # never later than the retention of an unverified key
        ("3153600000", 2_592_000),
    ],
)
def test_a_ttl(api: Api, ttl: str, seconds: int) -> None:
    image = api.upload(PICTURE, api.new_key(), ttl=ttl).json()
    assert image["expires_at"] == NOW + seconds
    assert "ttl" not in image


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("tags", ",".join("abcdefghijk")),
        ("tags", "t" * 51),
        ("tags", '["a", 1]'),
        ("tags", '["a"'),
        ("tags", "a\nb"),
        ("tags", "a\0"),
        ("namespace", "a"),
        ("namespace", "a" * 65),
        ("namespace", "Ab"),
        ("namespace", "a_b"),
        ("namespace", "--"),
        ("namespace", "-a"),
        ("namespace", "a-"),
        ("namespace", " ab"),
        ("namespace", "ab\n"),
        ("namespace", "größe"),
        ("namespace", "٣٣"),
        ("public", "yes"),
        ("public", "2"),
        ("public", "null"),
        ("date", "yesterday"),
        ("date", "1e18"),
        ("date", "inf"),
        ("date", "nan"),
        ("date", "0000-01-01"),
        ("date", "10000-01-01"),
        ("date", "253402300800"),
        ("date", "9" * 18),
        ("date", "9" * 5000),
        ("date", "2025-02-30"),
        ("date", "1_000"),
        ("date", "1.5"),
        ("ttl", "3599"),
        ("ttl", "59m"),
        ("ttl", "-1"),
        ("ttl", "0"),
        ("ttl", "1e9"),
        ("ttl", "3600.0"),
        ("ttl", "3_600"),
        ("ttl", str(2**63)),
        ("ttl", "3153600001"),
        ("ttl", "1y"),
        ("ttl", "1 h"),
        ("ttl", "٣٦٠٠"),
        ("ttl", "9" * 5000),
        ("external_id", "x" * 256),
        ("external_id", "a\nb"),
        ("external_id", "a\0"),
        ("metadata", "null"),
        ("metadata", "[]"),
        ("metadata", '"a"'),
        ("metadata", "{"),
        ("metadata", '{"a": NaN}'),
        ("metadata", '{"a": 1e999}'),
        ("metadata", '{"a": 1, "a": 2}'),
        ("metadata", '{"a": "\\ud800"}'),
        ("metadata", '{"\\ud800": 1}'),
        ("metadata", '{"a":' * 2000 + "1" + "}" * 2000),
        ("metadata", json.dumps({str(number): 1 for number in range(51)})),
        ("metadata", json.dumps({"a": "x" * 16 * 1024})),
        ("metadata", '{"a": ' + "9" * 5000 + "}"),
        ("metadata", '{"src": "https://evil.example"}'),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_field(api: Api, field: str, wrong: str) -> None:
    body = form(part("file", PICTURE, "a.png"), part(field, wrong))
    errors = check_refusal(send_form(api, body, headers=api.new_key()), 422, "validation_error")["errors"]
    assert list(errors) == [field]


@pytest.mark.parametrize("field", ["name", "tags", "namespace", "public", "external_id", "date", "ttl", "metadata"])
def test_an_empty_field_is_as_none(api: Api, field: str) -> None:
    headers = api.new_key()
    plain = api.upload(PICTURE, headers).json()
    image = api.upload(PICTURE, headers, **{field: ""}).json()
    for name in ("id", "url", "src"):
        del plain[name], image[name]
    assert image == plain


def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    wrong = {
        "tags": "t" * 51,
        "namespace": "A",
        "public": "x",
        "date": "x",
        "ttl": "1",
        "metadata": "[]",
        "status": "x",
    }
    body = check_refusal(api.upload(PICTURE, api.new_key(), **wrong), 422, "validation_error")
    assert set(body["errors"]) == set(wrong)


def test_a_field_sent_twice_is_named_with_the_others(api: Api) -> None:
    body = form(part("file", PICTURE, "a.png"), part("name", "a"), part("name", "b"), part("namespace", "A"))
    errors = check_refusal(send_form(api, body), 422, "validation_error")["errors"]
    assert set(errors) == {"name", "namespace"}


def test_tags_may_be_sent_as_several_fields(api: Api) -> None:
    body = form(part("file", PICTURE, "a.png"), part("tags", "a"), part("tags", "b,c"))
    assert send_form(api, body).json()["tags"] == ["a", "b", "c"]


def test_fields_may_come_before_and_after_the_file(api: Api) -> None:
    body = form(part("tags", "a"), part("file", PICTURE, "a.png"), part("author", "Jane"))
    image = send_form(api, body).json()
    assert (image["tags"], image["author"]) == (["a"], "Jane")


@pytest.mark.parametrize("ttl", ["3600", "1d"])
def test_an_anonymous_ttl_is_refused(api: Api, ttl: str) -> None:
    errors = check_refusal(api.upload(PICTURE, ttl=ttl), 422, "validation_error")["errors"]
    assert list(errors) == ["ttl"]


def test_an_anonymous_ttl_is_named_with_the_others(api: Api) -> None:
    errors = check_refusal(api.upload(PICTURE, ttl="1d", namespace="A"), 422, "validation_error")["errors"]
    assert set(errors) == {"ttl", "namespace"}


def test_the_file_is_only_ever_a_file(api: Api) -> None:
    body = form(part("file", PICTURE, "a.png"), part("file", "text"))
    assert list(check_refusal(send_form(api, body), 422, "validation_error")["errors"]) == ["file"]
