"""A backup becomes the library of a data directory: all of it, or nothing is changed."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.backup.copying import describe
from imgpro_lite.services.backup.disks import disk_errors, require_room
from imgpro_lite.services.backup.verifying import find_problem, has_secret, is_sound
from imgpro_lite.services.fsck.checkup import Kind, Problem, Progress
from imgpro_lite.store import blob_rows
from imgpro_lite.store.backup_dir import Backup, BackupDir
from imgpro_lite.store.blob_copies import BlobCopier, Damaged, Missing
from imgpro_lite.store.blob_rows import BlobRow
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import DATABASE_NAME, SECRET_NAME
from imgpro_lite.store.files import give_to_owner, sha256_of_file, sync_file, sync_file_system
from imgpro_lite.store.restoring_dir import RestoringDir, Source
from imgpro_lite.store.sqlite_file import connect_unwritable

NOTHING_CHANGED = "Nothing was changed."


@dataclass
class Restored:
    """What was done."""

    files: int = 0
    size_bytes: int = 0
    there_files: int = 0
    """Files that an interrupted restore had copied before."""
    images: int = 0
    broken_files: int = 0
    lost_secret: bool = False
    """What signed links is not what was copied, and is left out: the next start makes another."""
    aside: Path | None = None
    """Where what was there before is now."""


@dataclass
class Restoring:
    """What is restored where, and who hears of it."""

    directory: BackupDir
    backup: Backup
    data_dir: Path
    replace: bool
    skip_damaged: bool
    tell: Callable[[Problem], None]
    progress: Progress
    clock: Clock
    restored: Restored = field(default_factory=Restored)

    def __post_init__(self) -> None:
        self.source = BlobStore(self.directory.root, 0)
        self.target_dir = RestoringDir(self.data_dir)
        self.target = BlobStore(self.target_dir.root, 0)


def check_backup(restoring: Restoring) -> None:
    """Look at the backup, all but the contents of its files. Raises OperatorError for one that is damaged, or of a
    newer version."""
    backup, problems = restoring.backup, list[Problem]()
    with disk_errors(restoring.directory.root, NOTHING_CHANGED):
        restoring.progress.begin("Database")
        is_usable = is_sound(backup, restoring.tell, quick=False)
        if is_usable:
            with closing(connect_unwritable(backup.database)) as conn:
                restoring.progress.begin("Lengths", backup.about.files)
                for row in _rows(conn):
                    restoring.progress.advance(1)
                    if row.is_live and (problem := find_problem(restoring.source, conn, row, quick=True)):
                        problems.append(problem)
    for problem in problems:
        restoring.tell(problem)
    restoring.restored.lost_secret = not has_secret(backup)
    is_whole = not problems and not restoring.restored.lost_secret
    if not is_usable or not (is_whole or restoring.skip_damaged):
        raise _damaged(restoring)


def _damaged(restoring: Restoring) -> OperatorError:
    return OperatorError(
        f"The backup {restoring.backup.name} is damaged. {NOTHING_CHANGED} Choose another one with --at, or, where "
        "only its secret or files of images are missing or damaged, restore the rest with --skip-damaged."
    )


def restore_backup(restoring: Restoring) -> Restored:
    """Restore a backup that was checked, into a data directory that this process holds. Raises OperatorError."""
    target_dir = restoring.target_dir
    with disk_errors(restoring.data_dir, NOTHING_CHANGED):
        _require_place(restoring)
        try:
            target_dir.prepare()
            _copy(restoring)
        except KeyboardInterrupt:  # what is there is used by the next
            raise
        except BaseException:
            target_dir.remove()
            raise
        # Somebody may have made a library meanwhile.
        replaced = _require_place(restoring)
    aside = datetime.fromtimestamp(restoring.clock.now(), UTC).strftime("replaced-%Y-%m-%dT%H%M%SZ")
    with disk_errors(restoring.data_dir, "Run it again to finish it."):
        target_dir.begin_moves(replaced, aside, Source(str(restoring.directory.root), restoring.backup.name))
        restoring.restored.aside = target_dir.finish_moves()
    return restoring.restored


def _require_place(restoring: Restoring) -> list[str]:
    """What is in the data directory already. Raises OperatorError unless it may be replaced."""
    replaced = restoring.target_dir.list_replaced()
    if replaced and not restoring.replace:
        raise OperatorError(
            f"{restoring.data_dir} is not empty: {', '.join(replaced[:3])}. {NOTHING_CHANGED} With --replace what is "
            "there is moved to set-aside/ in it and kept; or choose another directory with --data-dir."
        )
    return replaced


def _copy(restoring: Restoring) -> None:
    """Everything that the backup has, durably. Raises OperatorError, OSError."""
    backup, root, restored = restoring.backup, restoring.target_dir.root, restoring.restored
    with closing(connect_unwritable(backup.database)) as conn:
        wanted = _list_wanted(restoring, conn)
        wanted_bytes = sum(row.largest_bytes for row in wanted)
        require_room(root, len(wanted), wanted_bytes + backup.about.database_bytes, NOTHING_CHANGED)
        restoring.progress.begin("Images", len(wanted), wanted_bytes)
        with BlobCopier(restoring.target_dir.tmp, restoring.data_dir) as copier:
            for row in wanted:
                _copy_file(restoring, conn, copier, row)
                restoring.progress.advance(1, row.largest_bytes)
    if restored.broken_files and not restoring.skip_damaged:
        raise _damaged(restoring)
    restored.images = backup.about.images
    restoring.directory.require_there()
    _copy_small(backup.database, root / DATABASE_NAME, restoring.data_dir)
    (root / SECRET_NAME).unlink(missing_ok=True)  # of another backup
    if backup.about.secret_sha256 is not None and not restored.lost_secret:
        _copy_small(backup.secret, root / SECRET_NAME, restoring.data_dir)
    sync_file_system(root)


def _list_wanted(restoring: Restoring, conn: sqlite3.Connection) -> list[BlobRow]:
    """The files that an interrupted restore has not copied, or that are not what they were: it may have been long ago.
    What it has copied of another backup is removed."""
    wanted = []
    restoring.progress.begin("Comparing", restoring.backup.about.files)
    for first_byte in range(256):
        there = restoring.target.list_sizes(first_byte)
        for row in blob_rows.list_blobs(conn, first_byte):
            if _is_there(restoring, row, there.pop(row.sha256, None)):
                restoring.restored.there_files += 1
            else:
                wanted.append(row)
        for sha256 in there:
            restoring.target.path(sha256).unlink()
    return wanted


def _is_there(restoring: Restoring, row: BlobRow, size_bytes: int | None) -> bool:
    restoring.progress.advance(1)
    if size_bytes != row.largest_bytes:
        return False
    try:
        return sha256_of_file(restoring.target.path(row.sha256))[0] == row.sha256
    except OSError:  # what the disk does not give is copied again
        return False


def _copy_file(restoring: Restoring, conn: sqlite3.Connection, copier: BlobCopier, row: BlobRow) -> None:
    """One file. What a deleted image had may be missing; it was before."""
    source, target = restoring.source.path(row.sha256), restoring.target.path(row.sha256)
    try:
        size_bytes = copier.copy(source, target, row.sha256)
    except (Missing, Damaged) as error:
        restoring.directory.require_there()
        if row.is_live:
            restoring.restored.broken_files += 1
            kind = Kind.MISSING_FILE if isinstance(error, Missing) else Kind.DAMAGED_FILE
            what = "is missing" if isinstance(error, Missing) else f"is damaged: {error}"
            name = source.relative_to(restoring.directory.root)
            restoring.tell(describe(conn, kind, row.sha256, f"{name} {what}."))
        return
    restoring.restored.files += 1
    restoring.restored.size_bytes += size_bytes


def _copy_small(source: Path, target: Path, owner: Path) -> None:
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    with source.open("rb") as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        sync_file(copy.fileno())
    give_to_owner(target, owner)


def _rows(conn: sqlite3.Connection) -> Iterator[BlobRow]:
    for first_byte in range(256):
        yield from blob_rows.list_blobs(conn, first_byte)
