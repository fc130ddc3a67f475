"""Work that can wait, and may be forgotten when there is too much of it."""

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """Items by key, each once, the latest first. Beyond the limit the oldest are forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[str, T] = OrderedDict()
        self._has_items = asyncio.Event()

    def add(self, key: str, item: T) -> None:
        """Put an item first."""
        self._items[key] = item
        self._items.move_to_end(key)
        if len(self._items) > self._limit:
            self._items.popitem(last=False)
        self._has_items.set()

    async def wait(self) -> None:
        """Return when there is something to do."""
        await self._has_items.wait()

    def take(self) -> T:
        """The latest item, which is then no longer in the backlog. There must be one."""
        _, item = self._items.popitem()
        if not self._items:
            self._has_items.clear()
        return item

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._has_items.clear()
