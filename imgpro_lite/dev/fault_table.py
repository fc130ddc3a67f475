"""The faults that are asked for: which request gets which."""

from dataclasses import dataclass
from typing import Any, Literal

from imgpro_lite.errors import ValidationFailed

ANY_METHOD = "*"
# A browser sends it by itself ahead of what a page asks for, so it is only meant where it is named.
_PREFLIGHT = "OPTIONS"

MAX_FAULTS = 1000  # far more than a test asks for; each request looks at all of them


@dataclass
class Fault:
    """One fault. Of `status`, `code`, `delay_ms` and `drop` at least one is set."""

    id: str
    methods: tuple[str, ...]
    path: str
    status: int | None
    code: str | None
    times: int | None
    """How many requests get it; None is every one until it is removed."""
    delay_ms: int
    drop: bool | Literal["body"]
    retry_after_seconds: int | None
    used: int = 0

    @property
    def is_used_up(self) -> bool:
        return self.times is not None and self.used >= self.times

    def matches(self, method: str, path: str) -> bool:
        """Whether it is meant for such a request."""
        if method not in self.methods and (self.methods != (ANY_METHOD,) or method == _PREFLIGHT):
            return False
        return _is_like(path, self.path)

    def as_json(self) -> dict[str, Any]:
        """The fault as the control plane shows it."""
        method = self.methods[0] if len(self.methods) == 1 else list(self.methods)
        shown = {name: value for name, value in vars(self).items() if name != "methods"}
        return {"id": shown.pop("id"), "method": method, **shown}


def _is_like(path: str, pattern: str) -> bool:
    """Whether a path is as a pattern with `*` says. Taking the first place of each part is enough, and quick."""
    first, *parts = pattern.split("*")
    if not parts:
        return path == pattern
    if not path.startswith(first):
        return False
    at = len(first)
    for part in parts[:-1]:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(path) >= at + len(parts[-1]) and path.endswith(parts[-1])


class FaultTable:
    """Faults in the order in which they were made. One event loop uses it, so nothing here needs a lock."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._made = 0

    def add(self, **values: Any) -> Fault:
        """A new fault. Raises ValidationFailed when there are too many."""
        if len(self._faults) >= MAX_FAULTS:
            self._faults = {id_: fault for id_, fault in self._faults.items() if not fault.is_used_up}
        if len(self._faults) >= MAX_FAULTS:
            raise ValidationFailed(
                {"body": [f"there are {MAX_FAULTS} faults already; DELETE /_dev/faults clears them"]}
            )
        self._made += 1
        fault = Fault(id=f"fault_{self._made}", **values)
        self._faults[fault.id] = fault
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that a request gets, counted as used: the first made of those that are meant for it."""
        for fault in self._faults.values():
            if not fault.is_used_up and fault.matches(method, path):
                fault.used += 1
                return fault
        return None

    def list(self) -> list[Fault]:
        """All of them, those that are used up too, the first made first."""
        return list(self._faults.values())

    def remove(self, id_: str) -> bool:
        """End one. False when there is none of that id."""
        return self._faults.pop(id_, None) is not None

    def clear(self) -> None:
        """End all."""
        self._faults.clear()
