"""Wall-clock time, from one injected place (decision 50)."""

import time


class Clock:
    """The machine's wall clock. Deadlines use a monotonic clock instead; this one is for dates people see."""

    def now(self) -> int:
        """Unix time in whole seconds."""
        return int(time.time())


class MovableClock(Clock):
    """A clock that goes on from wherever it is set to: that of dev mode."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.offset_seconds = 0
        """How far it is ahead of the real time; below 0 when it is behind."""

    def now(self) -> int:
        return self._base.now() + self.offset_seconds

    def set(self, at: int) -> None:
        """Go on from a Unix time in seconds."""
        self.offset_seconds = at - self._base.now()
