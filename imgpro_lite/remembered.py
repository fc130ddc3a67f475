"""A value that costs something to find out, and need not be of this moment."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Found out again at most every so many seconds, and so seldom that it takes at most this share of the time."""

    def __init__(self, least_seconds: float, most_share: float) -> None:
        self._least_seconds = least_seconds
        self._most_share = most_share
        self._value: T | None = None
        self._good_until = 0.0

    async def get(self, find_out: Callable[[], Awaitable[T]]) -> T:
        """The value. Raises what finding it out raises; then the next one who asks tries again."""
        if self._value is None or time.monotonic() >= self._good_until:
            started_at = time.monotonic()
            self._value = await find_out()
            ended_at = time.monotonic()
            self._good_until = ended_at + max(self._least_seconds, (ended_at - started_at) / self._most_share)
        return self._value
