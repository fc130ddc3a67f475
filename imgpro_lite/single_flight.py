"""One piece of work however many ask for it at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class SingleFlight:
    """Runs a coroutine once for each key at a time; everybody who asks meanwhile gets its result or its exception."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of work(). It goes on when one who asked goes away, because others may be waiting for it."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.ensure_future(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        result: T = await asyncio.shield(task)
        return result

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _finished(self, key: str, task: "asyncio.Task[Any]") -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # mark it as seen: everybody who asked may have gone away
