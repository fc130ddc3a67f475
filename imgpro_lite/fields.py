"""The fields that callers send with an image or a key: what is accepted, and what each becomes.

Every field comes as JSON or as the text of a form, and both go through the same function, so that they can never
differ. A function raises ValueError with the words for the caller; `bodies.parse` collects them for all fields.
"""

import json
import math
import re
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from email_validator import EmailNotValidError, validate_email

from imgpro_lite import ids
from imgpro_lite.models import Ability
from imgpro_lite.strict_json import parse_json

MAX_EMAIL_CHARS = 320  # RFC 3696: 64 before the @, 255 after it
MAX_TAGS = 10
MAX_TAG_CHARS = 50
# Of text or an array of tags, before anything looks at it: with spaces, and with tags that are there twice, ten tags of
# fifty characters are shorter. To split a megabyte of commas takes most of a second.
MAX_TAGS_CHARS = 16 * 1024
MAX_NAME_CHARS = 255
MAX_EXTERNAL_ID_CHARS = 255
MAX_METADATA_KEYS = 50
MAX_METADATA_BYTES = 16 * 1024
# As the text of a form: escapes take six characters for each byte.
MAX_METADATA_CHARS = 6 * MAX_METADATA_BYTES
MAX_BATCH_IDS = 100
MAX_PAGE_IMAGES = 100
DEFAULT_PAGE_IMAGES = 50
MIN_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 100 * 365 * 86_400

# Field names of the requests and answers about images: they can never be metadata (decision 33).
_RESERVED_WORDS = """
    action created_at cursor date deleted editable error errors expires_at extension external_id file filesize has_more
    height id ids items limit media message metadata name namespace object public src status tag_mode tags ttl update
    updated upgrade url usage width
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_COMPACT_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_TTL = re.compile(r"([0-9]{1,12})([mhdw]?)")
_TTL_UNIT_SECONDS = {"": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
# Marks that turn the direction of the text around them (Unicode TR 9), so that "gpj.exe" can pose as "exe.jpg".
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HARMFUL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators


class TagMode(StrEnum):
    """What a change does with the tags that an image has already."""

    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


def clean_name(text: str) -> str:
    """A display name: without control and bidi characters, trimmed, at most MAX_NAME_CHARS. May be empty."""
    kept = (
        char
        for char in text[: 4 * MAX_NAME_CHARS]
        if unicodedata.category(char) not in _HARMFUL_CATEGORIES and char not in _BIDI
    )
    return "".join(kept).strip()[:MAX_NAME_CHARS].strip()


def base_name(path: str) -> str:
    """The last part of a file name that may carry a path of any system."""
    return clean_name(re.split(r"[/\\]", path)[-1])


def _text(value: Any) -> str:
    """A string that can be stored and sent: valid Unicode, without NUL."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not is_text(value):
        raise ValueError("must be valid text")
    return value


def is_text(value: str) -> bool:
    """Whether a string can be stored and sent: no lone surrogates, which Python makes of broken bytes, and no NUL."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def check_email(value: Any) -> str:
    """A valid address, trimmed and lower-cased (decision 5)."""
    # Before anything looks at it: normalising a megabyte of combining characters takes a second.
    if isinstance(value, str) and len(value) > MAX_EMAIL_CHARS:
        raise ValueError("must be a valid e-mail address")
    try:
        return validate_email(_text(value).strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError("must be a valid e-mail address") from error


def check_api_key(value: Any) -> str:
    """A key that somebody has chosen, where that is allowed: in tests, and by the operator."""
    if not isinstance(value, str) or not ids.is_api_key(value):
        raise ValueError(f"must be {ids.API_KEY_PREFIX} and {ids.API_KEY_CHARS} letters and digits")
    return value


def check_abilities(value: Any) -> frozenset[Ability]:
    """What a key may do."""
    if not isinstance(value, list) or not value or not all(name in list(Ability) for name in value):
        raise ValueError('must be an array of "read", "write" or both')
    return frozenset(Ability(name) for name in value)


def check_name(value: Any) -> str:
    """A display name; what would be harmful in it is dropped."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return clean_name(value)


