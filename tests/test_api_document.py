"""The OpenAPI document: it has every route, field, header and error of the server, and nothing more, and is valid."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.routing import Route
from test_docs import error_classes

from imgpro_lite import bodies, errors, fields
from imgpro_lite.fields import RESERVED
from imgpro_lite.settings import Settings
from imgpro_lite.web import api_document
from imgpro_lite.web.responses import CORS_EXPOSED_HEADERS
from imgpro_lite.web.routes import routes

# Of the routes, those that are for programs; the rest are pages and their files.
DOCUMENTED = re.compile(r"/v1/|/healthz|/oembed|/\{team_hash")

SETTINGS: list[dict[str, Any]] = [
    {},
    {
        "server": {
            "public_url": "https://pics.example/a/b",
            "api_url": "https://api.example",
            "src_url": "https://src.example",
            "contact": "ops@example.com",
            "registration_closed": True,
        },
        "anonymous": {"enabled": False},
        "limits": dict.fromkeys(("anonymous_uploads_per_hour", "keys_per_email_per_hour", "keys_per_ip_per_hour"), 0),
        "plans": {"free": {"label": 'Gr"atis: {{ x }} # |', "uploads_per_month": 0, "storage_mb": 0}},
    },
]


@pytest.fixture(scope="module", params=SETTINGS, ids=["default", "others"])
def document(request: pytest.FixtureRequest) -> Any:
    return api_document.build(Settings.model_validate(request.param))


def resolve(document: Any, part: Any) -> Any:
    while isinstance(part, dict) and "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = document["components"][kind][name]
    return part


def validator(document: Any, schema: Any) -> Draft202012Validator:
    """Validates by a schema of the document, which may refer to others in it."""
    whole = {**schema, "components": document["components"]}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


def documented_fields(document: Any, operation_id: str) -> dict[str, Any]:
    """The fields of an operation's body."""
    (details,) = [one.details for one in api_document.operations(document) if one.id == operation_id]
    (content,) = details["requestBody"]["content"].values()
    fields: dict[str, Any] = content["schema"]["properties"]
    return fields


def test_it_is_valid(document: Any) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_has_every_route_and_no_other(document: Any) -> None:
    ours = [route for route in routes() if isinstance(route, Route) and DOCUMENTED.match(route.path)]
    methods = [(method, route) for route in ours for method in route.methods or () if method != "HEAD"]
    found = {(method, re.sub(r":\w+}", "}", route.path)) for method, route in methods}
    assert {(one.method, one.path) for one in api_document.operations(document)} == found
    assert len(found) >= 14


@pytest.mark.parametrize(
    ("operation", "model", "more"),
    [
        ("createKey", bodies.KeyFields, set()),
        ("upload", bodies.UploadFields, {"file"}),
        ("import", bodies.UploadFields, {"url"}),
        ("updateMedia", bodies.PatchFields, set()),
        ("updateBatch", bodies.BatchUpdateFields, set()),
        ("deleteBatch", bodies.BatchDeleteFields, set()),
    ],
)
def test_it_has_every_field_of_a_request_and_no_other(
    document: Any, operation: str, model: type[BaseModel], more: set[str]
) -> None:
    assert set(documented_fields(document, operation)) == set(model.model_fields) | more


def test_it_has_every_field_of_the_list_and_of_a_batch(document: Any) -> None:
    change = documented_fields(document, "updateBatch")["update"]["properties"]
    assert set(change) == set(bodies.BatchUpdate.model_fields)
    query = {one["name"] for one in document["paths"]["/v1/media"]["get"]["parameters"]}
    assert query == set(bodies.ListFields.model_fields)


def test_every_reserved_name_is_somewhere_in_it(document: Any) -> None:
    """Names that can never be metadata are reserved because the API uses them; `object` is kept for later."""
    names = {name for part in walk(document) if isinstance(part, dict) for name in part.get("properties", {})}
    names |= {parameter["name"] for parameter in document["paths"]["/v1/media"]["get"]["parameters"]}
    assert RESERVED - names == {"object"}


def walk(part: Any) -> Iterator[Any]:
    yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from walk(inner)


def test_it_has_every_error_and_no_other(document: Any) -> None:
    ours = {error.code: error.status for error in error_classes() if error.__module__ == errors.__name__}
    told = {code: error["status"] for code, error in document["x-errors"].items()}
    assert told == ours
    assert document["components"]["schemas"]["ErrorCode"]["enum"] == list(told)
    for code, error in document["x-errors"].items():
        assert error["example"]["error"] == code
        assert error["when"].endswith(".")
        assert error["then"].endswith(".")


