"""What no schema can say: what a picture is, where one to import is, and which images and cursors there are."""

import os
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import AuthContext, Case, GenerationMode, HookContext

from imgpro_lite.fields import MAX_TAG_CHARS, MAX_TAGS, MAX_TAGS_CHARS
from imgpro_lite.web.api_document import DATE_PATTERN, TTL_PATTERN

PICTURE = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
PICTURE_URL = os.environ["IMGPRO_TEST_PICTURE_URL"]
# An image that there is: team_hash/id.
IMAGE = os.environ["IMGPRO_TEST_IMAGE"]
METADATA = '{"author": "Jane Doe"}'
ONLY_AS_UPLOADED = {"bmp", "gif", "heic", "heif", "svg", "tif", "tiff"}  # else 404
NUMBERS = {"date", "ttl", "public"}

schemathesis.openapi.format("binary", st.just(PICTURE))
# Not every address that a grammar allows is one that mail could reach; those are refused.
_HOST = r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z][a-z0-9]{0,9})?\.(com|co\.uk|org|net|de|io|museum)"
schemathesis.openapi.format("email", st.from_regex(rf"[A-Za-z0-9]+([._+-][A-Za-z0-9]+)*@{_HOST}", fullmatch=True))


# Of what a text may be, a part that is easy to make up: the document says less, so that nothing right is refused.
_DAY = "(199[0-9]|20[0-3][0-9])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_TIME = r"[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?"
_TAG = r"[^,\[\]\s\x00-\x1f\x7f-\x9f\u2028\u2029]"
DATE = f"^({_DAY}({_TIME})?|[0-9]{{4}}-W([0-4][1-9])-[1-7]|[+-]?([0-9]{{1,7}}|[0-9]{{9,11}}))$"
TTL = "^([6-9][0-9]m|[1-9][0-9]{0,3}[hd]|5214w|36500d|[4-9][0-9]{3,6})$"
TAGS = f'^({_TAG}{{1,{MAX_TAG_CHARS}}}(,{_TAG}{{0,{MAX_TAG_CHARS}}}){{0,{MAX_TAGS - 1}}}|\\["a", ?"b"\\])?$'


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: Any) -> None:
    """Have texts made up that can be right."""
    for part in _parts(raw_schema):
        if part.get("pattern") == DATE_PATTERN:
            part["pattern"] = DATE
        elif part.get("pattern") == TTL_PATTERN:
            part["pattern"] = TTL
        elif part.get("maxLength") == MAX_TAGS_CHARS:
            part["pattern"] = TAGS


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a value, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(inner)


@schemathesis.check
def says_a_code_of_its_operation(context: Any, response: Any, case: Case) -> None:
    """A refusal has one of the codes that the document has for this operation and status."""
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    if "$ref" in told:
        told = case.operation.schema.raw_schema["components"]["responses"][told["$ref"].rpartition("/")[2]]
    codes = told.get("content", {}).get("application/json", {}).get("examples")
    if codes and "error" in response.json():
        assert response.json()["error"] in codes


@schemathesis.auth()
class Key:
    """The API key of every call."""

    def get(self, case: Case, context: AuthContext) -> str:
        return os.environ["IMGPRO_TEST_KEY"]

    def set(self, case: Case, data: str, context: AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Make a call that is meant to be right one that can be right."""
    operation = case.operation.definition.raw["operationId"]
    if isinstance(case.body, dict):
        _count_tags(case.body)
        _count_tags(case.body.get("update"))
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        _make_right(operation, case)


def _count_tags(fields: Any) -> None:
    """Too many tags are refused when they are too many without empty and repeated ones, which no schema can say."""
    if isinstance(fields, dict) and isinstance(fields.get("tags"), list) and len(fields["tags"]) > MAX_TAGS:
        fields["tags"] = [f"tag {number}" for number in range(len(fields["tags"]))]


def _make_right(operation: str, case: Case) -> None:
    if isinstance(case.body, dict):
        # For a schema 1.0 is an integer. The server takes whole numbers as whole numbers only.
        floats = {name: value for name, value in case.body.items() if isinstance(value, float) and name in NUMBERS}
        case.body.update({name: int(value) for name, value in floats.items()})
    team_hash, media_id = IMAGE.split("/")
    if operation == "upload":
        case.body["file"] = PICTURE
        if "metadata" in case.body:
            case.body["metadata"] = METADATA
    elif operation == "import":
        case.body["url"] = PICTURE_URL
    elif operation == "createKey" and case.body.get("email") is not None:
        case.headers.pop("Authorization")  # with it the address would have to be the team's own
    elif operation == "listMedia":
        case.query.pop("cursor", None)
    elif operation == "deleteBatch":
        case.query.clear()
        if not isinstance(case.body, dict):
            case.query["namespace"] = "old-project"
    elif operation in ("getMedia", "updateMedia"):
        case.path_parameters["media_id"] = media_id
    elif operation == "getOembed":
        case.query["url"] = f"{case.operation.base_url.rstrip('/')}/{media_id}"
    elif operation == "getBytes":
        case.path_parameters.update(team_hash=team_hash, media_id=media_id)
        if case.path_parameters["extension"] in ONLY_AS_UPLOADED:
            case.path_parameters["extension"] = "webp"
