"""Making AVIF smaller behind its viewers' backs: what was made quickly for the first view is made again with care.

It happens in a worker of its own that every other process goes before, one variant after the other, the latest first.
"""

import asyncio
import logging
import sqlite3
from dataclasses import replace

from imgpro_lite.errors import ImgProError
from imgpro_lite.imaging.jobs import Priority
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.process import WorkerDied
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.making import Variant, draft_of
from imgpro_lite.services.variants import make_checked

log = logging.getLogger("imgpro_lite.refining")

NICENESS = 19  # the most: beside busy workers it gets some 2 % of a core
IDLE_SECONDS = 30  # then the worker's 60 MB are given back; another is there within 0.3 s
RETRY_SECONDS = 60  # when no worker starts


async def refine_forever(rt: Runtime) -> None:
    """Work off rt.refinements until cancelled."""
    while True:
        await rt.refinements.wait()
        pool = WorkerPool(rt.settings.imaging.model_copy(update={"workers": 1}), niceness=NICENESS, tally=rt.pool.tally)
        try:
            await pool.start()
            await _work(rt, pool)
        except (WorkerDied, OSError):  # TimeoutError is an OSError
            log.exception("the worker for AVIF in the background does not start")
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            await pool.close()


async def _work(rt: Runtime, pool: WorkerPool) -> None:
    """Refine until there has been nothing to do for a while."""
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await rt.refinements.wait()
        except TimeoutError:
            return
        try:
            await _refine(rt, pool, rt.refinements.take())
        except (ImgProError, OSError, sqlite3.Error) as error:  # the draft is served on
            log.info("an AVIF was not made again: %s", error)


async def _refine(rt: Runtime, pool: WorkerPool, variant: Variant) -> None:
    assert variant.name is not None
    if rt.maker.cache.has(variant.name):
        return
    await make_checked(rt, replace(rt.maker, pool=pool), variant, variant.name, Priority.BACKGROUND)
    draft = draft_of(rt.settings.imaging, variant)
    if draft is not None and draft.name is not None:
        rt.maker.cache.remove(draft.name)
    rt.hot.forget([variant.media.id])
