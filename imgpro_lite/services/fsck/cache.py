"""What is made from the stored files: it can be made again, so what is wrong is removed."""

import math
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind
from imgpro_lite.services.fsck.looking import hold_if_stopped, list_entries
from imgpro_lite.store import media_rows
from imgpro_lite.store.cache_files import HALF_MADE_SECONDS, CachedFile, CacheFiles
from imgpro_lite.store.data_dir import CACHE_NAME, INTERMEDIATES_NAME

# How the name of everything begins that is made from bytes: with their hash (making.py). The version of an earlier
# program may go on otherwise.
_NAME = re.compile("([0-9a-f]{64})-.+")
_FOLDER = re.compile("[0-9a-f]{2}")


def check_caches(checkup: Checkup) -> None:
    """Everything in the cache and among the intermediates is whole, and made from bytes that an image has."""
    with hold_if_stopped(checkup) as is_stopped:
        pass
    # What a running server is making now belongs to an upload that has no row yet, or is not complete.
    grace_seconds = -math.inf if is_stopped else HALF_MADE_SECONDS
    for name in (CACHE_NAME, INTERMEDIATES_NAME):
        checkup.progress.begin(name.capitalize())
        files = CacheFiles(checkup.data_dir / name)
        for path, message in _list_wrong(checkup, files, grace_seconds):
            _tell(checkup, path, message)
        if checkup.options.repair:
            files.announce_change()


def _tell(checkup: Checkup, path: Path, what: str) -> None:
    """Tell what is wrong, and remove it."""
    failure = None
    if checkup.options.repair:
        try:
            path.unlink(missing_ok=True)
        except OSError:  # a directory, or in one of another user
            failure = checkup.set_aside(path)
    message = f"{checkup.relative(path)} {what}."
    checkup.tell_outcome(Kind.CACHE, message, failure, wants_repair=checkup.options.repair)


def _list_wrong(checkup: Checkup, files: CacheFiles, grace_seconds: float) -> Iterator[tuple[Path, str]]:
    """What should not be there, and why."""
    entries = list_entries(checkup, files.root)  # first, as a server may add a folder, or remove one, at any moment
    folders = files.list_folders()
    for entry in entries:
        if entry.name not in folders and os.path.lexists(entry):
            yield Path(entry), "does not belong there"
    for folder in folders:
        found = files.read_folder(folder, grace_seconds)
        checkup.counted.cache_files += len(found.variants)
        for leftover in found.leftovers:
            yield leftover, "is damaged or was never completed"
        for entry in list_entries(checkup, files.root / folder):
            if not entry.name.startswith(folder) or not entry.is_file(follow_symlinks=False):
                yield Path(entry), "does not belong there"
        for file in found.variants:
            if not _is_recent(file, checkup.clock.now() - grace_seconds) and not _has_image(checkup.conn, file):
                yield files.path(file.name, file.size_bytes), "is made from a file that no image has"


def _is_recent(file: CachedFile, since: float) -> bool:
    return file.used_at_ns > since * 1_000_000_000


def _has_image(conn: sqlite3.Connection, file: CachedFile) -> bool:
    name = _NAME.fullmatch(file.name)
    return name is not None and media_rows.is_used(conn, bytes.fromhex(name[1]))
