"""How many may do something at a time, in all, for one caller and with one host; the others wait for a while."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from imgpro_lite.errors import Overloaded

RETRY_AFTER_SECONDS = 15  # a fetch takes a second or a few, and a minute at the very most

# As many as get their turn in time where each takes a second: two at a time, during the 15 seconds that are waited.
MAX_WAITING_PER_CALLER = 30


@dataclass(eq=False)
class Slot:
    """A place among those who may, or who wait until they may."""

    caller: str
    host: str
    granted: asyncio.Future[None]


class Slots:
    """Turns. A caller has fewer than there are, and so has a host: neither can take them all. Whoever waits goes before
    whoever comes later, but for callers that have fewer slots than others."""

    def __init__(self, total: int, per_caller: int, per_host: int, wait_seconds: float) -> None:
        self._total = total
        self._per_caller = per_caller
        self._per_host = per_host
        self._wait_seconds = wait_seconds
        self._of_callers: Counter[str] = Counter()
        self._of_hosts: Counter[str] = Counter()
        self._waiting: list[Slot] = []  # in the order in which they came

    @asynccontextmanager
    async def take(self, caller: str, host: str) -> AsyncIterator[None]:
        """Hold a slot during the block. Raises Overloaded when none gets free in time, or too many wait already."""
        slot = await self.acquire(caller, host)
        try:
            yield
        finally:
            self.release(slot)

    async def acquire(self, caller: str, host: str) -> Slot:
        """A slot that has to be given back by `release`. Raises Overloaded as `take` does."""
        if sum(slot.caller == caller for slot in self._waiting) >= MAX_WAITING_PER_CALLER:
            raise _overloaded()
        slot = Slot(caller, host, asyncio.get_running_loop().create_future())
        self._waiting.append(slot)
        self._grant()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await slot.granted
        except TimeoutError:
            self._withdraw(slot)
            raise _overloaded() from None
        except asyncio.CancelledError:
            self._withdraw(slot)
            raise
        return slot

    def release(self, slot: Slot) -> None:
        """Let another have it."""
        self._of_callers[slot.caller] -= 1
        self._of_hosts[slot.host] -= 1
        self._of_callers, self._of_hosts = +self._of_callers, +self._of_hosts  # forget who has none
        self._grant()

    def _withdraw(self, slot: Slot) -> None:
        if slot in self._waiting:
            self._waiting.remove(slot)
        else:
            self.release(slot)  # its turn came in the same moment

    def _grant(self) -> None:
        """Give out what is free. Nobody who could have a slot waits after that."""
        while possible := [slot for slot in self._waiting if self._is_free(slot)]:
            slot = min(possible, key=lambda slot: self._of_callers[slot.caller])
            self._waiting.remove(slot)
            self._of_callers[slot.caller] += 1
            self._of_hosts[slot.host] += 1
            if not slot.granted.done():
                slot.granted.set_result(None)

    def _is_free(self, slot: Slot) -> bool:
        return (
            self._of_callers.total() < self._total
            and self._of_callers[slot.caller] < self._per_caller
            and self._of_hosts[slot.host] < self._per_host
        )


def _overloaded() -> Overloaded:
    return Overloaded(RETRY_AFTER_SECONDS, "Too many images are being imported at the moment.")
