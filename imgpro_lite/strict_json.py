"""JSON as RFC 8259 has it. Python's own parser lets NaN, Infinity, huge numbers and duplicate keys pass."""

import json
import math
from typing import Any

_CONTAINERS = (dict, list)

MAX_JSON_DEPTH = 64  # far more than anybody nests by hand, far less than Python's recursion limit


# Commas and opening brackets, wherever they are: there are about as many values. 16 KB of metadata cannot have more. A
# megabyte of brackets takes half a second, in which nobody else is served, and no thread can help: Python parses under
# its lock.
MAX_JSON_MARKS = 16 * 1024


def parse_json(text: str) -> Any:
    """Strict JSON. Raises ValueError also for what Python lets pass: NaN, Infinity, duplicate keys, deep nesting, and
    for more values than any request has."""
    if sum(text.count(mark) for mark in ",[{") > MAX_JSON_MARKS:
        raise ValueError("has too many values")
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
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        # Only what has children of its own goes on to the next level: most of a long list does not.
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True
