"""The library as a whole: reset, set down and put back, while nothing else happens."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

from imgpro_lite.dev.control import Control
from imgpro_lite.errors import InternalError, OperatorError, Overloaded, StorageFull, ValidationFailed
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.manifests import forget_manifests
from imgpro_lite.services.snapshots import make_empty_snapshot, restore_snapshot, take_snapshot
from imgpro_lite.services.sweeper import sweep
from imgpro_lite.store.data_dir import DATABASE_NAME, operator_errors
from imgpro_lite.store.dev_dir import DevDir
from imgpro_lite.store.snapshot_files import Snapshot, find_snapshot, remove_snapshot, remove_unfinished

log = logging.getLogger("imgpro_lite.dev")

EMPTY_NAME = "empty"
SEEDED_NAME = "seeded"
# What is kept of an upload is written within milliseconds of its answer, of the largest pictures within two seconds.
PREPARING_SECONDS = 5


def enter_dev_dir(data_dir: Path, control: Control) -> None:
    """Take up what an earlier run in dev mode has left: above all its time. Raises OperatorError."""
    dev_dir = DevDir(data_dir)
    with operator_errors(data_dir):
        dev_dir.prepare()
        if not any((data_dir / name).exists() for name in (DATABASE_NAME, "blobs")):
            dev_dir.allow_reset()
        if not dev_dir.may_be_reset:
            raise OperatorError(
                f"The library in {data_dir} was not begun in dev mode, which could lose its images: a reset removes "
                "them, and a clock that is moved ends them. Use another --data-dir for tests. If nothing in it is "
                f"needed, make the empty file {dev_dir.mark}."
            )
        forget_manifests(data_dir)
        remove_unfinished(dev_dir.snapshots)
        remove_unfinished(dev_dir.baselines)
        control.clock.offset_seconds = dev_dir.read_offset_seconds()
        restoring = dev_dir.find_restoring()
    if restoring and not find_snapshot(restoring.folder):
        raise OperatorError(
            f"A process died while it restored the snapshot {restoring.folder.name}, and that is gone. Delete the data "
            f"directory {data_dir}."
        )


def leave_dev_dir(data_dir: Path) -> None:
    """For a server without dev mode: the library is a real one from now on, in real time. Raises OperatorError."""
    dev_dir = DevDir(data_dir)
    with operator_errors(data_dir):
        if restoring := dev_dir.find_restoring():
            raise OperatorError(
                f"A process died while it restored the snapshot {restoring.folder.name} in {data_dir}. Start the "
                "server once with --dev, which finishes that."
            )
        if dev_dir.may_be_reset:
            log.warning("The library was begun in dev mode. This server has none, so from now on --dev is refused.")
        if offset_seconds := dev_dir.leave():
            log.warning("The clock of dev mode was %s. This server has the real time.", _text(offset_seconds))


async def begin(rt: Runtime, control: Control) -> None:
    """Finish what a crash has cut short, and have an empty library to go back to. Raises OperatorError."""
    dev_dir = dev_dir_of(rt)
    with operator_errors(rt.settings.data_dir), refusals_in_words(rt.settings.data_dir):
        if restoring := dev_dir.find_restoring():
            snapshot = find_snapshot(restoring.folder)
            assert snapshot is not None  # enter_dev_dir has looked
            log.warning("A process died while it restored the snapshot %s: it is restored now.", snapshot.name)
            await restore_snapshot(rt, snapshot, restoring.offset_seconds, after_crash=True)
            control.clock.offset_seconds = restoring.offset_seconds
        if find_snapshot(dev_dir.baselines / SEEDED_NAME):  # of an earlier run
            await asyncio.to_thread(remove_snapshot, dev_dir.baselines / SEEDED_NAME)
        await asyncio.to_thread(make_empty_snapshot, rt, dev_dir.baselines / EMPTY_NAME)


@contextlib.contextmanager
def refusals_in_words(data_dir: Path) -> Iterator[None]:
    """Tell the operator what a request would be told."""
    try:
        yield
    except StorageFull as error:
        raise OperatorError(f"The disk of {data_dir} is full; make room first.") from error
    except Overloaded as error:
        raise OperatorError(
            f"The database in {data_dir} is held by another program. Try again when it has ended."
        ) from error


def dev_dir_of(rt: Runtime) -> DevDir:
    """Dev mode's folder of a running server."""
    return DevDir(rt.settings.data_dir.absolute())


@contextlib.asynccontextmanager
async def alone(rt: Runtime, control: Control) -> AsyncIterator[None]:
    """Inside of a request: nothing else writes to the library. Raises Overloaded when other requests do not end."""
    async with control.traffic.held():
        await rt.background.pause()
        try:
            await _wait_for_intermediates(rt)
            yield
        finally:
            rt.background.resume()


async def _wait_for_intermediates(rt: Runtime) -> None:
    """Return when nothing is made of an upload any more, so that nothing is left of one that is then forgotten."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PREPARING_SECONDS):
            for is_kept in list(rt.maker.preparing.values()):
                await is_kept.wait()


async def take(rt: Runtime, control: Control, folder: Path) -> Snapshot:
    """Set everything down as it is now, in the place of an earlier snapshot of that name."""
    async with alone(rt, control):
        await take_snapshot(rt, folder, control.clock.offset_seconds)
    snapshot = find_snapshot(folder)
    assert snapshot is not None
    return snapshot


async def restore(rt: Runtime, control: Control, snapshot: Snapshot, *, with_clock: bool = True) -> None:
    """Have everything be as it was. Raises ValidationFailed for a snapshot of a newer version."""
    async with alone(rt, control):
        offset_seconds = snapshot.about.offset_seconds if with_clock else control.clock.offset_seconds
        try:
            await restore_snapshot(rt, snapshot, offset_seconds)
        except OperatorError as error:
            raise ValidationFailed({"name": [f"is of a snapshot that cannot be restored: {error}"]}) from error
        control.clock.offset_seconds = offset_seconds
        control.faults.clear()
        if not with_clock:  # what was still to come may be due
            await sweep(rt)
        await rt.db.checkpoint()  # resets that follow each other quickly leave no time for it in the background


async def take_baseline(rt: Runtime, control: Control) -> None:
    """From now on a reset leads to what there is now."""
    await take(rt, control, dev_dir_of(rt).baselines / SEEDED_NAME)


async def reset(rt: Runtime, control: Control, *, seed: bool) -> Snapshot:
    """Have everything be as at the start: with the seed, if there is one and it is wanted, else empty."""
    dev_dir = dev_dir_of(rt)
    empty, seeded = find_snapshot(dev_dir.baselines / EMPTY_NAME), find_snapshot(dev_dir.baselines / SEEDED_NAME)
    baseline = (seeded if seed else None) or empty
    if baseline is None:
        log.error("%s is gone; a restart makes it anew", dev_dir.baselines / EMPTY_NAME)
        raise InternalError
    await restore(rt, control, baseline)
    return baseline


def _text(offset_seconds: int) -> str:
    return f"{timedelta(seconds=abs(offset_seconds))} {'ahead' if offset_seconds > 0 else 'behind'}"
