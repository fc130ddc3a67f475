"""A backup is made: the database as it is now, then the files that it needs and that are not there yet.

The server goes on meanwhile. A file whose image is deleted and purged between the two is marked as deleted in the
backup; what a running upload adds is in the next one.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from imgpro_lite import __version__
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.backup.copying import Copying, Made, compare
from imgpro_lite.services.backup.disks import disk_errors, require_room, require_same_disk
from imgpro_lite.services.fsck.checkup import Kind, Problem, Progress
from imgpro_lite.store import blob_rows, media_rows
from imgpro_lite.store.backup_dir import About, Backup, BackupDir
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import DATABASE_NAME, SECRET_NAME, operator_errors
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import sha256_of_file, sync_file, sync_file_system
from imgpro_lite.store.integrity import list_damage
from imgpro_lite.store.sqlite_copy import count_images
from imgpro_lite.store.sqlite_file import connect_unwritable, is_damaged, schema_version
from imgpro_lite.store.sqlite_snapshot import copy_beside_writers, open_copy

EARLIER_STAY = "The earlier backups are as they were, and running it again goes on where it was."


@dataclass
class Making:
    """What a backup is made of, and who hears of it."""

    conn: sqlite3.Connection
    """The library, which others write to meanwhile."""
    data_dir: Path
    directory: BackupDir
    keep: int
    tell: Callable[[Problem], None]
    progress: Progress
    clock: Clock
    made: Made = field(default_factory=Made)

    def __post_init__(self) -> None:
        self.source = BlobStore(self.data_dir, 0)
        self.target = BlobStore(self.directory.root, 0)
        self.device = self.directory.root.stat().st_dev


def make_backup(making: Making) -> Made:
    """Make a backup, and remove those before the last `keep`. What is wrong with the library is told.

    Raises OperatorError, and then no earlier backup was touched.
    """
    directory = making.directory
    with disk_errors(directory.root, EARLIER_STAY):
        directory.prepare()
        try:
            unneeded = _write_draft(making)
            backup = directory.publish(_about(making))
        except BaseException:
            shutil.rmtree(directory.draft, ignore_errors=True)
            raise
    making.made.name = backup.name
    with disk_errors(directory.root, f"The backup {backup.name} is complete; older ones could not be removed."):
        reached("backup.published")
        _remove_old(making, unneeded)
        shutil.rmtree(directory.tmp, ignore_errors=True)
    return making.made


def _write_draft(making: Making) -> list[bytes]:
    """All of the backup but `about.json`: the files that are there and that it does not need."""
    directory = making.directory
    path = directory.draft / DATABASE_NAME
    _copy_database(making, path)
    _copy_secret(making)
    reached("backup.database")
    with closing(open_copy(path)) as copy:
        plan = compare(copy, making.target, making.made, making.progress)
        require_room(directory.root, len(plan.wanted), plan.wanted_bytes, EARLIER_STAY)
        if plan.wanted and not making.source.has_any():
            raise OperatorError(f"The database has images, but {making.source.root} has no files. Is its disk mounted?")
        making.progress.begin("Images", len(plan.wanted), plan.wanted_bytes)
        Copying(making.conn, copy, making.source, making.target, directory, making.made, making.tell).copy_all(
            plan, making.progress, making.clock.now()
        )
    require_same_disk(directory.root, making.device)
    sync_file_system(directory.root)
    reached("backup.files")
    return plan.unneeded


def _copy_database(making: Making, path: Path) -> None:
    """The database as it is now, checked: a damaged one must not take the place of older backups."""
    (size_bytes,) = making.conn.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()
    require_room(making.directory.root, 0, size_bytes, EARLIER_STAY)
    making.progress.begin("Database", 1, size_bytes)
    try:
        copy_beside_writers(making.conn, path, lambda copied_bytes: making.progress.advance(0, copied_bytes))
        with closing(open_copy(path)) as copy:
            damage = [found.message for found in list_damage(copy, quick=True)]
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        damage = [str(error)]
    if damage:
        raise OperatorError(
            f"The database of the library is damaged, and was not backed up: {damage[0]}. `imgpro-lite fsck` says what "
            f"to do. {EARLIER_STAY}"
        )


def _copy_secret(making: Making) -> None:
    """What signs links; there is none before the first start of a server."""
    source, target = making.data_dir / SECRET_NAME, making.directory.draft / SECRET_NAME
    with operator_errors(making.data_dir):
        if not source.exists():
            return
        content = source.read_bytes()
    target.touch(mode=0o600)
    target.write_bytes(content)


def _about(making: Making) -> About:
    """What is told of the backup, and how damage to it is noticed."""
    draft, made = making.directory.draft, making.made
    path, secret = draft / DATABASE_NAME, draft / SECRET_NAME
    with path.open("rb+") as file:
        sync_file(file.fileno())  # then what is read for its hash is what the disk has
    digest, status = sha256_of_file(path)
    with closing(connect_unwritable(path)) as copy:
        made.images = count_images(copy)
        made.files, made.size_bytes = blob_rows.count_blobs(copy)
        schema = schema_version(copy)
    made.database_bytes = status.st_size
    return About(
        number=max((backup.about.number for backup in making.directory.list_backups()), default=0) + 1,
        made_at=making.clock.now(),
        version=__version__,
        schema=schema,
        images=made.images,
        files=made.files,
        size_bytes=made.size_bytes,
        database_bytes=status.st_size,
        database_sha256=digest.hex(),
        secret_sha256=sha256_of_file(secret)[0].hex() if secret.exists() else None,
        missing_files=made.missing_files,
    )


def _remove_old(making: Making, unneeded: list[bytes]) -> None:
    """Remove the backups before the last ones, and then the files that none of those that are left needs. Nothing where
    one of them cannot be read: nobody knows what it needs."""
    directory, made = making.directory, making.made
    for sha256 in directory.list_damaged():
        directory.forget_damaged(making.target.path(sha256))
    backups = directory.list_backups()
    old, kept = backups[: -making.keep], backups[-making.keep :]
    doomed = _list_doomed(making, kept, unneeded)
    if doomed is None:
        made.kept_backups = len(backups)
        return
    for backup in old:
        directory.remove(backup)
    made.kept_backups, made.removed_backups = len(kept), len(old)
    reached("backup.pruned")
    for sha256 in doomed:
        path = making.target.path(sha256)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it has others
            path.parent.rmdir()
    made.removed_files = len(doomed)


def _list_doomed(making: Making, kept: list[Backup], unneeded: list[bytes]) -> list[bytes] | None:
    """The files that none of these backups needs; None, which is told, where that cannot be known."""
    stays = "Nothing of earlier backups was removed, because nobody knows what this one needs: remove its folder first."
    unreadable = making.directory.list_unreadable()
    for name in unreadable:
        message = f"The backup {name} is damaged: its about.json cannot be read. {stays}"
        making.tell(Problem(Kind.DATABASE, message))
    databases = []
    with contextlib.ExitStack() as stack:
        for backup in kept:
            try:
                databases.append(stack.enter_context(closing(connect_unwritable(backup.database))))
                media_rows.is_used(databases[-1], b"")
            except (OperatorError, sqlite3.Error) as error:
                making.tell(Problem(Kind.DATABASE, f"The backup {backup.name} cannot be read: {error}. {stays}"))
                return None
        if unreadable:
            return None
        return [sha256 for sha256 in unneeded if not any(media_rows.is_used(conn, sha256) for conn in databases)]
