"""Several threads that do most of their work at the same time, and one step of it in the order of their numbers."""

import threading

from imgpro_lite.client.transfer.patience import Patience

LOOK_EVERY_SECONDS = 0.5  # whether all is to stop


class Turns:
    """Numbers begin at 0. Whoever has one must leave it in the end, or all behind it wait forever."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._next = 0
        self._left: set[int] = set()

    def wait(self, number: int) -> None:
        """Return when all smaller numbers have left. Raises Stopped."""
        with self._changed:
            while self._next < number:
                self._patience.check()
                self._changed.wait(LOOK_EVERY_SECONDS)

    def leave(self, number: int) -> None:
        """Let those behind go on; a second time changes nothing."""
        with self._changed:
            if number >= self._next:
                self._left.add(number)
            while self._next in self._left:
                self._left.remove(self._next)
                self._next += 1
            self._changed.notify_all()
