"""Work that goes on beside the requests, and can be made to pause."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("imgpro_lite.background")

Work = Callable[[], Awaitable[None]]


class Background:
    """Tasks by what they do. What came to its end by itself is not begun again."""

    def __init__(self) -> None:
        self._tasks: list[tuple[Work, asyncio.Task[None]]] = []
        self._paused: list[Work] = []

    def start(self, *works: Work) -> None:
        """Begin, each in a task of its own."""
        self._tasks += [(work, asyncio.ensure_future(work())) for work in works]

    async def pause(self) -> None:
        """Return when nothing goes on any more."""
        self._paused += [work for work, task in self._tasks if not task.done()]
        await self.stop()

    def resume(self) -> None:
        """Begin anew what was paused."""
        works, self._paused = self._paused, []
        self.start(*works)

    async def stop(self) -> None:
        """End everything, the latest first. What it had failed with is logged, and keeps nothing else from ending."""
        while self._tasks:
            _, task = self._tasks.pop()
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            except Exception:
                log.exception("background work had failed")
