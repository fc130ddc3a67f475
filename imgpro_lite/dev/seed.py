"""The seed that a server in dev mode begins with, and goes back to."""

import asyncio
import contextlib
import itertools
import logging
from pathlib import Path

from imgpro_lite.dev import state
from imgpro_lite.dev.control import Control
from imgpro_lite.errors import ValidationFailed
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.accounts import ALL_ABILITIES, DEFAULT_KEY_NAME
from imgpro_lite.services.seed_file import SeedProblems, read_seed
from imgpro_lite.services.seeding import Library, Loaded, load_seed
from imgpro_lite.services.team_changes import WantedKey, insert_wanted_key

log = logging.getLogger("imgpro_lite.dev")

EMAIL = "dev@example.com"  # of the team of `--with-key`
TELL_EVERY_IMAGES = 100  # small ones take some seconds


async def load(rt: Runtime, control: Control) -> None:
    """Have everything of the seed and the key, if they are asked for, and a reset lead back to it. Raises
    OperatorError."""
    mode = control.mode
    if mode.seed_folder is None and mode.key is None:
        return
    with state.refusals_in_words(rt.settings.data_dir):
        if mode.seed_folder is not None:
            await _load_folder(rt, mode.seed_folder)
        if mode.key is not None:
            await _have_key(rt, mode.key)
        async with control.traffic.request():
            await state.take_baseline(rt, control)


async def _have_key(rt: Runtime, key: str) -> None:
    wanted = WantedKey(EMAIL, DEFAULT_KEY_NAME, None, verified=True, abilities=ALL_ABILITIES, secret=key)
    with contextlib.suppress(ValidationFailed):  # it is there, from an earlier run
        await rt.db.write(insert_wanted_key, rt.plans, wanted)


async def _load_folder(rt: Runtime, folder: Path) -> None:
    seed = await asyncio.to_thread(read_seed, folder)
    loaded = Loaded()
    done = itertools.count(1)

    def tell() -> None:
        if (number := next(done)) % TELL_EVERY_IMAGES == 0:
            log.info("loading the seed: %d of %d images", number, len(seed.images))

    await load_seed(Library(rt.settings, rt.plans, rt.db, rt.maker), seed, loaded, tell)
    if problems := loaded.list_problems():
        raise SeedProblems(folder, problems)
    log.info("the seed is loaded", extra={"images": loaded.images, "present": loaded.present})
