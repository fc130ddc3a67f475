"""The processes of a pool: started, counted, replaced and ended. Which jobs they do is not their business."""

import asyncio
import logging

from imgpro_lite.imaging.jobs import Limits
from imgpro_lite.imaging.process import WorkerDied, WorkerProcess
from imgpro_lite.tally import Replaced, WorkTally

logger = logging.getLogger("imgpro_lite.imaging")

# Pause before another attempt to start a worker, when one did not come up.
_RESTART_SECONDS = 1.0


class Workers:
    """As many processes as there should be, or fewer while others are being started."""

    def __init__(self, limits: Limits, tally: WorkTally) -> None:
        self._limits = limits
        self._tally = tally
        self._processes: set[WorkerProcess] = set()
        self._failed_starts = 0  # since the last that succeeded

    @property
    def protections(self) -> list[str]:
        """The names of the protections that are in force in them."""
        return next(iter(self._processes)).protections if self._processes else []

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [worker.pid for worker in self._processes]

    @property
    def are_failing(self) -> bool:
        """Whether the last one that was started did not come up."""
        return self._failed_starts > 0

    def count_alive(self) -> int:
        """How many live. One that dies while it has nothing to do stays until there is a job for it."""
        return sum(worker.is_alive for worker in self._processes)

    async def start(self, count: int) -> list[WorkerProcess]:
        """As many workers, which are ready. Raises WorkerDied or TimeoutError when one is not; none is left then."""
        starts = await asyncio.gather(*(self._start() for _ in range(count)), return_exceptions=True)
        for failure in starts:
            if isinstance(failure, BaseException):
                await self.end_all()
                raise failure
        return list(self._processes)

    async def start_patiently(self) -> WorkerProcess:
        """A new worker, however often it takes."""
        while True:
            try:
                return await self._start()
            except (WorkerDied, OSError) as error:  # TimeoutError is an OSError
                self._tell_of_failure(error)
                await asyncio.sleep(_RESTART_SECONDS)

    def _tell_of_failure(self, error: Exception) -> None:
        """Count a worker that did not come up. It may be so for days: what is logged is the 1st, 2nd, 4th, 8th, …"""
        self._failed_starts += 1
        self._tally.replaced[Replaced.DID_NOT_START] += 1
        if self._failed_starts & (self._failed_starts - 1) == 0:
            logger.error("a worker does not start (failures in a row: %d): %r", self._failed_starts, error)

    async def replace(self, worker: WorkerProcess, why: Replaced) -> None:
        """End a worker that another is to follow."""
        self._tally.replaced[why] += 1
        await self._end(worker)

    async def end_all(self) -> None:
        """Kill them, whatever they do, and wait until they are gone."""
        await asyncio.gather(*(self._end(worker) for worker in list(self._processes)))

    async def _start(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self._limits)
        self._processes.add(worker)
        self._failed_starts = 0
        return worker

    async def _end(self, worker: WorkerProcess) -> None:
        await worker.kill()
        self._processes.discard(worker)
