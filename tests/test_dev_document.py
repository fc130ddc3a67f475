"""The OpenAPI document of dev mode: all routes and fields of the control plane, which no other has."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api, ApiFactory
from openapi_spec_validator import OpenAPIV31SpecValidator
from pages import POLICY, SCRIPTS, check_page
from pydantic import BaseModel
from shared import serve
from starlette.routing import Route
from test_api_document import documented_fields, resolve, validator

from imgpro_lite.dev.clock import Moment, Step
from imgpro_lite.dev.document import dev_overlay
from imgpro_lite.dev.faults import FaultFields
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.dev.outbox import OutboxFields
from imgpro_lite.dev.routes import dev_routes
from imgpro_lite.dev.snapshots import Reset, Restore
from imgpro_lite.dev.teams import NewKeyFields, TeamFields
from imgpro_lite.settings import Settings
from imgpro_lite.web import api_document

PAGE = "/_dev"  # for people; all else is for programs

BODIES: dict[str, type[BaseModel]] = {
    "setDevClock": Moment,
    "advanceDevClock": Step,
    "resetDevLibrary": Reset,
    "restoreDevSnapshot": Restore,
    "addDevFault": FaultFields,
    "changeDevTeam": TeamFields,
    "createDevKey": NewKeyFields,
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("dev"), dev=DevMode()) as api:
        yield api


@pytest.fixture(scope="module")
def document(dev: Api) -> Any:
    return dev.client.get("/openapi.json").json()


def control_operations(document: Any) -> list[api_document.Operation]:
    return [one for one in api_document.operations(document) if one.path.startswith("/_dev")]


def test_it_is_valid(document: Any) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_it_has_every_route_and_no_other(document: Any) -> None:
    ours = [route for route in dev_routes() if isinstance(route, Route) and route.path != PAGE]
    found = {(method, route.path) for route in ours for method in route.methods or () if method != "HEAD"}
    assert {(one.method, one.path) for one in control_operations(document)} == found


@pytest.mark.parametrize("operation", BODIES)
def test_it_has_every_field_of_a_request_and_no_other(document: Any, operation: str) -> None:
    (details,) = [one.details for one in control_operations(document) if one.id == operation]
    (content,) = details["requestBody"]["content"].values()
    schema = resolve(document, content["schema"])
    fields = BODIES[operation].model_fields
    assert set(schema["properties"]) == set(fields)
    assert set(schema.get("required", [])) == {name for name, field in fields.items() if field.is_required()}
    for described in schema["properties"].values():
        assert described["description"].endswith((".", "`"))


def test_no_body_is_left_out(document: Any) -> None:
    assert {one.id for one in control_operations(document) if "requestBody" in one.details} == set(BODIES)
    query = {one["name"] for one in document["paths"]["/_dev/outbox"]["get"]["parameters"]}
    assert query == set(OutboxFields.model_fields)


def test_every_example_fits_its_schema(document: Any) -> None:
    checked = 0
    for one in control_operations(document):
        contents = [*one.details.get("requestBody", {}).get("content", {}).values()]
        contents += [
            c for r in one.details["responses"].values() for c in resolve(document, r).get("content", {}).values()
        ]
        for content in contents:
            examples = [example["value"] for example in content.get("examples", {}).values()]
            for value in [*examples, *([content["example"]] if "example" in content else [])]:
                problems = [error.message for error in validator(document, content["schema"]).iter_errors(value)]
                assert problems == [], (one.id, value)
                checked += 1
    assert checked > 30


def test_the_examples_work(dev: Api, document: Any) -> None:
    """Every example is a request that the server takes, with an answer as described."""
    dev.client.put("/_dev/snapshots/before-checkout")
    for one in control_operations(document):
        if one.method == "DELETE" or "{mail_id}" in one.path or "{team}" in one.path:
            continue  # of what other examples have just made; below
        send(dev, document, one)
    dev.client.post("/_dev/keys", json={"email": "you@company.com"})
    send(dev, document, next(one for one in control_operations(document) if one.id == "changeDevTeam"))


def send(dev: Api, document: Any, one: api_document.Operation) -> None:
    parameters = [*document["paths"][one.path].get("parameters", []), *one.details.get("parameters", [])]
    path = one.path.format_map({each["name"]: each.get("example") for each in parameters})
    body = one.details.get("requestBody", {}).get("content", {}).get("application/json", {"examples": {"": {}}})
    for example in body["examples"].values():
        answer = dev.client.request(one.method, path, json=example.get("value"))
        described = resolve(document, one.details["responses"][str(answer.status_code)])
        assert answer.status_code < 300, answer.text
        schema = described["content"]["application/json"]["schema"]
        assert [error.message for error in validator(document, schema).iter_errors(answer.json())] == []


def test_real_answers_are_as_described(dev: Api, document: Any) -> None:
    dev.client.post("/_dev/reset")
    made = dev.client.post("/v1/keys", json={"email": "you@company.com"}).json()
    assert made["verify_url"] in dev.client.get("/_dev/outbox").json()["mails"][0]["links"]
    assert [*validator(document, {"$ref": "#/components/schemas/NewKey"}).iter_errors(made)] == []
    mails = dev.client.get("/_dev/outbox").json()
    assert [*validator(document, {"$ref": "#/components/schemas/DevMails"}).iter_errors(mails)] == []
    teams = dev.client.get("/_dev/teams").json()
    assert teams["teams"]
    assert [*validator(document, {"$ref": "#/components/schemas/DevTeams"}).iter_errors(teams)] == []


def test_the_reference_has_it_too(dev: Api, document: Any) -> None:
    page = check_page(dev.client.get("/api/reference"), policy=POLICY + SCRIPTS)
    assert any(values.get("id") == "dev-mode" for _, values in page.tags)
    text = dev.client.get("/api/reference.md").text
    for one in control_operations(document):
        part = text.split(f"### {one.details['summary']}\n")[1].split("\n### ")[0]
        assert f"{one.method} {one.path}\n" in part
    assert re.search(r"curl -X DELETE http://localhost:4647/_dev/faults\n", text)
    assert "curl -o mail.eml" in text


def test_it_follows_the_settings() -> None:
    settings = Settings.model_validate(
        {"server": {"public_url": "http://localhost:1/img", "api_url": "http://127.0.0.1:2"}}
    )
    made = api_document.build(settings, [dev_overlay()])
    for one in control_operations(made):
        assert made["paths"][one.path]["servers"] == [{"url": "http://localhost:1/img"}]
    assert "4647" not in api_document.as_yaml(made)


def test_production_has_none_of_it(start: ApiFactory) -> None:
    api = start()
    for path in ("/openapi.json", "/openapi.yaml", "/api/reference.md", "/llms-full.txt"):
        text = api.client.get(path).text
        assert "_dev" not in text
        assert "dev mode" not in text.lower()
    assert "verify_url" not in documented_answer(api.client.get("/openapi.json").json())


def documented_answer(document: Any) -> Any:
    assert documented_fields(document, "createKey")
    return document["components"]["schemas"]["NewKey"]["properties"]
