"""Writes the manifests that are out of date, from which a lost database can be made anew. Beside the requests.

A transaction notes which they are; here they are written, synced, and only then the notes taken back. So whatever a
crash, a power cut or a full disk cuts short is done again. They go in batches: most of what writing one costs is
waiting for the disk, and many can wait together.
"""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import time
from pathlib import Path

from imgpro_lite.errors import ImgProError, StorageFull
from imgpro_lite.runtime import Runtime
from imgpro_lite.store import manifest_rows
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.manifest_rows import Backlog, Due
from imgpro_lite.store.manifests import MANIFESTS_NAME, Manifests
from imgpro_lite.store.set_aside import set_aside
from imgpro_lite.store.sqlite_file import Tx

log = logging.getLogger("imgpro_lite.manifests")

EVERY_SECONDS = 1  # so much of what was done last is lost at most, when a database is lost
BATCH = 16  # each an open file meanwhile, and about 50 KB
# For the backlog of an upgrade, of which nothing is urgent: it takes a third of the disk's time at most.
PAUSES_FOR_EACH_BATCH = 2
RETRY_SECONDS = 30


async def write_manifests_forever(rt: Runtime) -> None:
    """Write what is due every second, until cancelled. A failure is logged once, and tried again."""
    writer = _Writer(rt)
    has_failed = False
    while True:
        await asyncio.sleep(RETRY_SECONDS if has_failed else EVERY_SECONDS)
        try:
            error = await writer.write_all()
        except (ImgProError, sqlite3.Error, OSError, ValueError) as failure:
            error = failure
        if error and not has_failed:
            log.warning("Manifests cannot be written now: %s. They are written later.", error, exc_info=error)
        has_failed = error is not None


class _Writer:
    """Writes manifests, a batch after the other."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._data_dir = rt.settings.data_dir.absolute()
        self._manifests = Manifests(self._data_dir)
        self._is_compared = False

    async def write_all(self) -> Exception | None:
        """Write all that is due, the backlog last: why some could not be, if so. Raises as `write_due`."""
        if not self._is_compared:
            await self._compare_states()
            self._is_compared = True
        if not await asyncio.to_thread(self._manifests.has_library):
            # The directory was deleted, or the library was restored from a backup without it.
            await self._rt.db.write(lambda tx: manifest_rows.insert_all_due(tx.conn))
        error = await self.write_due()
        while error is None and await self.write_backlog():
            error = await self.write_due()
        return error

    async def _compare_states(self) -> None:
        """See to it, once, that the manifests are of this database, as it was when it wrote them last.

        They are kept where they know more: the database may be a copy from before. But images that only they know would
        come back with the next rebuild.
        """
        found = await asyncio.to_thread(self._manifests.read_state)
        state = await self._rt.db.read(manifest_rows.get_state)
        if found == state:
            return
        if found and (found.line != state.line or found.batches > state.batches):
            kept = await asyncio.to_thread(set_aside, self._data_dir, self._manifests.root)
            log.warning(
                "The database is older than the manifests, or another: they are in %s now, and written anew. If it was "
                "lost and replaced by a copy, `imgpro-lite rebuild` can make what they know; the README says how.",
                kept,
            )
            await self._rt.db.write(lambda tx: manifest_rows.begin_line(tx.conn))
        elif await asyncio.to_thread(self._manifests.has_library):  # a crash, or they are a copy from before
            names = await asyncio.to_thread(lambda: [name for _, name in self._manifests.walk() if name])
            await self._rt.db.write(_note_all, names)

    async def write_due(self) -> Exception | None:
        """Write all that is due, once: why some could not be, if so. Raises ImgProError, sqlite3.Error, OSError."""
        last, error = "", None
        while batch := await self._rt.db.read(manifest_rows.list_due, last, BATCH):
            last = batch[-1].name
            failure = await self._write(batch)
            error = error or failure
        return error

    async def _write(self, batch: list[Due]) -> Exception | None:
        full = None
        try:
            self._rt.blobs.check_free_space()
        except StorageFull as failure:  # what is left is for deleting, which goes on here as well
            full, batch = failure, [due for due in batch if not due.lines]
        written = await asyncio.to_thread(self._manifests.write, [(due.name, due.lines) for due in batch])
        done = [due for due in batch if due.name in written.done]
        if done:
            state = await self._rt.db.write_freeing(lambda tx: manifest_rows.delete_due(tx.conn, done))
            reached("manifests.committed")
            with contextlib.suppress(OSError):  # then the next start compares them all
                await asyncio.to_thread(self._manifests.write_state, state)
        return full or written.error

    async def write_backlog(self) -> bool:
        """Look at some of the backlog: whether there was any. Raises ImgProError, sqlite3.Error, OSError."""
        backlog = await self._rt.db.read(manifest_rows.find_backlog)
        if backlog is None:
            return False
        self._rt.blobs.check_free_space()
        begun_at = time.monotonic()
        next_number, contents = await self._rt.db.read(_read_backlog, backlog)
        failed = await asyncio.to_thread(self._write_changed, contents)
        await self._rt.db.write(_go_on, backlog, next_number, failed)
        await asyncio.sleep(PAUSES_FOR_EACH_BATCH * (time.monotonic() - begun_at))
        return True

    def _write_changed(self, contents: list[tuple[str, list[bytes]]]) -> set[str]:
        """Write those that are not on the disk already: which could not be. Raises OSError when none could be."""
        changed = [content for content in contents if not self._manifests.is_written(*content)]
        written = self._manifests.write(changed)
        if written.error and not written.done:
            raise written.error
        return {name for name, _ in changed} - written.done


def _note_all(tx: Tx, names: list[str]) -> None:
    """Every manifest that is to be, and those that are there without any rows."""
    manifest_rows.insert_all_due(tx.conn)
    for name in names:
        if not manifest_rows.has_rows(tx.conn, name):
            manifest_rows.insert_due(tx.conn, name)


def _read_backlog(conn: sqlite3.Connection, backlog: Backlog) -> tuple[int, list[tuple[str, list[bytes]]]]:
    """The next manifests, and the number from which on more are to be looked at."""
    number = manifest_rows.find_number(conn, backlog.next_number)
    contents: list[tuple[str, list[bytes]]] = []
    while number is not None and number <= backlog.last_number and len(contents) < BATCH:
        name = f"images/{number}"
        contents.append((name, manifest_rows.read_lines(conn, name)))
        number = manifest_rows.find_number(conn, number + 1)
    return backlog.last_number + 1 if number is None else number, contents


def _go_on(tx: Tx, backlog: Backlog, next_number: int, failed: set[str]) -> None:
    for name in failed:
        manifest_rows.insert_due(tx.conn, name)
    manifest_rows.update_backlog(tx.conn, backlog, next_number)


def forget_manifests(data_dir: Path) -> None:
    """For dev mode, which writes none: those that there are would be wrong when it ends. Raises OSError."""
    if (data_dir / MANIFESTS_NAME).exists():
        shutil.rmtree(data_dir / MANIFESTS_NAME)
