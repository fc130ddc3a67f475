"""The line in front of the workers: by priority, in turn among those who wait, and only as long as is bearable."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from imgpro_lite import errors
from imgpro_lite.imaging.jobs import Priority
from imgpro_lite.tally import Outcome

logger = logging.getLogger("imgpro_lite.imaging")

# Until it is known better: a 12 megapixel photograph to 640 px takes about this long.
_FIRST_GUESS_SECONDS = 0.1

# The weight of the newest job in the moving average: some 20 jobs decide.
_NEWEST_WEIGHT = 0.05

# When to come again where the system has no threads left: it is other programs that have to end.
_NO_THREADS_SECONDS = 30


@dataclass(eq=False)
class Job:
    """A job with its files, and where the answer goes. `source` is read, `targets` are created and written."""

    message: dict[str, Any]
    source: Path | None
    targets: Sequence[Path]
    deadline_seconds: float
    priority: Priority
    refusal: Callable[[str], errors.ImgProError]
    failure_message: str
    one_shot: bool = False
    on_made: Callable[[int], None] = lambda _edge_px: None
    """Called with each intermediate that is finished, while the job goes on after its answer."""
    on_kept: Callable[[], None] = lambda: None
    """Called when an upload is found to have nothing that must be taken out, before it is decoded."""
    on_end: Callable[[], None] = lambda: None
    """Called when nothing will be written any more, whether the job was done or not."""
    owner: str = ""
    """Who it is for. Owners take turns, so that one with many jobs does not keep the others waiting for all of them."""
    turn: int = 0
    is_waiting: bool = False
    is_at_work: bool = False
    """Whether a worker does it now. Neither: its worker is being started."""
    outcome: Outcome = Outcome.FAILED
    """For those who count jobs; also of one whose caller has gone."""
    answer: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def paths(self) -> list[Path]:
        """The files, first the one to read."""
        return [*([self.source] if self.source is not None else []), *self.targets]

    @property
    def is_done(self) -> bool:
        """Whether the job succeeded and somebody has the answer."""
        return self.answer.done() and not self.answer.cancelled() and self.answer.exception() is None

    def settle(self, answer: dict[str, Any]) -> None:
        """Pass on what the worker said."""
        if "damaged" in answer:
            logger.error("%s is damaged: %s Restore it from a backup.", self.source, answer["damaged"])
        if "failed" in answer:
            logger.info("%s of %s: %s", self.message["do"], self.source, answer["failed"])
        if "kept" in answer:
            self.on_kept()
            return
        if "made" in answer:
            self.on_made(answer["made"])
        if "done" in answer or "refused" in answer:
            self.outcome = Outcome.DONE if "done" in answer else Outcome.REFUSED
        if self.answer.done():  # the caller was cancelled, or has its answer already
            return
        if "done" in answer:
            self.answer.set_result(answer["done"])
        elif "refused" in answer:
            self.answer.set_exception(self.refusal(answer["refused"]))
        elif answer.get("is_full"):
            self.fail(errors.StorageFull(), why=answer["failed"])
        elif answer.get("has_no_threads"):
            self.fail(errors.Overloaded(_NO_THREADS_SECONDS), why=answer["failed"])
        else:
            self.fail(why=answer.get("failed", ""))

    def fail(self, error: Exception | None = None, *, why: str = "") -> None:
        """Tell the caller that it cannot be done, or what went wrong on our side. `why` is a note for the operator,
        which is never part of an answer."""
        if self.answer.done():
            return
        error = error or self.refusal(self.failure_message)
        if why:
            error.add_note(why)
        self.answer.set_exception(error)


class _Place(NamedTuple):
    """A place in line, ordered by its fields; `arrival` is unique, so that jobs are never compared."""

    priority: Priority
    turn: int
    arrival: int
    job: Job


class WaitingLine:
    """Jobs that wait for a worker. Uploads go before views, and those before background work; in each of these, owners
    take turns: everybody's first job goes before anybody's second."""

    def __init__(self, workers: int, patience_seconds: float) -> None:
        self._workers = workers
        self._patience_seconds = patience_seconds
        self._average_seconds = _FIRST_GUESS_SECONDS
        self._queue: asyncio.PriorityQueue[_Place] = asyncio.PriorityQueue()
        self._arrivals = 0
        self._waiting: Counter[tuple[Priority, int]] = Counter()
        self._turns: dict[tuple[Priority, str], int] = {}  # of the owners who wait: that of their newest job
        self._turns_taken: Counter[Priority] = Counter()

    def join(self, job: Job) -> None:
        """Put the job in line. Raises Overloaded when it would wait too long."""
        owner = (job.priority, job.owner)
        job.turn = max(self._turns.get(owner, 0), self._turns_taken[job.priority]) + 1
        wait_seconds = self.expected_wait_seconds(job.priority, job.turn)
        if wait_seconds > self._patience_seconds:
            raise errors.Overloaded(retry_after_seconds=math.ceil(wait_seconds))
        self._arrivals += 1
        self._turns[owner] = job.turn
        self._waiting[job.priority, job.turn] += 1
        job.is_waiting = True
        self._queue.put_nowait(_Place(job.priority, job.turn, self._arrivals, job))

    def leave(self, job: Job) -> None:
        """Count a job no longer as waiting: it is taken, or nobody wants it any more."""
        if job.is_waiting:
            job.is_waiting = False
            self._waiting[job.priority, job.turn] -= 1
            if not self._waiting[job.priority, job.turn]:
                del self._waiting[job.priority, job.turn]

    async def next(self) -> Job:
        """The next job that somebody still wants."""
        while True:
            job = (await self._queue.get()).job
            self.leave(job)
            self._turns_taken[job.priority] = max(self._turns_taken[job.priority], job.turn)
            if self._turns[job.priority, job.owner] == job.turn:  # the owner has no other
                del self._turns[job.priority, job.owner]
            if not job.answer.done():
                return job

    def dismiss(self, error: Exception) -> None:
        """Send everybody away."""
        while not self._queue.empty():
            self._queue.get_nowait().job.fail(error)
        self._waiting.clear()
        self._turns.clear()

    def count_waiting(self) -> dict[Priority, int]:
        """How many jobs of each priority wait."""
        counts = dict.fromkeys(Priority, 0)
        for (priority, _turn), count in self._waiting.items():
            counts[priority] += count
        return counts

    def learn(self, seconds: float) -> None:
        """Tell how long a job took."""
        self._average_seconds += _NEWEST_WEIGHT * (seconds - self._average_seconds)

    def expected_wait_seconds(self, priority: Priority, turn: float = math.inf) -> float:
        """How long a job of this priority would wait now: in this turn, or after all others."""
        ahead = sum(count for place, count in self._waiting.items() if place <= (priority, turn))
        return ahead * self._average_seconds / self._workers
