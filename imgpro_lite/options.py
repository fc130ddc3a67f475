"""The settings as a flat list, for whoever reads, explains or documents them: `config` and `settings_docs`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from imgpro_lite.setting_types import Port
from imgpro_lite.settings import PlanSettings, Section, Settings

ENV_PREFIX = "IMGPRO_"


@dataclass(frozen=True)
class Option:
    """One setting: where it stands in the file, what it is called in the environment, and what it takes."""

    section: str  # "" for the top of the file
    key: str
    field: FieldInfo

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to it, from the top of the file."""
        return (self.section, self.key) if self.section else (self.key,)

    @property
    def env_name(self) -> str:
        """Its environment variable."""
        return ENV_PREFIX + "_".join(self.path).upper()

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.field.annotation) is tuple

    @property
    def expected(self) -> str:
        """What it takes, with its range, to follow "must be"."""
        if get_origin(self.field.annotation) is Literal:
            return "one of " + ", ".join(f'"{value}"' for value in get_args(self.field.annotation))
        if self.is_list:
            is_ports = get_args(self.field.annotation)[0] == Port
            return "a list like [80, 443]" if is_ports else 'a list like ["192.0.2.1", "10.0.0.0/8"]'
        return _KINDS[self.field.annotation] + _range(self.field)


_NO_REAL_BOUND = 2**40  # the bound of Count: it keeps sums within 64 bits and means nothing to the operator

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "the path of a directory",
}


def _range(field: FieldInfo) -> str:
    """The bounds of a number or of the length of a text, or nothing."""
    bounds: dict[str, Any] = {}
    for constraint in field.metadata:  # Ge(ge=0), Le(le=65535), MaxLen(max_length=320), ...
        for name in ("ge", "gt", "le", "min_length", "max_length"):
            if hasattr(constraint, name):
                bounds[name] = getattr(constraint, name)
    match bounds:
        case {"ge": low, "le": high} if high < _NO_REAL_BOUND:
            return f" from {low} to {high}"
        case {"gt": low, "le": high}:
            return f" above {low} and up to {high}"
        case {"ge": low}:
            return f" of at least {low}"
        case {"min_length": low, "max_length": high}:
            return f" of {low} to {high} characters"
        case {"max_length": high}:
            return f" of at most {high} characters"
        case {"min_length": _}:
            return " that is not empty"
        case _:
            return ""


def sections() -> dict[str, type[Section]]:
    """The tables of the file by name, without the plans."""
    fields = Settings.model_fields.items()
    return {
        field.alias or name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def options_of(model: type[Section], section: str = "") -> Iterator[Option]:
    """The settings that stand directly in one table."""
    for name, field in model.model_fields.items():
        yield Option(section, field.alias or name, field)


def all_options() -> list[Option]:
    """Every setting but the plans, in the order of the file."""
    nested = sections()
    top = [option for option in options_of(Settings) if option.key not in (*nested, "plans")]
    return top + [option for name, model in nested.items() for option in options_of(model, name)]


def plan_options() -> list[Option]:
    """The settings of one plan."""
    return list(options_of(PlanSettings, "plans"))
