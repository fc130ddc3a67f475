"""What no schema can say: what a picture is, where one to import is, and which images and cursors there are."""

import os
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import AuthContext, Case, GenerationMode, HookContext

PICTURE = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
PICTURE_URL = os.environ["IMGPRO_TEST_PICTURE_URL"]
# An image that there is: team_hash/id.
IMAGE = os.environ["IMGPRO_TEST_IMAGE"]
METADATA = '{"author": "Jane Doe"}'
MAX_TAGS = 10
NUMBERS = {"date", "ttl", "public"}

schemathesis.openapi.format("binary", st.just(PICTURE))


# With a key the address of a new one would have to be the team's own.
@schemathesis.auth().skip_for(path="/v1/keys")
class Key:
    """The API key of every other call."""

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
