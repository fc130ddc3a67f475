"""The OpenAPI document of this server: the files of `api_document/`, with what the settings decide filled in.

A file names errors and headers (`x-errors`, `x-headers`), which become whole responses here, so that each is described
once. Code examples (`x-codeSamples`) are made of the examples of the requests.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from imgpro_lite import __version__, fields
from imgpro_lite.bodies import MAX_BODY_FIELDS, PatchFields, UploadFields
from imgpro_lite.formats import EXTENSIONS
from imgpro_lite.rate_windows import DAY_SECONDS
from imgpro_lite.settings import Settings
from imgpro_lite.web import samples
from imgpro_lite.web.api_examples import examples
from imgpro_lite.web.api_overlay import Overlay
from imgpro_lite.web.forms import MAX_FIELD_NAME_CHARS
from imgpro_lite.web.page_text import FILTERS
from imgpro_lite.web.requests import MAX_JSON_BYTES
from imgpro_lite.web.samples import API_KEY
from imgpro_lite.web.stored_as import stored_as

Json = dict[str, Any]

# What every answer has.
HEADERS_OF_ALL = ("X-Request-Id", "Cache-Control", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers")

# In the order in which they are read.
_PATH_FILES = ("paths_uploads.yaml", "paths_images.yaml", "paths_others.yaml")

# Texts that a pattern can only outline: it must let pass all that the server takes, and the server has the last word.
# ISO 8601 in all its forms (days, weeks, with and without separators), and Unix seconds.
DATE_PATTERN = r"^\s*([+-]?[0-9]{1,18}|[0-9]{4}-?W?[0-9]{2}.*)\s*$"
TTL_PATTERN = r"^\s*[0-9]{1,12}[mhdw]?\s*$"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    details: Json

    @property
    def id(self) -> str:
        return str(self.details["operationId"])


def facts(settings: Settings) -> Json:
    """What texts and schemas take from the settings and from the rules for fields."""
    limits = settings.limits
    rates = {"an hour": limits.anonymous_uploads_per_hour, "a day": limits.anonymous_uploads_per_day}
    return {
        "api_key": API_KEY,
        "version": __version__,
        "site_name": settings.public_url.partition("//")[2],
        "public_url": settings.public_url,
        "api_url": settings.api_url,
        "src_url": settings.src_url,
        "contact": settings.server.contact,
        "registration_closed": settings.server.registration_closed,
        "limits": limits,
        "anonymous": settings.anonymous,
        "anonymous_rate": " and ".join(f"{limit:,} {window}" for window, limit in rates.items() if limit),
        "without_key": _without_key(settings),
        "stored_as": stored_as(settings),
        "stripped_with_key": settings.uploads.stripped(anonymous=False),
        "body_idle_seconds": f"{settings.server.body_idle_seconds:g}",
        "examples": examples(settings),
        "import_ports": " or ".join(str(port) for port in settings.import_.ports),
        "file_mb": limits.file_mb,
        "anonymous_file_mb": limits.anonymous_file_mb,
        "svg_file_mb": min(limits.svg_file_mb, limits.file_mb),
        "max_body_fields": MAX_BODY_FIELDS,
        "max_age_seconds": settings.cache.max_age_seconds,
        "max_field_name_chars": MAX_FIELD_NAME_CHARS,
        "max_json_kb": MAX_JSON_BYTES // 1024,
        "max_email_chars": fields.MAX_EMAIL_CHARS,
        "max_name_chars": fields.MAX_NAME_CHARS,
        "max_tags": fields.MAX_TAGS,
        "max_tag_chars": fields.MAX_TAG_CHARS,
        "max_external_id_chars": fields.MAX_EXTERNAL_ID_CHARS,
        "max_metadata_keys": fields.MAX_METADATA_KEYS,
        "max_metadata_kb": fields.MAX_METADATA_BYTES // 1024,
        "max_batch_ids": fields.MAX_BATCH_IDS,
        "max_page_images": fields.MAX_PAGE_IMAGES,
        "default_page_images": fields.DEFAULT_PAGE_IMAGES,
        "min_ttl_seconds": fields.MIN_TTL_SECONDS,
        "max_ttl_seconds": fields.MAX_TTL_SECONDS,
        "max_ttl_days": fields.MAX_TTL_SECONDS // DAY_SECONDS,
        "max_tags_chars": fields.MAX_TAGS_CHARS,
        "date_pattern": DATE_PATTERN,
        "ttl_pattern": TTL_PATTERN,
        "reserved": sorted(fields.RESERVED),
        "reserved_in_imports": sorted(fields.RESERVED - UploadFields.model_fields.keys() - {"url"}),
        "reserved_in_uploads": sorted(fields.RESERVED - UploadFields.model_fields.keys() - {"file"}),
        "reserved_in_changes": sorted(fields.RESERVED - PatchFields.model_fields.keys()),
        "extensions": sorted(EXTENSIONS),
    }


def _without_key(settings: Settings) -> str:
    """What a caller may do without a key, beside asking for one."""
    if not settings.anonymous.enabled:
        return "Without a key you can only read public images"
    imports = " and import" if settings.anonymous.import_ else ""
    return f"Without a key you can upload{imports}, and read public images"


def build(settings: Settings, overlays: Iterable[Overlay] = ()) -> Json:
    """The whole document."""
    read = _Reader(facts(settings))
    errors = read("errors.yaml", codes=[])
    document = read("info.yaml")
    document["paths"] = {path: item for name in _PATH_FILES for path, item in read(name).items()}
    document["components"]["schemas"] = read("fields.yaml") | read("schemas.yaml", codes=list(errors))
    document["components"]["headers"] = read("headers.yaml")
    document["x-errors"] = errors
    for overlay in overlays:
        read = _Reader({**facts(settings), **overlay.facts}, overlay.package)
        for name in overlay.names:
            _lay_over(document, read(name))
    for operation in operations(document):
        _spell_out_form(operation.details, document["components"]["schemas"])
        _describe_answers(operation.details, errors)
    for operation in operations(document):
        _add_samples(document, operation)
    document["components"]["responses"] = _share_responses(document)
    return document


def _lay_over(document: Json, more: Json) -> None:
    """Add to each part what there is more of it."""
    for name, part in more.items():
        if name not in document:
            document[name] = part
        elif isinstance(part, dict):
            _lay_over(document[name], part)
        else:
            document[name] += part


class _Reader:
    """Reads files of the directory `api_document` of a package."""

    def __init__(self, facts: Json, package: str = "imgpro_lite.web") -> None:
        loader = PackageLoader(package, "api_document")
        # No HTML: what is filled in is either fixed or written as JSON, which is YAML too.
        self._environment = Environment(loader=loader, autoescape=False, undefined=StrictUndefined, trim_blocks=True)  # noqa: S701
        self._environment.filters.update(FILTERS)
        self._environment.policies["json.dumps_function"] = _dump_json
        self._facts = facts

    def __call__(self, name: str, **more: Any) -> Json:
        text = self._environment.get_template(name).render(self._facts | more)
        parsed: Json = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader, the fastest there is)
        return parsed


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _dump_json(value: Any, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def operations(document: Json) -> Iterator[Operation]:
    """Every operation, in the order of the document."""
    for path, item in document["paths"].items():
        for method, details in item.items():
            if isinstance(details, dict) and "operationId" in details:
                yield Operation(method.upper(), path, details)


def _spell_out_form(operation: Json, schemas: Json) -> None:
    """A form has the fields of JSON, except that nothing in it is null."""
    form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    for name, schema in form["schema"]["properties"].items() if form else ():
        if "$ref" in schema:
            schema = _without_null(schemas[schema["$ref"].rpartition("/")[2]])
        form["schema"]["properties"][name] = schema


def _without_null(schema: Json) -> Json:
    # The viewer fills in the first example, and would send it: empty, it is left out.
    changed = schema | {"examples": [""]}
    if isinstance(schema.get("type"), list):
        (changed["type"],) = [kind for kind in schema["type"] if kind != "null"]
    if "oneOf" in schema:
        changed["oneOf"] = [kind for kind in schema["oneOf"] if kind["type"] != "null"]
    return changed


def error_codes(operation: Json, errors: Json) -> list[str]:
    """The codes that an operation can give, in the order of their statuses."""
    return [code for code, error in errors.items() if error.get("everywhere") or code in operation["x-errors"]]


def _describe_answers(operation: Json, errors: Json) -> None:
    """Give an operation the responses of its errors, and every response its headers."""
    responses: Json = operation["responses"]
    for status in sorted({errors[code]["status"] for code in error_codes(operation, errors)}):
        codes = [code for code in error_codes(operation, errors) if errors[code]["status"] == status]
        response = _error_response({code: errors[code] for code in codes})
        if (own := responses.get(str(status))) is not None:
            kinds = [one["content"]["application/json"]["schema"] for one in (own, response)]
            response["content"]["application/json"]["schema"] = {"anyOf": kinds}
            response["description"] = f"{own['description']}\n\n{response['description']}"
        responses[str(status)] = response
    names = operation.pop("x-headers", [])
    for status, response in responses.items():
        is_without_bytes = status[0] in "45" and "ETag" in names
        own = [] if is_without_bytes else names
        response["headers"] = _headers([*HEADERS_OF_ALL, *own]) | response.get("headers", {})


def _error_response(errors: Json) -> Json:
    """The response of one status, which may have several codes."""
    schemas = dict.fromkeys(error.get("schema", "Error") for error in errors.values())
    kinds = [{"$ref": f"#/components/schemas/{name}"} for name in schemas]
    # By name alone, because generators of clients make a class of all that is spelled out. The examples have the codes.
    schema = {"anyOf": kinds} if len(kinds) > 1 else kinds[0]
    return {
        "description": "\n\n".join(f"`{code}`: {error['when'].strip()}" for code, error in errors.items()),
        "headers": _headers([name for error in errors.values() for name in error.get("headers", [])]),
        "content": {
            "application/json": {
                "schema": schema,
                "examples": {code: {"summary": code, "value": error["example"]} for code, error in errors.items()},
            }
        },
    }


def _share_responses(document: Json) -> Json:
    """The responses of errors, by their codes, each once; the operations refer to them from now on."""
    shared: dict[str, Json] = {}
    for operation in operations(document):
        for status, response in operation.details["responses"].items():
            codes = response.get("content", {}).get("application/json", {}).get("examples", {})
            if codes:
                # The same codes with other headers are another response.
                name = "-".join([*codes, *(["with-quota"] if "X-Storage-Used" in response["headers"] else [])])
                if shared.setdefault(name, response) == response:
                    operation.details["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _add_samples(document: Json, operation: Operation) -> None:
    call = samples.call(document, operation.method, operation.path, operation.details, API_KEY)
    operation.details["x-codeSamples"] = [
        {"lang": language, "label": label, "source": source} for language, label, source in samples.write(call)
    ]


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # which of both is for PyYAML to say
    """Writes texts of several lines as such, and everything that is there twice a second time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def as_yaml(document: Json) -> str:
    """The document as people and programs read it."""
    dumped: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return dumped
