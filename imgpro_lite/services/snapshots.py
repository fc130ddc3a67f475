"""The whole library as it was: set down in a snapshot, and put back. Dev mode's.

Nothing else may write meanwhile, which the caller sees to. Each of the two is one function that runs in the writer's
thread from its beginning to its end.
"""

import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from imgpro_lite.mail.outbox import Outbox
from imgpro_lite.mail.senders import OUTBOX_NAME
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.housekeeping import save_rate_windows
from imgpro_lite.services.making import variants_of
from imgpro_lite.store import account_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.dev_dir import DevDir, Restoring
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import disk_full_as_refusal
from imgpro_lite.store.snapshot_files import About, Snapshot, link, replace_mail, write_snapshot
from imgpro_lite.store.sqlite_copy import copy_database, count_images, list_stored, new_database, replace_database


async def take_snapshot(rt: Runtime, folder: Path, offset_seconds: int) -> None:
    """Set down everything in a folder of this name. Raises OSError, Overloaded, StorageFull."""
    await save_rate_windows(rt)
    await rt.db.run_alone(_take, rt, folder, offset_seconds)


def _take(conn: sqlite3.Connection, rt: Runtime, folder: Path, offset_seconds: int) -> None:
    def write_database(path: Path) -> list[bytes]:
        copy_database(conn, path)
        return list_stored(conn)

    about = About(rt.clock.now(), offset_seconds, count_images(conn), dict(rt.extra_storage_bytes))
    write_snapshot(folder, write_database, rt.blobs, _outbox(rt), about)


def make_empty_snapshot(rt: Runtime, folder: Path) -> None:
    """A snapshot of a library that nobody has used yet. Raises OSError, StorageFull."""

    def write_database(path: Path) -> list[bytes]:
        new_database(path, rt.clock)
        return []

    write_snapshot(folder, write_database, rt.blobs, folder / "nothing", About(rt.clock.now(), 0, 0, {}))


async def restore_snapshot(rt: Runtime, snapshot: Snapshot, offset_seconds: int, *, after_crash: bool = False) -> None:
    """Have everything be as it was, and keep that the clock is so far ahead; the caller sets it.

    Raises OperatorError for a snapshot of a newer version, OSError, Overloaded, StorageFull. No image is then without
    its file, and it can be tried again.
    """
    variants = await rt.db.run_alone(partial(_restore, after_crash=after_crash), rt, snapshot, offset_seconds)
    for cache in (rt.maker.cache, rt.maker.intermediates):
        for name in variants:
            cache.forget(name)
        cache.forget_failures()
    rt.rate_windows.restore(await rt.db.read(account_rows.list_rate_windows, 0))  # those that are over do no harm
    rt.extra_storage_bytes.clear()
    rt.extra_storage_bytes.update(snapshot.about.extra_storage_bytes)
    rt.refinements.clear()
    rt.hot.clear()
    if isinstance(rt.mail.sender, Outbox):
        rt.mail.sender.forget_names()


def _restore(
    conn: sqlite3.Connection, rt: Runtime, snapshot: Snapshot, offset_seconds: int, *, after_crash: bool
) -> list[str]:
    """First what is missing comes, then the database is replaced, then what is too much goes: no image is ever without
    its file. The names of the variants that are gone."""
    dev_dir = DevDir(rt.settings.data_dir.absolute())
    wanted = set(snapshot.list_blobs())
    gone = (set(list_stored(conn)) | rt.blobs.doubtful | _on_disk(rt.blobs, after_crash)) - wanted
    dev_dir.begin_restoring(Restoring(snapshot.folder, offset_seconds))
    try:
        # If it fails, the sweep removes those that no image has.
        rt.blobs.doubtful.update(wanted)
        _bring_back(rt.blobs, snapshot, wanted)
        reached("restore.begun")
        variants = _remove_variants(rt, gone)
        replace_database(conn, snapshot.database, rt.clock)
    except BaseException:  # nothing is replaced yet
        dev_dir.end_restoring()
        raise
    # What fails or dies from here on is finished by the next restore, reset or start.
    rt.blobs.doubtful.clear()
    rt.blobs.doubtful.update(gone)
    reached("restore.replaced")
    for sha256 in gone:
        rt.blobs.purge(sha256)
    rt.blobs.doubtful.clear()
    reached("restore.purged")
    replace_mail(_outbox(rt), snapshot.outbox)
    dev_dir.write_offset_seconds(offset_seconds)
    dev_dir.end_restoring()
    return variants


def _on_disk(blobs: BlobStore, after_crash: bool) -> set[bytes]:
    """The files that are there, where that cannot be told from the rows."""
    folders = blobs.list_folders() if after_crash else []
    return {sha256 for folder in folders for sha256 in blobs.list_folder(folder)}


def _bring_back(blobs: BlobStore, snapshot: Snapshot, hashes: Iterable[bytes]) -> None:
    """Let there be every file of the snapshot."""
    with disk_full_as_refusal():
        for sha256 in hashes:
            path = blobs.path(sha256)
            try:
                link(snapshot.blob(sha256), path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                link(snapshot.blob(sha256), path)


def _remove_variants(rt: Runtime, hashes: set[bytes]) -> list[str]:
    """Remove everything that was made from these bytes: the names."""
    prefixes = [variants_of(sha256) for sha256 in hashes]
    return [name for cache in (rt.maker.cache, rt.maker.intermediates) for name in cache.remove_files(prefixes)]


def _outbox(rt: Runtime) -> Path:
    return rt.settings.data_dir.absolute() / OUTBOX_NAME
