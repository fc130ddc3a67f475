"""Waiting: for a server that asks for it, and for failures to pass. It ends at once when everything is to stop."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from imgpro_lite.client.transfer.errors import Stopped

# An hourly window is the longest that is worth waiting for.
MAX_WAIT_SECONDS = 3_700
# Lost connections, proxies without their server: tried again after 0.5, 1, 2 and 4 s, in which a server restarts.
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.5
# Of a server that asks to wait without saying how long.
DEFAULT_WAIT_SECONDS = 5


class Patience:
    """`on_wait` hears of every wait that a server asks for, in seconds."""

    def __init__(self, on_wait: Callable[[int], None]) -> None:
        self._on_wait = on_wait
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def check(self) -> None:
        """Raise Stopped when everything is to stop."""
        if self.is_stopped:
            raise Stopped("interrupted")

    def pause(self, attempt: int) -> None:
        """Wait before the attempt of this number, the second being 1. Raises Stopped."""
        if self._stopped.wait(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)):
            raise Stopped("interrupted")

    def wait(self, seconds: int) -> None:
        """Wait because a server has asked for it. Raises Stopped."""
        self._on_wait(seconds)
        if self._stopped.wait(seconds):
            raise Stopped("interrupted")


def asked_seconds(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    """How long a server asks to wait before the same request may succeed; 0 when it does not."""
    if status not in (429, 503):
        return 0
    action = body.get("action")
    seconds = action.get("seconds") if isinstance(action, dict) else None
    if isinstance(seconds, int):  # at most as much as makes us give up: a larger number would be no time at all
        return min(max(1, seconds), MAX_WAIT_SECONDS + 1)
    retry_after = headers.get("retry-after", "")
    is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10
    return min(max(1, int(retry_after)), MAX_WAIT_SECONDS + 1) if is_number else DEFAULT_WAIT_SECONDS
