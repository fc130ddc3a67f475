"""The bodies and queries of requests, as validated models: every wrong field is found at once."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from imgpro_lite.errors import MissingUrl, ValidationFailed
from imgpro_lite.fields import (
    DEFAULT_PAGE_IMAGES,
    MAX_METADATA_KEYS,
    RESERVED,
    TagMode,
    check_date,
    check_email,
    check_external_id,
    check_filter_mode,
    check_ids,
    check_limit,
    check_metadata,
    check_name,
    check_namespace,
    check_new_name,
    check_public,
    check_tag_mode,
    check_tags,
    check_ttl,
    check_url,
)

# A request has at most 50 keys of metadata and a dozen fields of its own. Without an end, a megabyte of unknown names
# takes half a second, and 3 MB to name them all.
MAX_BODY_FIELDS = 100

Model = TypeVar("Model", bound=BaseModel)


def optional(check: Callable[[Any], Any]) -> BeforeValidator:
    """A field that may also be null, which means the same as leaving it out."""
    return BeforeValidator(lambda value: None if value is None else check(value))


class Fields(BaseModel):
    # Strict: the functions above have made every value the right type, so nothing is left to coerce.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_count(cls, values: Any) -> Any:
        if isinstance(values, dict) and len(values) > MAX_BODY_FIELDS:
            raise ValueError(f"may have at most {MAX_BODY_FIELDS} fields")
        return values


class KeyFields(Fields):
    """The body of POST /v1/keys. What it does not know is ignored, as nothing is done with it."""

    model_config = ConfigDict(extra="ignore")

    email: Annotated[str | None, optional(check_email)] = None
    name: Annotated[str | None, optional(check_name)] = None


class UploadFields(Fields):
    """What comes with a new image, however it arrives."""

    name: Annotated[str | None, optional(check_name)] = None
    tags: Annotated[tuple[str, ...] | None, optional(check_tags)] = None
    namespace: Annotated[str | None, optional(check_namespace)] = None
    public: Annotated[bool | None, optional(check_public)] = None
    external_id: Annotated[str | None, optional(check_external_id)] = None
    date: Annotated[int | None, optional(check_date)] = None
    ttl: Annotated[int | None, optional(check_ttl)] = None
    metadata: Annotated[dict[str, Any] | None, optional(check_metadata)] = None


class PatchFields(Fields):
    """The body of PATCH /v1/media/{id}. What was not sent stays; null clears what can be empty."""

    name: Annotated[str, BeforeValidator(check_new_name)] = ""
    tags: Annotated[tuple[str, ...] | None, optional(check_tags)] = None
    tag_mode: Annotated[TagMode, BeforeValidator(check_tag_mode)] = TagMode.REPLACE
    namespace: Annotated[str | None, optional(check_namespace)] = None
    public: Annotated[bool, BeforeValidator(check_public)] = True
    date: Annotated[int | None, optional(check_date)] = None
    external_id: Annotated[str | None, optional(check_external_id)] = None
    metadata: Annotated[dict[str, Any], BeforeValidator(check_metadata)] = Field(default_factory=dict)


class BatchUpdate(Fields):
    """What PATCH /v1/media/batch does to each image."""

    tags: Annotated[tuple[str, ...] | None, optional(check_tags)] = None
    tag_mode: Annotated[TagMode, BeforeValidator(check_tag_mode)] = TagMode.REPLACE
    namespace: Annotated[str | None, optional(check_namespace)] = None
    public: Annotated[bool, BeforeValidator(check_public)] = True


class BatchUpdateFields(Fields):
    """The body of PATCH /v1/media/batch."""

    ids: Annotated[tuple[str, ...], BeforeValidator(check_ids)]
    update: BatchUpdate


class BatchDeleteFields(Fields):
    """The body or query of DELETE /v1/media/batch: images by id, or all of a namespace."""

    ids: Annotated[tuple[str, ...] | None, optional(check_ids)] = None
    namespace: Annotated[str | None, optional(check_namespace)] = None


class ListFields(Fields):
    """The query of GET /v1/media."""

    namespace: Annotated[str | None, optional(check_namespace)] = None
    tags: Annotated[tuple[str, ...] | None, optional(check_tags)] = None
    tag_mode: Annotated[str, BeforeValidator(check_filter_mode)] = "all"
    cursor: str | None = None
    limit: Annotated[int, BeforeValidator(check_limit)] = DEFAULT_PAGE_IMAGES


def parse(model: type[Model], values: Mapping[str, Any], problems: Mapping[str, list[str]] | None = None) -> Model:
    """The validated fields. Raises ValidationFailed with every wrong one and the `problems` that are known already."""
    errors = dict(problems or {})
    try:
        parsed = model.model_validate(dict(values))
    except ValidationError as error:
        errors = _messages(error) | errors
    if errors:
        raise ValidationFailed(errors)
    return parsed


def _messages(error: ValidationError) -> dict[str, list[str]]:
    messages: dict[str, list[str]] = {}
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        if problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        elif problem["type"] == "extra_forbidden":
            text = "is not a known field"
        elif problem["type"] == "missing":
            text = "is required"
        elif problem["type"] == "model_type":
            text = "must be an object"
        else:
            text = problem["msg"]
        messages.setdefault(field, []).append(text)
    return messages


def upload_fields(values: Mapping[str, Any], problems: Mapping[str, list[str]], *, anonymous: bool) -> UploadFields:
    """Fields of a new image, from a form or from JSON. Empty ones count as left out, as HTML forms send them.

    A field that is not one of the contract's is metadata and wins over the same key in `metadata` (decision 33).
    Raises ValidationFailed with the `problems` that are known before and every wrong field.
    """
    known = UploadFields.model_fields
    given = {name: value for name, value in values.items() if value not in ("", None) or name not in known}
    found = dict(problems)
    if anonymous and "ttl" in given:
        found["ttl"] = ["needs an API key"]
    return parse_with_metadata(UploadFields, given, found)


def import_fields(body: Mapping[str, Any], *, anonymous: bool) -> tuple[str, UploadFields]:
    """The URL of an import and what comes with it. Raises MissingUrl, and ValidationFailed with every wrong field."""
    if body.get("url") is None:
        raise MissingUrl
    problems: dict[str, list[str]] = {}
    url = ""
    try:
        url = check_url(body["url"])
    except ValueError as error:
        problems["url"] = [str(error)]
    others = {name: value for name, value in body.items() if name != "url"}
    return url, upload_fields(others, problems, anonymous=anonymous)


def parse_with_metadata(
    model: type[Model], values: Mapping[str, Any], problems: Mapping[str, list[str]] | None = None
) -> Model:
    """The validated fields, where every name that the model does not have is a key of `metadata`.

    Raises ValidationFailed with every wrong field, reserved names and the `problems` known before among them.
    """
    if len(values) > MAX_BODY_FIELDS:
        raise ValidationFailed({"metadata": [f"may have at most {MAX_METADATA_KEYS} keys"], **(problems or {})})
    known = {name: value for name, value in values.items() if name in model.model_fields}
    extra = {name: value for name, value in values.items() if name not in model.model_fields}
    reserved = {name: ["is a reserved name and cannot be metadata"] for name in extra if name in RESERVED}
    parse(model, known, {**reserved, **(problems or {})})
    if not extra:
        return parse(model, known)
    # Once more with everything in it, for the limits on the whole.
    given = check_metadata(known.get("metadata") or {})
    return parse(model, {**known, "metadata": {**given, **extra}})


def merge_metadata(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata after a change: a key that is set to null is removed. Raises ValidationFailed when it is too much."""
    removed = {key for key, value in changes.items() if value is None}
    merged = {key: value for key, value in {**stored, **changes}.items() if key not in removed}
    try:
        return check_metadata(merged)
    except ValueError as error:
        raise ValidationFailed({"metadata": [str(error)]}) from None