def test_every_error_occurs_somewhere(document: Any) -> None:
    occurring = {code for one in api_document.operations(document) for code in one.details["x-errors"]}
    everywhere = {code for code, error in document["x-errors"].items() if error.get("everywhere")}
    assert set(document["x-errors"]) - occurring - everywhere == {"method_not_allowed"}
    assert occurring & everywhere == set()


def test_every_answer_has_its_headers(document: Any) -> None:
    named = set()
    for operation in api_document.operations(document):
        for response in operation.details["responses"].values():
            headers = resolve(document, response)["headers"]
            assert "X-Request-Id" in headers
            named |= set(headers)
    assert named == set(document["components"]["headers"]) - {"Allow"}  # of 405, which no operation has
    assert set(CORS_EXPOSED_HEADERS.split(", ")) <= named


def test_everything_says_what_it_is_for(document: Any) -> None:
    for operation in api_document.operations(document):
        assert operation.details["summary"]
        assert operation.details["description"].strip().endswith((".", "|", "`"))
        for parameter in operation.details.get("parameters", []):
            assert parameter["description"].endswith(".")
    for name in ("createKey", "upload", "import", "updateMedia"):
        for schema in documented_fields(document, name).values():
            assert resolve(document, schema)["description"]


def test_every_example_fits_its_schema(document: Any) -> None:
    checked = 0
    for one in api_document.operations(document):
        contents = [*one.details.get("requestBody", {}).get("content", {}).items()]
        for response in one.details["responses"].values():
            found = resolve(document, response)["content"].items() if one.path[1] != "{" else []
            contents += [(kind, content) for kind, content in found if "schema" in content]
        for kind, content in contents:
            examples = [example["value"] for example in content.get("examples", {}).values()]
            for value in [*examples, *([content["example"]] if "example" in content else [])]:
                problems = [error.message for error in validator(document, content["schema"]).iter_errors(value)]
                assert problems == [], (one.id, kind, value)
                checked += 1
    assert checked > 50


def test_nothing_that_settings_decide_is_repeated(document: Any) -> None:
    """With other settings none of the defaults is left over, and nothing is filled in by mistake."""
    text = api_document.as_yaml(document)
    assert "{{" not in text
    assert "{%" not in text
    if "pics.example" in text:
        for stale in ("localhost", "4647", "20 an hour", "At most 5"):
            assert stale not in text, stale
        assert "ops@example.com" in text


# Values that callers send and the server takes. A client that validates by the document may refuse none of them.
TAKEN: list[tuple[str, Any, list[Any]]] = [
    (
        "Date",
        fields.check_date,
        ["2025-06-30", "2024-02-29", "2025-12-31T23:59:59Z", "20250615", "12345678", "0001-01-01"],
    ),
    (
        "Date",
        fields.check_date,
        ["9999-12-31", "2025-W03-1", "2025W031", "2025-06-15T10:00+0200", "253402300799", "-1"],
    ),
    ("Date", fields.check_date, ["123456789012", " 2025-06-15 ", "20250615T101500,5Z", -62135596800, 1704067200, "+0"]),
    ("Ttl", fields.check_ttl, ["36500d", "5214w", "876000h", "52560000m", "3153600000", "60m", "03600", " 7d ", 3600]),
    (
        "Tags",
        fields.check_tags,
        ['["a","b"]', ' ["a"] ', "[]", ",a", "a, b ,,a", " a", "a\n,b", ["a", "b"], [], "x" * 50],
    ),
    ("Name", fields.check_name, ["x" * 5000, "", "\x00", "a\u202eb"]),
    ("Public", fields.check_public, ["TRUE", "0", 1, False]),
    ("Namespace", fields.check_namespace, ["ab", "a" * 64, "a--b"]),
    ("ExternalId", fields.check_external_id, ["x" * 255, "é", " a ", "\u202e"]),
]
EMAILS = ["a@b.com", "A@B.com", "a@b.co.uk", "first+tag@gmail.com", "x@y.info", "ü@x.de", "a@xn--mnchen-3ya.de", None]


@pytest.mark.parametrize(("name", "check", "values"), TAKEN)
def test_what_the_server_takes_fits_the_document(document: Any, name: str, check: Any, values: list[Any]) -> None:
    for value in values:
        check(value)  # or it raises
        problems = validator(document, {"$ref": f"#/components/schemas/{name}"}).iter_errors(value)
        assert [error.message for error in problems] == []


def test_every_address_that_is_taken_fits_the_document(document: Any) -> None:
    schema = documented_fields(document, "createKey")["email"]
    for value in EMAILS:
        assert value is None or fields.check_email(value)
        assert list(validator(document, schema).iter_errors(value)) == []
