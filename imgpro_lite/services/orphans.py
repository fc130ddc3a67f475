"""Files that no image has: a crash came between a file and its row, or an older database has been put back.

Which of the two cannot be told: both leave files that are newer than every row. So they are set aside, where nothing
is lost but room, and removed when nobody has missed them for long.
"""

import asyncio
import logging
import shutil
import sqlite3
from pathlib import Path

from imgpro_lite.errors import ImgProError
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import blob_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.set_aside import SET_ASIDE_NAME, crash_folder, list_old_crash_folders, set_aside
from imgpro_lite.store.sqlite_file import Tx

log = logging.getLogger("imgpro_lite.orphans")

KEPT_DAYS = 30  # by then somebody has missed the images of a month, if they were any
LOOK_EVERY_SECONDS = 3600
# A crash leaves at most one for each upload that was under way, and as many connections there are by default.
MAX_OF_CRASHES = 1000
PAUSE_SECONDS = 0.005  # between directories, so that the work is never felt


async def set_orphans_aside(rt: Runtime) -> None:
    """Move the files away that no image has. One directory at a time; called after a crash.

    When it does not come to its end, the next start does it. More files than crashes leave are for `fsck`: then it is
    the database that is wrong.
    """
    moved = 0
    data_dir, folder_name = _data_dir(rt), crash_folder(rt.clock.now())
    try:
        for folder in await asyncio.to_thread(rt.blobs.list_folders):
            if not await asyncio.to_thread(rt.blobs.list_folder, folder):
                continue  # most are empty where images come and go
            moved += await rt.db.write_freeing(_set_aside_of, rt.blobs, folder, data_dir, folder_name)
            if moved > MAX_OF_CRASHES:
                log.error("More files have no image than a crash leaves: the rest stays. Run `imgpro-lite fsck`.")
                break
            await asyncio.sleep(PAUSE_SECONDS)
        rt.blobs.may_have_orphans = False
    except (ImgProError, sqlite3.Error, OSError):
        log.exception("looking for files without an image failed")
    finally:  # also when the server is stopped meanwhile
        if moved:
            log.warning(
                "Files without an image were moved to %s. They are removed after %d days, or delete them: a crash "
                "leaves a few. If an older database was put back, they are the newer images.",
                data_dir / SET_ASIDE_NAME / folder_name,
                KEPT_DAYS,
                extra={"files": moved},
            )


def _set_aside_of(tx: Tx, blobs: BlobStore, folder: Path, data_dir: Path, folder_name: str) -> int:
    """In a write transaction, in which no upload is between its file and its row."""
    orphans = [sha256 for sha256 in blobs.list_folder(folder) if not blob_rows.is_expected(tx.conn, sha256)]
    for sha256 in orphans:
        set_aside(data_dir, blobs.path(sha256), folder_name)
        reached("orphans.set_aside")
    return len(orphans)


async def remove_old_orphans_forever(rt: Runtime) -> None:
    """Remove what was set aside after a crash long ago, until cancelled. What `fsck` has set aside stays."""
    while True:
        try:
            await remove_old_orphans(rt)
        except OSError:
            log.warning("removing what a crash had left failed", exc_info=True)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def remove_old_orphans(rt: Runtime) -> None:
    """Remove them now, in 256 steps where it is a whole library. Raises OSError."""
    data_dir = _data_dir(rt)
    for folder in await asyncio.to_thread(list_old_crash_folders, data_dir, rt.clock.now(), KEPT_DAYS):
        for part in [*sorted(folder.glob("blobs/*/")), folder]:
            await asyncio.to_thread(shutil.rmtree, part)
            await asyncio.sleep(PAUSE_SECONDS)
        log.info("removed %s, which nobody has missed for %d days", folder, KEPT_DAYS)


def _data_dir(rt: Runtime) -> Path:
    """As an absolute path, as those of the files are."""
    return rt.settings.data_dir.absolute()
