"""The workers, as the rest of the server sees them: hand over a file, get an answer or an error for the client.

Nothing here imports an image library. Each worker has a task of its own (`_run_worker`) that takes the next job from
the line, waits for the answer until the deadline, and replaces the process when it was killed, died or is worn out.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imgpro_lite import errors
from imgpro_lite.formats import Format
from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.imaging.jobs import Inspected, Library, Limits, Priority, Probed, Transform, Transformed
from imgpro_lite.imaging.process import WorkerDied, WorkerProcess
from imgpro_lite.imaging.waiting import Job, WaitingLine
from imgpro_lite.imaging.workers import Workers
from imgpro_lite.models import Strip
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.tally import Outcome, Replaced, WorkTally

logger = logging.getLogger("imgpro_lite.imaging")

# An answer as recent as this proves that workers answer, so a health check does not stand in line behind a flood.
_FRESH_ANSWER_SECONDS = 5.0
_PING_SECONDS = 10.0

_BROKEN = "The file could not be decoded: it is damaged, incomplete, too complex, or not what it seems to be."
_CANNOT = "The picture could not be made in this size and format."

# Why a worker goes with a job that ended like this.
_REPLACED = {Outcome.TOO_SLOW: Replaced.TOO_SLOW, Outcome.DIED: Replaced.DIED}


class WorkerPool:
    """Decodes and encodes pictures in processes of their own."""

    def __init__(self, settings: ImagingSettings, *, niceness: int = 0, tally: WorkTally | None = None) -> None:
        self._settings = settings
        self.tally = tally or WorkTally()
        self._count, memory_mb = share_out(settings, sandbox.count_cores(), sandbox.total_memory_mb())
        self.limits = Limits(memory_mb, settings.max_megapixels, niceness)
        self.line = WaitingLine(self._count, settings.queue_seconds)
        self._workers = Workers(self.limits, self.tally)
        self._tasks: list[asyncio.Task[None]] = []
        self._lookouts: dict[Job, asyncio.TimerHandle] = {}
        self.busy = 0
        """How many workers do a job now."""
        self._last_answer_at = -_FRESH_ANSWER_SECONDS

    @property
    def protections(self) -> list[str]:
        """The names of the protections that are in force in the workers, for the operator."""
        return self._workers.protections

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that run now."""
        return self._workers.pids

    def count_alive(self) -> int:
        """How many workers live now: fewer than there should be while others are being started, or died unnoticed."""
        return self._workers.count_alive()

    async def start(self) -> None:
        """Start the workers and return when they are ready. Raises WorkerDied or TimeoutError when one is not."""
        started = await self._workers.start(self._count)
        self._tasks = [asyncio.create_task(self._run_worker(worker)) for worker in started]

    async def close(self) -> None:
        """Kill the workers, whatever they do, and wait until they are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._workers.end_all()
        self.line.dismiss(_stopping())

    async def ping(self) -> None:
        """Return when a worker answers. Raises Overloaded when none does.

        One at work counts: its deadline sees to it that it answers or is replaced.
        """
        if self.busy or time.monotonic() - self._last_answer_at < _FRESH_ANSWER_SECONDS:
            return
        job = Job({"do": "ping"}, None, (), _PING_SECONDS, Priority.UPLOAD, errors.TransformFailed, _CANNOT)
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._do(job)
        except (TimeoutError, errors.TransformFailed) as error:
            raise errors.Overloaded(int(_PING_SECONDS), "No worker answers.") from error

    async def probe(
        self,
        source: Path,
        format_: Format,
        *,
        sanitized: Path | None = None,
        intermediates: Mapping[int, Path] | None = None,
        on_made: Callable[[int], None] = lambda _edge_px: None,
        on_end: Callable[[], None] = lambda: None,
        priority: Priority = Priority.UPLOAD,
        owner: str = "",
    ) -> Probed:
        """What an uploaded file is, after decoding all of it. None of the files that it writes may exist.

        Of an SVG, the document to store is written to `sanitized`. Of another picture, reduced ones are written to
        `intermediates`, by their short edge in pixels, also after the answer: `on_made` is called when one is complete,
        `on_end` (perhaps twice) when no more will come. Jobs of different owners take turns. Raises UnsupportedFormat
        or Overloaded.
        """
        is_svg = format_ == Format.SVG
        if is_svg != (sanitized is not None):
            raise ValueError("exactly an SVG has a sanitised document")
        by_edge = intermediates or {}
        message = {"do": "probe", "format": format_, "intermediates_px": list(by_edge), "strip": None}
        targets = [sanitized] if sanitized is not None else list(by_edge.values())
        deadline_seconds = self._deadline_seconds(is_svg)
        job = Job(message, source, targets, deadline_seconds, priority, errors.UnsupportedFormat, _BROKEN, is_svg)
        job.on_made, job.on_end, job.owner = on_made, on_end, owner
        try:
            fields = await self._do(job)
        except BaseException:
            on_end()
            raise
        return Probed(**fields | {"format": Format(fields["format"])})

    async def strip_or_probe(
        self,
        source: Path,
        target: Path,
        format_: Format,
        what: Strip,
        *,
        intermediates: Mapping[int, Path],
        on_kept: Callable[[], None],
        on_made: Callable[[int], None],
        on_end: Callable[[], None],
        owner: str,
    ) -> Probed | None:
        """Write an uploaded file without some of its metadata to `target`, which must not exist: None then, and the
        picture is not looked at. Where there is nothing of it, `target` is empty, `on_kept` is called, and the rest is
        that of `probe`. Raises UnsupportedFormat or Overloaded."""
        message = {"do": "probe", "format": format_, "intermediates_px": list(intermediates), "strip": what}
        seconds = self._deadline_seconds(is_svg=False)
        targets = [*intermediates.values(), target]
        job = Job(message, source, targets, seconds, Priority.UPLOAD, errors.UnsupportedFormat, _BROKEN, owner=owner)
        job.on_kept, job.on_made, job.on_end = on_kept, on_made, on_end
        try:
            fields = await self._do(job)
        except BaseException:
            on_end()
            raise
        return None if fields is None else Probed(**fields | {"format": Format(fields["format"])})

    async def transform(
        self, source: Path, target: Path, job: Transform, *, priority: Priority = Priority.VIEW
    ) -> Transformed:
        """Make a variant in a new file `target`, which must not exist. Raises TransformFailed or Overloaded; there is
        no `target` then."""
        is_svg = job.source == Format.SVG
        message = {"do": "transform", "transform": asdict(job)}
        deadline_seconds = self._deadline_seconds(is_svg)
        waiting = Job(message, source, [target], deadline_seconds, priority, errors.TransformFailed, _CANNOT, is_svg)
        return Transformed(**await self._do(waiting))

    async def inspect(self, source: Path, format_: Format) -> Inspected:
        """What a picture shows once it is decoded. Raises UnsupportedFormat, with what went wrong as a note, or
        Overloaded."""
        return Inspected(**await self._do(self._question({"do": "inspect", "format": format_}, source)))

    async def list_libraries(self) -> list[Library]:
        """What the workers are made of; only they load it. Raises UnsupportedFormat or Overloaded."""
        answer = await self._do(self._question({"do": "libraries"}, None))
        return [Library(**fields) for fields in answer["libraries"]]

    def _question(self, message: dict[str, Any], source: Path | None) -> Job:
        """A job that writes nothing."""
        return Job(message, source, (), _PING_SECONDS, Priority.BACKGROUND, errors.UnsupportedFormat, _BROKEN)

    def _deadline_seconds(self, is_svg: bool) -> float:
        return self._settings.svg_deadline_seconds if is_svg else self._settings.transform_deadline_seconds

    async def _do(self, job: Job) -> Any:
        """Stand in line and wait for the answer. A caller who is cancelled is forgotten; the worker ends its job."""
        if not self._tasks:
            raise RuntimeError("the pool is not running")
        self.line.join(job)
        self._look_after_later(job)
        try:
            return await job.answer
        finally:
            self._lookouts.pop(job).cancel()
            self.line.leave(job)

    def _look_after_later(self, job: Job) -> None:
        seconds = self._settings.queue_seconds
        self._lookouts[job] = asyncio.get_running_loop().call_later(seconds, self._look_after, job)

    def _look_after(self, job: Job) -> None:
        """Give up a job that waits for a worker which does not start; the line's own estimate knows nothing of that."""
        has_nobody = not self.count_alive() if job.is_waiting else not job.is_at_work
        if has_nobody and self._workers.are_failing:
            job.fail(errors.Overloaded(int(_PING_SECONDS), "No worker answers."), why="No worker starts.")
        else:
            self._look_after_later(job)

    async def _run_worker(self, worker: WorkerProcess | None) -> None:
        """Do one job after the other, with one process after the other."""
        while True:
            worker = worker or await self._workers.start_patiently()
            job = await self.line.next()
            try:
                worker = await self._finish(job, worker)
            except asyncio.CancelledError:
                job.fail(_stopping())
                raise
            finally:
                job.on_end()

    async def _finish(self, job: Job, worker: WorkerProcess) -> WorkerProcess | None:
        """Have the job done, by this worker or another: the one to go on with, None when it is worn out."""
        if not worker.is_alive:  # it died while it had nothing to do, which is not the job's fault
            await self._workers.replace(worker, Replaced.DIED)
            worker = await self._workers.start_patiently()
            if job.answer.done():  # that took too long
                return worker
        started_at = time.monotonic()
        try:
            is_fit = await self._serve(job, worker)
        except WorkerDied as error:
            logger.warning("%s of %s: the worker died: %s", job.message["do"], job.source, error)
            await self._workers.replace(worker, Replaced.DIED)
            worker = await self._workers.start_patiently()
            started_at = time.monotonic()
            is_fit = await self._serve_again(job, worker)
        seconds = time.monotonic() - started_at
        if job.source is not None:  # not a ping
            self.line.learn(seconds)
        self.tally.count_job(job.message, job.outcome, seconds)
        if is_fit and worker.jobs_done < self._settings.jobs_per_worker:
            return worker
        await self._workers.replace(worker, _REPLACED.get(job.outcome, Replaced.ROUTINE))
        return None

    async def _serve_again(self, job: Job, worker: WorkerProcess) -> bool:
        """Give a job whose worker died a second chance, with a fresh one: the death may have been the fault of another
        picture, whose memory made the kernel choose. There is no third."""
        if job.answer.done():
            return True
        try:
            return await self._serve(job, worker)
        except WorkerDied as error:
            logger.warning("%s of %s: the worker died again: %s", job.message["do"], job.source, error)
            job.outcome = Outcome.DIED
            job.fail(why=f"The worker died: {error}.")
            return False

    async def _serve(self, job: Job, worker: WorkerProcess) -> bool:
        """Let the worker do the job, and settle it. False when the worker must not be used any more. Raises WorkerDied,
        and then the job is not settled."""
        try:
            with _open_files(job) as files, self._at_work(job):
                async with asyncio.timeout(job.deadline_seconds):
                    answer = await worker.ask(job.message, files, job.paths)
                    while answer.get("more"):
                        job.settle(answer)
                        answer = await worker.receive()
                job.settle(answer)
        except TimeoutError:
            logger.info("%s of %s: killed after %g s", job.message["do"], job.source, job.deadline_seconds)
            job.outcome = Outcome.TOO_SLOW
            job.fail(why=f"It took longer than {job.deadline_seconds:g} s.")
            return False
        except WorkerDied:
            raise  # not caught as one of the exceptions below
        except OSError as error:  # a file that cannot be opened or created is a fault of the server, not of the picture
            job.fail(errors.StorageFull() if error.errno in errors.StorageFull.ERRNOS else error)
        except Exception as error:  # a bug must not take away a worker for good
            job.fail(error)
            return False
        else:
            self._last_answer_at = time.monotonic()
            # What is refused was not drawn, so that refusing costs no new worker.
            return not job.one_shot or "refused" in answer
        return True

    @contextmanager
    def _at_work(self, job: Job) -> Iterator[None]:
        """Count a worker as busy, for at most its deadline."""
        self.busy += 1
        job.is_at_work = True
        try:
            yield
        finally:
            self.busy -= 1
            job.is_at_work = False


def _stopping() -> errors.Overloaded:
    return errors.Overloaded(5, "The server is stopping.")


@contextmanager
def _open_files(job: Job) -> Iterator[list[int]]:
    """The descriptors of a job's files. Targets that are not finished, or not wanted any more, are removed."""
    descriptors = []
    binary = getattr(os, "O_BINARY", 0)
    created: list[Path] = []
    try:
        if job.source is not None:
            descriptors.append(os.open(job.source, os.O_RDONLY | binary))
        for target in job.targets:
            # To be read too: an SVG is looked at in its sanitised form.
            descriptors.append(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | binary, 0o600))
            created.append(target)
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        if not job.is_done:
            for target in created:
                target.unlink(missing_ok=True)
