"""JSON bodies that no polite client sends (hardening C2): 400 when they cannot be parsed, 422 when they are wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from shared import serve
from wire import check_refusal, send_raw

MB = 1024 * 1024
GOOD = b'{"email": "dev@example.com"}'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


def post(api: Api, body: bytes, content_type: str = "application/json") -> Any:
    return api.client.post("/v1/keys", content=body, headers={"Content-Type": content_type})


UNPARSEABLE = {
    "empty": b"",
    "blank": b" \r\n",
    "no JSON": b"email=dev@example.com",
    "cut": GOOD[:-1],
    "two": GOOD + GOOD,
    "a comma too many": b'{"email": "dev@example.com",}',
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": GOOD + b"//",
    "200,000 arrays": b"[" * 200_000,
    "200,000 arrays, closed": b"[" * 200_000 + b"]" * 200_000,
    "200,000 objects": b'{"a":' * 200_000,
    "too deep beside a good field": b'{"email": "dev@example.com", "a": ' + b"[" * 70 + b"]" * 70 + b"}",
    "deep in an unknown field": b'{"email": "dev@example.com", "a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of 5,000 digits": b'{"email": "dev@example.com", "a": ' + b"9" * 5000 + b"}",
    "NaN": b'{"email": "dev@example.com", "a": NaN}',
    "Infinity": b'{"email": "dev@example.com", "a": -Infinity}',
    "1e999": b'{"email": "dev@example.com", "a": 1e999}',
    "invalid UTF-8": b'{"email": "\xff@example.com"}',
    "overlong UTF-8": b'{"email": "\xc0\xae@example.com"}',
    "a surrogate in UTF-8": b'{"email": "\xed\xa0\x80@example.com"}',
    "Latin-1": '{"email": "jörg@example.com"}'.encode("latin-1"),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without BOM": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "a BOM": b"\xef\xbb\xbf" + GOOD,
    "a key twice": b'{"email": "dev@example.com", "email": "dev@example.com"}',
    "a key twice, spelt differently": b'{"email": "dev@example.com", "\\u0065mail": "dev@example.com"}',
    "a key twice inside": b'{"email": "dev@example.com", "a": [{"b": 1, "b": 1}]}',
    "a raw control character": b'{"email": "dev@example.com", "name": "a\nb"}',
    "a raw NUL": b'{"email": "dev@example.com", "name": "a\0b"}',
    "a list": b"[]",
    "a list of objects": b"[" + GOOD + b"]",
    "a string": b'"dev@example.com"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "more than 1 MB": GOOD + b" " * MB,
    "more than 1 MB of one field": b'{"email": "dev@example.com", "name": "' + b"a" * MB + b'"}',
    "many values": b'{"email": "dev@example.com", "a": [' + b"0," * 300_000 + b"0]}",
    "many empty objects": b'{"email": "dev@example.com", "a": [' + b"{}," * 300_000 + b"0]}",
    "gzip": b"\x1f\x8b\x08\0",
}


@pytest.mark.parametrize("body", UNPARSEABLE.values(), ids=UNPARSEABLE)
def test_what_cannot_be_parsed(shared: Api, body: bytes) -> None:
    assert len(check_refusal(post(shared, body), 400, "bad_request")["message"]) < 200


STRINGS = [
    "\ud800",
    "a\udfffb",
    "\0",
    "a\0@example.com",
    "x" * 100_000,
    "\u0323\u0300" * 1000,
    "",
    "{}",
    "\u202e",
    "%s%n",
]
WRONG_TYPES = [
    True,
    False,
    0,
    1,
    -1,
    2**63,
    2**64,
    10**400,
    0.1,
    -1e308,
    [],
    {},
    [[]],
    [None],
    {"a": "b"},
    ["dev@example.com"],
]


@pytest.mark.parametrize("value", [*STRINGS, *WRONG_TYPES], ids=lambda value: repr(value)[:20])
def test_a_wrong_address(shared: Api, value: Any) -> None:
    errors = check_refusal(post(shared, json.dumps({"email": value}).encode()), 422, "validation_error")["errors"]
    assert list(errors) == ["email"]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=lambda value: repr(value)[:20])
def test_a_wrong_name(shared: Api, value: Any) -> None:
    body = json.dumps({"email": "dev@example.com", "name": value}).encode()
    assert list(check_refusal(post(shared, body), 422, "validation_error")["errors"]) == ["name"]


@pytest.mark.parametrize("value", [*STRINGS, None], ids=lambda value: repr(value)[:20])
def test_any_text_is_a_name(shared: Api, value: Any) -> None:
    assert post(shared, json.dumps({"email": "dev@example.com", "name": value}).encode()).status_code == 201


@pytest.mark.parametrize("key", ["\ud800", "\0", "__proto__", "", "x" * 100_000, "\u202e", "__class__", "model_config"])
def test_unknown_keys_never_hurt(shared: Api, key: str) -> None:
    for value in (1, "\ud800", None, {"\ud800": "\0"}):
        body = json.dumps({"email": "dev@example.com", key: value}).encode()
        assert post(shared, body).status_code == 201


@pytest.mark.parametrize("key", ["\ud800", "\0", "x" * 100_000])
def test_unknown_keys_beside_a_wrong_field_never_hurt(shared: Api, key: str) -> None:
    body = json.dumps({"email": 1, key: 1}).encode()
    assert list(check_refusal(post(shared, body), 422, "validation_error")["errors"]) == ["email"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=utf-16", "multipart/form-data"])
def test_the_declared_type_does_not_matter(shared: Api, content_type: str) -> None:
    assert post(shared, GOOD, content_type).status_code == 201


def test_a_body_of_exactly_1_mb(shared: Api) -> None:
    assert post(shared, GOOD + b" " * (MB - len(GOOD))).status_code == 201


def test_a_body_in_single_bytes(shared: Api) -> None:
    chunks = [bytes([byte]) for byte in '{"email": "jörg@example.com"}'.encode()]
    assert send_raw(shared, "/v1/keys", chunks, []).status_code == 201


def test_an_endless_body_is_read_to_its_limit(shared: Api) -> None:
    chunk = b" " * 64 * 1024
    answer = send_raw(shared, "/v1/keys", iter(lambda: chunk, None), [(b"transfer-encoding", b"chunked")])
    check_refusal(answer, 400, "bad_request")
    assert answer.chunks_taken == MB // len(chunk) + 1


# ── bodies that are as long as they may be ──


def patch(api: Api, value: Any) -> Any:
    """Change no image: fields are looked at first."""
    headers = api.new_key("large@example.com")
    return api.client.patch("/v1/media/abcdefghijklm1", headers=headers, content=json.dumps(value).encode())


LONG = {
    "text of tags": ("tags", "a" * 900_000),
    "text of many tags": ("tags", ",".join(map(str, range(8000)))),
    "text of tags in JSON": ("tags", "[" + '"a",' * 8000 + '"a"]'),
    "an array of tags": ("tags", [str(number) for number in range(16_000)]),
    "one long tag": ("tags", ["a" * 900_000]),
    "a list in metadata": ("metadata", {"a": [0] * 16_000}),
    "text of metadata": ("metadata", '{"a":[' + "0," * 16_000 + "0]}"),
    "long text of metadata": ("metadata", '{"a":"' + "x" * 900_000 + '"}'),
    "one long text in metadata": ("metadata", {"a": "x" * 900_000}),
}


@pytest.mark.parametrize(("field", "value"), LONG.values(), ids=LONG)
def test_a_long_value(shared: Api, field: str, value: Any) -> None:
    answer = patch(shared, {field: value})
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == [field]
    assert len(answer.content) < 1000


@pytest.mark.parametrize("where", ["body", "update"])
def test_many_unknown_fields_are_not_named_one_by_one(shared: Api, where: str) -> None:
    unknown = {f"field{number}": 0 for number in range(10_000)}
    body = {"ids": ["a"], "update": unknown} if where == "update" else unknown
    headers = shared.new_key("many@example.com")
    answer = shared.client.request("PATCH", "/v1/media/batch", headers=headers, json=body)
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == [where]
    assert len(answer.content) < 1000


def test_the_largest_metadata_that_there_can_be(shared: Api) -> None:
    values: list[Any] = [[] for _ in range(4090)]  # ", " between them makes 16 KB
    assert patch(shared, {"metadata": {"a": values}}).status_code == 404
    assert patch(shared, {"metadata": {"a": [*values, 0, 0, 0, 0, 0, 0]}}).status_code == 422


def test_a_long_body_is_taken_like_a_short_one(shared: Api) -> None:
    body = b'{"email": "long@example.com", "name": "a"' + b" " * 900_000 + b"}"
    assert post(shared, body).status_code == 201
