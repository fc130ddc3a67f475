"""Rate limits: how many attempts a caller has left in a window of the clock.

Windows are fixed: an hour of the clock, a day of UTC. They count every attempt, also refused ones (decision 19). The
counts live in memory and are saved once a second, so that a restart forgets at most a second of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from imgpro_lite.errors import RateLimited

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
MINUTE_SECONDS = 60
_PERIODS = {MINUTE_SECONDS: "a minute", HOUR_SECONDS: "an hour", DAY_SECONDS: "a day"}

# Windows kept in memory at most. One takes about 250 bytes, so a flood of addresses costs at most 50 MB; past it the
# ones that end soonest are forgotten.
MAX_WINDOWS = 200_000


@dataclass(frozen=True)
class RateLimit:
    """So many attempts in a window of so many seconds. A limit of 0 is none."""

    name: str
    limit: int
    window_seconds: int


@dataclass(frozen=True)
class Window:
    """How a caller stands with one limit after an attempt."""

    limit: int
    window_seconds: int
    attempts: int
    resets_at: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.attempts)

    @property
    def exceeded(self) -> bool:
        return self.limit > 0 and self.attempts > self.limit


class RateWindows:
    """Attempts by limit and subject. One event loop uses it, so nothing here needs a lock."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], tuple[int, int]] = {}  # (limit, subject) → (window's end, attempts)
        self._unsaved: set[tuple[str, str]] = set()

    def restore(self, rows: list[tuple[str, str, int, int]]) -> None:
        """Know nothing but these, (limit name, subject, end, attempts), as they were saved."""
        self._attempts.clear()
        self._unsaved.clear()
        for name, subject, ends_at, attempts in rows:
            self._attempts[name, subject] = (ends_at, attempts)

    def peek(self, limit: RateLimit, subject: str, now: int) -> Window:
        """How a subject stands, without another attempt."""
        ends_at = now - now % limit.window_seconds + limit.window_seconds
        window_end, attempts = self._attempts.get((limit.name, subject), (ends_at, 0))
        is_current = limit.limit > 0 and window_end == ends_at
        return Window(limit.limit, limit.window_seconds, attempts if is_current else 0, ends_at)

    def charge(self, limit: RateLimit, subject: str, now: int) -> Window:
        """Count one attempt of a subject and say how it stands."""
        window = self.peek(limit, subject, now)
        # Further attempts past the limit change nothing; not counting them keeps a flood from being written to disk.
        if limit.limit == 0 or window.exceeded:
            return window
        key, attempts = (limit.name, subject), window.attempts + 1
        self._attempts[key] = (window.resets_at, attempts)
        self._unsaved.add(key)
        if len(self._attempts) > MAX_WINDOWS:
            self._forget(now)
        return Window(limit.limit, limit.window_seconds, attempts, window.resets_at)

    def take_unsaved(self) -> list[tuple[str, str, int, int]]:
        """The windows that changed since the last call, as rows to save."""
        rows = [(*key, *self._attempts[key]) for key in self._unsaved if key in self._attempts]
        self._unsaved.clear()
        return rows

    def forget_ended(self, now: int) -> None:
        """Drop the windows that are over."""
        for key in [key for key, (ends_at, _) in self._attempts.items() if ends_at <= now]:
            del self._attempts[key]

    def _forget(self, now: int) -> None:
        self.forget_ended(now)
        if len(self._attempts) > MAX_WINDOWS:
            by_end = sorted(self._attempts, key=lambda key: self._attempts[key][0])
            for key in by_end[: MAX_WINDOWS // 10]:
                del self._attempts[key]


def refuse_exceeded(windows: Iterator[Window] | list[Window], now: int, what: str) -> None:
    """Raise RateLimited when a window is exceeded, with the wait until the last of the exceeded ones ends."""
    exceeded = [window for window in windows if window.exceeded]
    if exceeded:
        raise rate_limited(max(exceeded, key=lambda window: window.resets_at), now, what)


def rate_limited(window: Window, now: int, what: str) -> RateLimited:
    """The refusal of an attempt too many, with the wait until the window ends."""
    period = _PERIODS[window.window_seconds]
    return RateLimited(
        f"Too many {what}: at most {window.limit} in {period} are possible. Please wait.", window.resets_at - now
    )
