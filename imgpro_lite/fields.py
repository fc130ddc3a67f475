"""The fields that callers send with an image or a key: what is accepted, and what each becomes.

Every field comes as JSON or as the text of a form, and both go through the same function, so that they can never
differ. A function raises ValueError with the words for the caller; `parse` collects them for all fields at once.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from email_validator import EmailNotValidError, validate_email
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from imgpro_lite.errors import ValidationFailed

MAX_TAGS = 10
MAX_TAG_CHARS = 50
MAX_NAME_CHARS = 255
MAX_EXTERNAL_ID_CHARS = 255
MAX_METADATA_KEYS = 50
MAX_METADATA_BYTES = 16 * 1024
MAX_JSON_DEPTH = 64  # far more than anybody nests by hand, far less than Python's recursion limit
MIN_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 100 * 365 * 86_400

# Field names of the requests and answers about images: they can never be metadata (decision 33).
_RESERVED_WORDS = """
    action created_at cursor date deleted editable error errors expires_at extension external_id file filesize has_more
    height id ids items limit media message metadata name namespace object public src status tag_mode tags ttl update
    updated upgrade url usage width
"""
_RESERVED_WORDS = """
    action created_at cursor date deleted editable error errors expires_at extension external_id file filesize has_more
    height id ids items limit media message metadata name namespace object public src status tag_mode tags ttl update
    updated upgrade url usage width
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_TTL = re.compile(r"([0-9]{1,12})([mhdw]?)")
_TTL_UNIT_SECONDS = {"": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
# Marks that turn the direction of the text around them (Unicode TR 9), so that "gpj.exe" can pose as "exe.jpg".
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HARMFUL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators

Model = TypeVar("Model", bound=BaseModel)


def clean_name(text: str) -> str:
    """A display name: without control and bidi characters, trimmed, at most MAX_NAME_CHARS. May be empty."""
    kept = (char for char in text if unicodedata.category(char) not in _HARMFUL_CATEGORIES and char not in _BIDI)
    return "".join(kept).strip()[:MAX_NAME_CHARS].strip()


def base_name(path: str) -> str:
    """The last part of a file name that may carry a path of any system."""
    return clean_name(re.split(r"[/\\]", path)[-1])


def parse_json(text: str) -> Any:
    """Strict JSON. Raises ValueError also for what Python lets pass: NaN, Infinity, duplicate keys, deep nesting."""
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if _depth_exceeds(value, MAX_JSON_DEPTH):
        raise ValueError("is nested too deeply")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("has a number that is too large")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("has a key twice in one object")
    return result


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _text(value: Any) -> str:
    """A string that can be stored and sent: valid Unicode, without NUL."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if "\0" in value or not _encodable(value):
        raise ValueError("must be valid text")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_email(value: Any) -> str:
    """A valid address, trimmed and lower-cased (decision 5)."""
    try:
        return validate_email(_text(value).strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError("must be a valid e-mail address") from error


def check_name(value: Any) -> str:
    """A display name; what would be harmful in it is dropped."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return clean_name(value)


def check_tags(value: Any) -> tuple[str, ...]:
    """Tags from comma-separated text or a JSON array: trimmed, lower-cased, each once (decision 28)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _json_field(value)
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be comma-separated text or an array of strings")
    tags = dict.fromkeys(tag for part in parts if (tag := _text(part).strip().lower()))
    if any(unicodedata.category(char) in _HARMFUL_CATEGORIES for tag in tags for char in tag):
        raise ValueError("must not have control characters")
    if len(tags) > MAX_TAGS:
        raise ValueError(f"at most {MAX_TAGS} tags are possible, these are {len(tags)}")
    if any(len(tag) > MAX_TAG_CHARS for tag in tags):
        raise ValueError(f"a tag may have at most {MAX_TAG_CHARS} characters")
    return tuple(tags)


def check_namespace(value: Any) -> str:
    """A namespace, taken as it is or not at all (decision 29)."""
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise ValueError("must be 2 to 64 lowercase letters, digits and hyphens, with no hyphen at either end")
    return value


def check_public(value: Any) -> bool:
    """A yes or no, as JSON or as text (decision 30)."""
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    text = str(value).lower() if isinstance(value, str | int) else ""
    if text not in known:
        raise ValueError("must be true or false")
    return known[text]


def check_external_id(value: Any) -> str:
    """The caller's own id, kept to the letter."""
    text = _text(value)
    if not 1 <= len(text) <= MAX_EXTERNAL_ID_CHARS:
        raise ValueError(f"must have 1 to {MAX_EXTERNAL_ID_CHARS} characters")
    if any(unicodedata.category(char) in _HARMFUL_CATEGORIES for char in text):
        raise ValueError("must not have control characters")
    return text


def check_date(value: Any) -> int:
    """Unix seconds from ISO 8601 or from a number (decision 31). Without a zone it is UTC."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be an ISO 8601 date or Unix time in whole seconds")
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**18 else ""
    try:
        if _INTEGER.fullmatch(text):
            return int(datetime.fromtimestamp(int(text), UTC).timestamp())
        date = datetime.fromisoformat(text)
        return math.floor((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be an ISO 8601 date or Unix time in whole seconds, in the years 1 to 9999") from None


def check_ttl(value: Any) -> int:
    """Seconds from a whole number, or a number with m, h, d or w (decision 32)."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    match = _TTL.fullmatch(text) if len(text) <= 20 else None
    seconds = int(match[1]) * _TTL_UNIT_SECONDS[match[2]] if match else 0
    if not MIN_TTL_SECONDS <= seconds <= MAX_TTL_SECONDS:
        raise ValueError(
            f"must be whole seconds from {MIN_TTL_SECONDS} to {MAX_TTL_SECONDS}, or a number with m, h, d or w like 7d"
        )
    return seconds


def check_metadata(value: Any) -> dict[str, Any]:
    """A JSON object, or its text: at most MAX_METADATA_KEYS keys and MAX_METADATA_BYTES as JSON (decision 33)."""
    if isinstance(value, str):
        value = _json_field(value)
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    if reserved := sorted(RESERVED & value.keys()):
        raise ValueError(f"may not have the reserved names {', '.join(reserved)}")
    if len(value) > MAX_METADATA_KEYS:
        raise ValueError(f"may have at most {MAX_METADATA_KEYS} keys")
    try:
        size_bytes = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except UnicodeEncodeError:
        raise ValueError("must be valid text") from None
    if size_bytes > MAX_METADATA_BYTES:
        raise ValueError(f"may have at most {MAX_METADATA_BYTES} bytes as JSON")
    return value


def _json_field(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        raise ValueError("is not valid JSON") from None


def _optional(check: Callable[[Any], Any]) -> BeforeValidator:
    """A field that may also be null, which means the same as leaving it out."""
    return BeforeValidator(lambda value: None if value is None else check(value))


class _Fields(BaseModel):
    # Strict: the functions above have made every value the right type, so nothing is left to coerce.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class KeyFields(_Fields):
    """The body of POST /v1/keys. What it does not know is ignored, as nothing is done with it."""

    model_config = ConfigDict(extra="ignore")

    email: Annotated[str | None, _optional(check_email)] = None
    name: Annotated[str | None, _optional(check_name)] = None


class UploadFields(_Fields):
    """What comes with a new image, however it arrives."""

    name: Annotated[str | None, _optional(check_name)] = None
    tags: Annotated[tuple[str, ...] | None, _optional(check_tags)] = None
    namespace: Annotated[str | None, _optional(check_namespace)] = None
    public: Annotated[bool | None, _optional(check_public)] = None
    external_id: Annotated[str | None, _optional(check_external_id)] = None
    date: Annotated[int | None, _optional(check_date)] = None
    ttl: Annotated[int | None, _optional(check_ttl)] = None
    metadata: Annotated[dict[str, Any] | None, _optional(check_metadata)] = None


def parse(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The validated fields. Raises ValidationFailed with every wrong one."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ValidationFailed(_messages(error)) from None


def _messages(error: ValidationError) -> dict[str, list[str]]:
    messages: dict[str, list[str]] = {}
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else "body"
        if problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        elif problem["type"] == "extra_forbidden":
            text = "is not a known field"
        else:
            text = problem["msg"]
        messages.setdefault(field, []).append(text)
    return messages


def upload_fields_from_form(form: Mapping[str, str]) -> UploadFields:
    """Fields of an upload from a form's text fields. Empty ones count as left out, as HTML forms send them.

    A field that is not one of the contract's is metadata and wins over the same key in `metadata` (decision 33).
    Raises ValidationFailed.
    """
    known = {name: text for name, text in form.items() if name in UploadFields.model_fields and text}
    extra = {name: text for name, text in form.items() if name not in UploadFields.model_fields}
    return _merge_metadata(known, extra)


def _merge_metadata(known: dict[str, Any], extra: Mapping[str, Any]) -> UploadFields:
    errors = {name: ["is a reserved name and cannot be metadata"] for name in extra if name in RESERVED}
    try:
        fields = parse(UploadFields, known)
    except ValidationFailed as failure:
        raise ValidationFailed({**failure.errors, **errors}) from None
    if errors:
        raise ValidationFailed(errors)
    if not extra:
        return fields
    # Once more with everything in it, for the limits on the whole.
    return parse(UploadFields, {**known, "metadata": {**(fields.metadata or {}), **extra}})
