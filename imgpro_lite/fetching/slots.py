"""How many imports run at a time, in all and from one host; the others wait for a while."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imgpro_lite.errors import Overloaded

RETRY_AFTER_SECONDS = 15  # a fetch takes a second or a few, and a minute at the very most


class Slots:
    """Turns to fetch. A host has fewer than there are, so that one slow host does not take them all."""

    def __init__(self, total: int, per_host: int, wait_seconds: float) -> None:
        self._total = total
        self._per_host = per_host
        self._wait_seconds = wait_seconds
        self._used: Counter[str] = Counter()
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[None]:
        """Hold a slot during the block. Raises Overloaded when none gets free in time."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                while not self._is_free(host):
                    self._waiting.append(asyncio.get_running_loop().create_future())
                    await self._waiting[-1]
        except TimeoutError:
            raise Overloaded(RETRY_AFTER_SECONDS, "Too many images are being imported at the moment.") from None
        self._used[host] += 1
        try:
            yield
        finally:
            self._give_back(host)

    def _is_free(self, host: str) -> bool:
        return self._used.total() < self._total and self._used[host] < self._per_host

    def _give_back(self, host: str) -> None:
        self._used[host] -= 1
        self._used = +self._used  # forget hosts that have none
        waiting, self._waiting = self._waiting, []
        for future in waiting:  # all, because the first may wait for another host
            if not future.done():
                future.set_result(None)
