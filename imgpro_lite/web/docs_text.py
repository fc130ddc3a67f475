"""How the texts of the documentation read from the OpenAPI document: the filters of their templates."""

from collections.abc import Callable
from typing import Any, NamedTuple

from imgpro_lite.web import samples
from imgpro_lite.web.api_document import HEADERS_OF_ALL, Json, Operation, error_codes, operations

_KINDS = {
    "application/json": "JSON body",
    "multipart/form-data": "Form fields (`multipart/form-data`)",
}


class Field(NamedTuple):
    """A field of a body or an answer."""

    name: str
    schema: Json
    required: bool


class DocsText:
    """The filters for one document."""

    def __init__(self, document: Json) -> None:
        self._document = document

    @property
    def filters(self) -> dict[str, Callable[..., Any]]:
        """By the names that templates know."""
        own = (self.answer_fields, self.body_fields, self.default_note, self.description, self.more_examples)
        more = (self.parameters, self.type_name, self.where_it_occurs, self.who_may)
        free = (as_json, body_kind, cell, example_answer, own_headers)
        return {function.__name__: function for function in (*own, *more, *free)}

    def resolve(self, schema: Json) -> Json:
        """A schema itself, where it only refers to another."""
        while "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def who_may(self, operation: Operation) -> str:
        """A sentence about keys."""
        security: list[Json] = (self._document | operation.details)["security"]
        if not any(security):
            return "Needs no API key."
        ability = "read" if operation.method == "GET" else "write"
        if {} in security:
            return f"Works with an API key (ability `{ability}`) and without one."
        return f"Needs an API key with the ability `{ability}`."

    def parameters(self, operation: Operation) -> list[Json]:
        """Those of the path and of the operation itself."""
        shared = self._document["paths"][operation.path].get("parameters", [])
        return [*shared, *operation.details.get("parameters", [])]

    def body_fields(self, operation: Operation) -> list[Field]:
        """The fields of the request's body; those of an object in it after it, with a dot."""
        contents = operation.details.get("requestBody", {}).get("content", {}).values()
        return [field for content in contents for field in self._fields(content["schema"])]

    def answer_fields(self, operation: Operation) -> list[Field]:
        """The fields of the answer when all went well."""
        response = next(iter(operation.details["responses"].values()))
        return self._fields(response["content"]["application/json"]["schema"])

    def _fields(self, schema: Json, prefix: str = "") -> list[Field]:
        found: list[Field] = []
        schema = self.resolve(schema)
        for name, kind in schema.get("properties", {}).items():
            found.append(Field(prefix + name, kind, name in schema.get("required", [])))
            inner = self.resolve(kind)
            in_list = self.resolve(inner["items"]) if "items" in inner else {}
            found += self._fields(inner, f"{prefix}{name}.") + self._fields(in_list, f"{prefix}{name}[].")
        return found

    def type_name(self, schema: Json) -> str:
        """`string`, `integer or null`, `string, array or null`."""
        schema = self.resolve(schema)
        kinds = [self.type_name(one) for one in schema.get("oneOf", [])]
        if "type" in schema:
            kinds = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
        if schema.get("format") == "binary":
            kinds = ["file"]
        kinds = list(dict.fromkeys(kinds))
        return ", ".join(kinds[:-1]) + (" or " if len(kinds) > 1 else "") + kinds[-1]

    def description(self, schema: Json) -> str:
        """What a schema is for, with the values that it may have."""
        schema = self.resolve(schema)
        values = ", ".join(f"`{value}`" for value in schema.get("enum", []))
        return " ".join(filter(None, [schema.get("description", ""), values and f"One of {values}."]))

    def default_note(self, schema: Json) -> str:
        """` By default 50.`, where there is a default."""
        default = self.resolve(schema).get("default")
        return "" if default is None else f" By default `{default}`."

    def more_examples(self, operation: Operation) -> list[Json]:
        """The other examples of the request, each with its words and as a command of the shell."""
        contents = operation.details.get("requestBody", {}).get("content", {}).values()
        named = [(name, example) for content in contents for name, example in content["examples"].items()][1:]
        return [{"summary": one["summary"], "source": self._curl(operation, name)} for name, one in named]

    def _curl(self, operation: Operation, example: str) -> str:
        call = samples.call(
            self._document, operation.method, operation.path, operation.details, samples.API_KEY, example
        )
        return next(source for _, label, source in samples.write(call) if label == "curl")

    def where_it_occurs(self, code: str) -> str:
        """A sentence with the requests that an error can answer."""
        errors = self._document["x-errors"]
        if errors[code].get("everywhere"):
            return "Any request can be answered so."
        found = [one for one in operations(self._document) if code in error_codes(one.details, errors)]
        if not found:
            return "Every address can answer so."
        return "Where: " + ", ".join(f"`{one.method} {one.path}`" for one in found) + "."


def body_kind(operation: Operation) -> str:
    """What the body is."""
    return _KINDS[next(iter(operation.details["requestBody"]["content"]))]


def example_answer(operation: Operation, more: Json | None = None) -> str:
    """The example of the answer, with more fields where they are wanted, or nothing for bytes."""
    response = next(iter(operation.details["responses"].values()))
    example = response.get("content", {}).get("application/json", {}).get("example")
    return as_json(example | (more or {})) if example else ""


def own_headers(operation: Operation) -> list[str]:
    """The headers of the answer beside those that every answer has."""
    response = next(iter(operation.details["responses"].values()))
    return [name for name in response["headers"] if name not in HEADERS_OF_ALL]


def as_json(value: Any) -> str:
    """JSON for people to read."""
    return samples.layout(value)


def cell(text: str) -> str:
    """A text in one line, for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
