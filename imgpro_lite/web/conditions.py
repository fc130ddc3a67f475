"""Conditional requests and ranges (RFC 9110, sections 13 and 14)."""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers

from imgpro_lite.errors import RangeNotSatisfiable

_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


def is_match(tags: str, etag: str) -> bool:
    """Whether an If-None-Match header has this tag, compared weakly (RFC 9110, 13.1.2)."""
    return tags.strip() == "*" or etag in _ENTITY_TAG.findall(tags)


def is_not_modified(headers: Headers, etag: str, modified_at: int) -> bool:
    """Whether the client's copy is still good. With If-None-Match, If-Modified-Since is ignored (RFC 9110, 13.1.3)."""
    if (tags := headers.get("if-none-match")) is not None:
        return is_match(tags, etag)
    since = headers.get("if-modified-since")
    try:
        return since is not None and modified_at <= parsedate_to_datetime(since).timestamp()
    except (ValueError, OverflowError):
        return False


@dataclass(frozen=True)
class Span:
    """The bytes to send: from `start` up to but not including `end`."""

    start: int
    end: int


def requested_span(headers: Headers, etag: str, size_bytes: int) -> Span | None:
    """The one range that is asked for, or None for the whole file. Raises RangeNotSatisfiable.

    Several ranges get the whole file, which RFC 9110 (14.2) allows, so that nobody can ask for more than there is.
    """
    match = _RANGE.fullmatch(headers.get("range", ""))
    validator = headers.get("if-range")
    if match is None or (validator is not None and validator != f'"{etag}"') or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last so many bytes
        start, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start = int(match[1])
        end = min(size_bytes, int(match[2]) + 1) if match[2] else size_bytes
        if match[2] and int(match[2]) < start:
            return None  # not a valid range, so it is ignored
    if start >= size_bytes or start == end:
        raise RangeNotSatisfiable(size_bytes)
    return Span(start, end)
