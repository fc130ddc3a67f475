"""Conditional requests, ranges and codings (RFC 9110, sections 12 to 14)."""

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


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header lets the answer be gzip (RFC 9110, 12.5.3). Without one nothing is compressed:
    whoever does not say so may not be able to read it."""
    weights = {"*": "0"}
    for one in accepted.lower().split(","):
        coding, _, weight = one.partition(";")
        weights[coding.strip()] = weight.replace(" ", "").removeprefix("q=") or "1"
    return re.fullmatch(r"1(\.0{0,3})?|0\.(?!0*$)[0-9]{1,3}", weights.get("gzip", weights["*"])) is not None


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
