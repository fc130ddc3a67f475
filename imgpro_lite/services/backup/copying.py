"""The files of a backup: which of them have to be copied, and the copying, while images come and go."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.fsck.checkup import BrokenImage, Kind, Problem, Progress
from imgpro_lite.store import blob_rows, media_rows
from imgpro_lite.store.backup_dir import BackupDir
from imgpro_lite.store.blob_copies import BlobCopier, Damaged, Missing
from imgpro_lite.store.blobs import BlobStore

# Told with each broken file; a file may have a million.
SHOWN_IMAGES = 20
# A file that seems to be missing may have been purged and uploaded again meanwhile. Not three times in a row.
LOOKS = 3


@dataclass
class Made:
    """What a backup has done. Files of earlier backups that it needs too are `there`."""

    name: str = ""
    images: int = 0
    files: int = 0
    size_bytes: int = 0
    copied_files: int = 0
    copied_bytes: int = 0
    database_bytes: int = 0
    there_files: int = 0
    there_bytes: int = 0
    kept_backups: int = 0
    removed_backups: int = 0
    removed_files: int = 0
    missing_files: int = 0
    """Files of live images that the library has not, or not whole."""


@dataclass
class Plan:
    """What is to be done with the files."""

    wanted: list[tuple[bytes, bool]] = field(default_factory=list)
    """The hashes of those that are not there yet, and whether they have a live image."""
    wanted_bytes: int = 0
    unneeded: list[bytes] = field(default_factory=list)
    """Those that are there, and that this backup does not need."""


def compare(copy: sqlite3.Connection, target: BlobStore, made: Made, progress: Progress) -> Plan:
    """Which files the database of a backup needs, and which are there with the right length. Raises OSError.

    A row may have a wrong length (fsck tells it). Its file is then copied each time, which is right if slow.
    """
    plan = Plan()
    files, _ = blob_rows.count_blobs(copy)
    progress.begin("Comparing", files)
    for first_byte in range(256):
        there = target.list_sizes(first_byte)
        rows = blob_rows.list_blobs(copy, first_byte)
        for row in rows:
            if there.pop(row.sha256, None) == row.largest_bytes:
                made.there_files += 1
                made.there_bytes += row.largest_bytes
            else:
                plan.wanted.append((row.sha256, row.is_live))
                plan.wanted_bytes += row.largest_bytes
        plan.unneeded += there
        progress.advance(len(rows))
    return plan


@dataclass
class Copying:
    """Files on their way from the library to the backup."""

    conn: sqlite3.Connection
    """The library."""
    copy: sqlite3.Connection
    """The database of the backup."""
    source: BlobStore
    target: BlobStore
    directory: BackupDir
    made: Made
    tell: Callable[[Problem], None]

    def copy_all(self, plan: Plan, progress: Progress, now: int) -> None:
        """Copy what is wanted. What was purged meanwhile is deleted in the backup, what is broken is told.

        Raises OperatorError, and OSError of the target.
        """
        with BlobCopier(self.directory.tmp, self.directory.root) as copier:
            for sha256, is_live in plan.wanted:
                copied_bytes = self._copy(copier, sha256, is_live, now)
                self.made.copied_files += copied_bytes is not None
                self.made.copied_bytes += copied_bytes or 0
                progress.advance(1, copied_bytes or 0)

    def _copy(self, copier: BlobCopier, sha256: bytes, is_live: bool, now: int) -> int | None:
        for _ in range(LOOKS):
            try:
                return copier.copy(self.source.path(sha256), self.target.path(sha256), sha256)
            except Missing:
                if not media_rows.is_used(self.conn, sha256):
                    media_rows.mark_deleted(self.copy, media_rows.list_live_seqs_of_blob(self.copy, sha256), now)
                    return None
            except Damaged as error:
                self._tell(Kind.DAMAGED_FILE, sha256, f"is damaged: {error}", is_live)
                return None
        if not self.source.root.is_dir():
            raise OperatorError(f"{self.source.root} has gone. Is its disk still plugged in and mounted?")
        self._tell(Kind.MISSING_FILE, sha256, "is missing", is_live)
        return None

    def _tell(self, kind: Kind, sha256: bytes, what: str, is_live: bool) -> None:
        """A file that no live image has is nobody's loss."""
        if not is_live:
            return
        self.made.missing_files += 1
        name = self.source.path(sha256).relative_to(self.source.root.parent)
        self.tell(describe(self.copy, kind, sha256, f"{name} {what}. It is not in the backup."))


def describe(conn: sqlite3.Connection, kind: Kind, sha256: bytes, message: str) -> Problem:
    """A problem of a file, with the images that have it."""
    count, rows = blob_rows.list_live_images(conn, sha256, SHOWN_IMAGES)
    return Problem(kind, message, images=tuple(BrokenImage(*row) for row in rows), image_count=count)
