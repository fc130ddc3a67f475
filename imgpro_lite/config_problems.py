"""What is wrong with a configuration, in words that say where it stands and what to write instead."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from imgpro_lite.logs import escape, redact
from imgpro_lite.options import ENV_PREFIX, Option, all_options, plan_options, sections

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Values of one origin as a tree shaped like the file. `name` is what the operator calls one of its keys."""

    tree: dict[str, Any]
    name: Callable[[Keys], str]
    strict: bool = False  # a TOML value has a type of its own; in the environment everything is text

    def has(self, keys: Keys) -> bool:
        """Whether it says something about this key."""
        node: Any = self.tree
        for key in keys:
            if not isinstance(node, dict):
                return True
            if key not in node:
                return False
            node = node[key]
        return True


def explain(errors: Sequence[ErrorDetails], source: Source, told: set[Keys]) -> Iterator[str]:
    """What the operator has to change in this source; what an earlier one got wrong is not said again. Of which errors
    something was said is added to `told`."""
    for error in errors:
        keys = error["loc"][:-1] if error["loc"][-1] == "[key]" else error["loc"]
        if source.has(keys[:-1] if error["type"] == "missing" else keys):
            told.add(error["loc"])
            yield f"{source.name(keys)}: {_reason(error, keys)}"


def _reason(error: ErrorDetails, keys: Keys) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(keys, is_table=isinstance(error["input"], dict))
    option = _find_option(keys)
    if error["type"] == "missing" and option:
        return f"is missing; a new plan needs it ({option.field.description})"
    if error["type"] == "value_error":  # our own words, see settings.py
        return str(error["ctx"]["error"])
    if not option:
        return f"must be a table, not {_shown(error['input'])}"
    found = f", not {_shown(error['input'])}" if option.field.repr else ""  # a password that was written as a number
    return f"must be {option.expected}{found} ({option.field.description})"


def _find_option(keys: Keys) -> Option | None:
    """The setting that an error is about; None for a whole table."""
    if keys[0] == "plans":
        return next((option for option in plan_options() if option.key == keys[-1] and len(keys) > 2), None)
    return next((option for option in all_options() if option.path == keys[: len(option.path)]), None)


def _unknown(keys: Keys, *, is_table: bool) -> str:
    """An unknown key or section, and the name that was probably meant."""
    key = str(keys[-1])
    if keys[0] == "plans":
        return f"unknown, {nearest(key, [option.key for option in plan_options()])}"
    if len(keys) == 1 and is_table:
        return f"unknown section, {nearest(key, [*sections(), 'plans'])}"
    for option in all_options():
        if option.key == key:  # the right name in the wrong place
            place = f"[{option.section}] {key}" if option.section else f"{key} above the first [section]"
            return f"unknown here, did you mean {place}?"
    section = str(keys[0]) if len(keys) > 1 else ""
    return f"unknown, {nearest(key, [option.key for option in all_options() if option.section == section])}"


def nearest(name: str, known: Sequence[str]) -> str:
    """Which known name was probably meant; a poor guess is not put as a question."""
    bare = name.removeprefix(ENV_PREFIX)
    by_bare = {candidate.removeprefix(ENV_PREFIX): candidate for candidate in known}
    for candidate, full in by_bare.items():
        if bare and (candidate.endswith(f"_{bare}") or bare.startswith(f"{candidate}_")):
            return f'did you mean "{full}"?'
    close = get_close_matches(bare, by_bare, n=1)
    if close:
        return f'did you mean "{by_bare[close[0]]}"?'
    return f'the nearest known name is "{by_bare[get_close_matches(bare, by_bare, n=1, cutoff=0.0)[0]]}"'


def file_name(keys: Keys) -> str:
    """As in the file: `data_dir`, `[server] port`, `[plans.pro] label`, `[server] trusted_proxies, item 2`."""
    names = [escape(key) for key in keys if isinstance(key, str)]
    depth = 2 if names[0] == "plans" else 1 if names[0] in sections() else len(names) - 1
    table, key = names[:depth], names[depth:]
    return " ".join(filter(None, [f"[{'.'.join(table)}]" if table else "", ".".join(key)])) + _item(keys)


def environment_name(keys: Keys) -> str:
    """The variable, with the place inside of it when it is one of many values."""
    if keys[0] == "plans":
        return f"{ENV_PREFIX}PLANS: " + ".".join(escape(str(key)) for key in keys[1:])
    return ENV_PREFIX + "_".join(key for key in keys if isinstance(key, str)).upper() + _item(keys)


def _item(keys: Keys) -> str:
    return f", item {keys[-1] + 1}" if isinstance(keys[-1], int) else ""


def _shown(value: object) -> str:
    """A value as the operator wrote it, short, and without any key or password that slipped into it."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = re.sub(r"//[^/@\s]*@", "//…@", redact(json.dumps(value, default=str, ensure_ascii=False)))
    return escape(text if len(text) <= 60 else text[:60] + "…")
