"""The seed that a server in dev mode begins with, and goes back to."""

import asyncio
import itertools
import logging

from imgpro_lite.dev import state
from imgpro_lite.dev.control import Control
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.seed_file import SeedProblems, read_seed
from imgpro_lite.services.seeding import Library, Loaded, load_seed

log = logging.getLogger("imgpro_lite.dev")

TELL_EVERY_IMAGES = 100  # small ones take some seconds


async def load(rt: Runtime, control: Control) -> None:
    """Have everything of the seed, if there is one, and a reset lead back to it. Raises OperatorError."""
    folder = control.mode.seed_folder
    if folder is None:
        return
    seed = await asyncio.to_thread(read_seed, folder)
    loaded = Loaded()
    done = itertools.count(1)

    def tell() -> None:
        if (number := next(done)) % TELL_EVERY_IMAGES == 0:
            log.info("loading the seed: %d of %d images", number, len(seed.images))

    with state.refusals_in_words(rt.settings.data_dir):
        await load_seed(Library(rt.settings, rt.plans, rt.db, rt.maker), seed, loaded, tell)
        if problems := loaded.list_problems():
            raise SeedProblems(folder, problems)
        async with control.traffic.request():
            await state.take_baseline(rt, control)
    log.info("the seed is loaded", extra={"images": loaded.images, "present": loaded.present})