def check_tags(value: Any) -> tuple[str, ...]:
    """Tags from comma-separated text or a JSON array: trimmed, lower-cased, each once (decision 28)."""
    if isinstance(value, str | list) and len(value) > MAX_TAGS_CHARS:
        raise ValueError(f"must be at most {MAX_TAGS}, of at most {MAX_TAG_CHARS} characters each")
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _json_field(value)
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be comma-separated text or an array of strings")
    tags = dict.fromkeys(tag for part in parts if (tag := _text(part).strip().lower()))
    if len(tags) > MAX_TAGS:
        raise ValueError(f"must be at most {MAX_TAGS}, and these are {len(tags)}")
    if any(len(tag) > MAX_TAG_CHARS for tag in tags):
        raise ValueError(f"must have at most {MAX_TAG_CHARS} characters each")
    if any(unicodedata.category(char) in _HARMFUL_CATEGORIES for tag in tags for char in tag):
        raise ValueError("must not have control characters")
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
        # As text, eight digits that are a day of our times are that day and not a second of 1970.
        if _INTEGER.fullmatch(text) and not (isinstance(value, str) and _COMPACT_DATE.fullmatch(text)):
            seconds = int(text)
        else:
            date = datetime.fromisoformat(text)
            seconds = math.floor((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
        datetime.fromtimestamp(seconds, UTC)  # in range, also when a zone moved it
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be an ISO 8601 date or Unix time in whole seconds, in the years 1 to 9999") from None
    return seconds


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
        if len(value) > MAX_METADATA_CHARS:
            raise _too_much_metadata()
        value = _json_field(value)
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    if reserved := sorted(RESERVED & value.keys()):
        raise ValueError(f"must not use names that are reserved: {', '.join(reserved)}")
    if len(value) > MAX_METADATA_KEYS:
        raise ValueError(f"may have at most {MAX_METADATA_KEYS} keys")
    size_bytes = 0
    try:
        # Piece by piece, so that of a megabyte only the first few pages are looked at.
        for piece in _ENCODER.iterencode(value):
            size_bytes += len(piece.encode())
            if size_bytes > MAX_METADATA_BYTES:
                raise _too_much_metadata()
    except UnicodeEncodeError:
        raise ValueError("must be valid text") from None
    return value


def _too_much_metadata() -> ValueError:
    return ValueError(f"may have at most {MAX_METADATA_BYTES} bytes as JSON")


def check_new_name(value: Any) -> str:
    """A display name that replaces another, so it may not be empty."""
    name = check_name(value)
    if not name:
        raise ValueError("must not be empty")
    return name


def check_tag_mode(value: Any) -> TagMode:
    """What to do with the tags that are there already."""
    if value not in list(TagMode):
        raise ValueError("must be replace, add or remove")
    return TagMode(value)


def check_filter_mode(value: Any) -> str:
    """Whether an image must have all tags of a filter or any."""
    if value not in ("all", "any"):
        raise ValueError("must be all or any")
    return str(value)


def check_limit(value: Any) -> int:
    """How many images a page has at most."""
    text = value if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else ""
    if not text or not 1 <= int(text) <= MAX_PAGE_IMAGES:
        raise ValueError(f"must be a whole number from 1 to {MAX_PAGE_IMAGES}")
    return int(text)


def check_url(value: Any) -> str:
    """The text of a URL. Whether it leads anywhere is for those to say who fetch it."""
    return _text(value)


def check_ids(value: Any) -> tuple[str, ...]:
    """Ids of images, each once. Whether there are such images is not a question of form."""
    if not isinstance(value, list) or not all(isinstance(id_, str) for id_ in value):
        raise ValueError("must be an array of strings")
    if not 1 <= len(value) <= MAX_BATCH_IDS:
        raise ValueError(f"must have 1 to {MAX_BATCH_IDS} ids")
    return tuple(dict.fromkeys(_text(id_).strip() for id_ in value))


def _json_field(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        raise ValueError("is not valid JSON") from None
