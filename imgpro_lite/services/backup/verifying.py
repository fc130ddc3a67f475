"""Whether backups are as they were made: their databases, their secrets, and every file that they need."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.backup.copying import describe
from imgpro_lite.services.backup.disks import disk_errors
from imgpro_lite.services.fsck.checkup import Kind, Problem, Progress
from imgpro_lite.store import blob_rows
from imgpro_lite.store.backup_dir import Backup, BackupDir
from imgpro_lite.store.blob_rows import BlobRow
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.files import sha256_of_file
from imgpro_lite.store.integrity import list_damage
from imgpro_lite.store.sqlite_file import connect_unwritable

Tell = Callable[[Problem], None]


@dataclass
class Verified:
    """What was looked at."""

    backups: int = 0
    files: int = 0
    read_bytes: int = 0


@dataclass
class Verification:
    """Which backups are looked at, and who hears of it."""

    directory: BackupDir
    quick: bool
    tell: Tell
    progress: Progress
    verified: Verified = field(default_factory=Verified)

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.directory.root, 0)


def verify(verification: Verification, backups: Sequence[Backup]) -> Verified:
    """Look at these backups, oldest first; each file is read once. A damaged file is moved away, so that the next
    backup copies it anew. Raises OperatorError."""
    with disk_errors(verification.directory.root, ""), ExitStack() as stack:
        for name in verification.directory.list_unreadable():
            verification.tell(Problem(Kind.DATABASE, f"The backup {name} is damaged: about.json cannot be read."))
        databases = []
        for backup in backups:
            verification.verified.backups += 1
            verification.progress.begin(f"Database of {backup.name}")
            if is_sound(backup, verification.tell, quick=verification.quick):
                databases.append(stack.enter_context(closing(connect_unwritable(backup.database))))
        _verify_files(verification, databases)
    return verification.verified


def is_sound(backup: Backup, tell: Tell, *, quick: bool) -> bool:
    """Whether the database of a backup can be used; what is wrong with it, or with the secret, is told. Raises
    OperatorError for one of a newer version, and OSError."""
    problems = []
    if backup.database.exists():
        problems += _list_database_problems(backup, quick=quick)
    else:
        problems.append("the database is missing")
    usable = not problems
    if not has_secret(backup):
        problems.append("the secret is not what was copied; links of then would not verify")
    for problem in problems:
        tell(Problem(Kind.DATABASE, f"The backup {backup.name} is damaged: {problem}."))
    return usable


def has_secret(backup: Backup) -> bool:
    """Whether the secret of a backup is as it was copied, if there was one. Raises OSError."""
    return backup.about.secret_sha256 in (None, _sha256(backup.secret))


def _list_database_problems(backup: Backup, *, quick: bool) -> list[str]:
    if backup.database.stat().st_size != backup.about.database_bytes:
        return ["the database has another length than it was copied with"]
    if not quick and _sha256(backup.database) != backup.about.database_sha256:
        return ["the database has other bytes than it was copied with"]
    try:
        with closing(connect_unwritable(backup.database)) as conn:
            return [found.message for found in list_damage(conn, quick=quick)[:1]]
    except sqlite3.DatabaseError as error:
        return [f"the database cannot be read ({error})"]


def _sha256(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return sha256_of_file(path)[0].hex()
    return None


def _verify_files(verification: Verification, databases: list[sqlite3.Connection]) -> None:
    """Every file that one of them needs; the images that a broken one is told with are those of the newest."""
    totals = [
        (len(needed), sum(row.largest_bytes for _, row in needed.values()))
        for needed in _slices(verification, databases)
    ]
    files, size_bytes = sum(count for count, _ in totals), sum(size for _, size in totals)
    verification.progress.begin("Files", files, None if verification.quick else size_bytes)
    for needed in _slices(verification, databases):
        for conn, row in needed.values():
            problem = find_problem(verification.blobs, conn, row, quick=verification.quick)
            verification.verified.files += 1
            verification.verified.read_bytes += 0 if verification.quick else row.largest_bytes
            verification.progress.advance(1, row.largest_bytes)
            if problem:
                verification.directory.require_there()
                verification.tell(_with_outcome(verification, row, problem))


def _slices(
    verification: Verification, databases: list[sqlite3.Connection]
) -> Iterator[dict[bytes, tuple[sqlite3.Connection, BlobRow]]]:
    """What has to be there, a 256th at a time: files of live images. Deleted ones are a bonus."""
    for first_byte in range(256):
        needed: dict[bytes, tuple[sqlite3.Connection, BlobRow]] = {}
        for conn in databases:
            needed |= {row.sha256: (conn, row) for row in blob_rows.list_blobs(conn, first_byte) if row.is_live}
        yield needed


def find_problem(blobs: BlobStore, conn: sqlite3.Connection, row: BlobRow, *, quick: bool) -> Problem | None:
    """What is wrong with a file of a backup. The quick way reads it only where its length is not that of its row,
    which may be wrong itself. Raises OSError."""
    path = blobs.path(row.sha256)
    name = path.relative_to(blobs.root.parent)
    try:
        size_bytes = path.stat().st_size
        if quick and size_bytes == row.largest_bytes:
            return None
        # Twice before it is called damaged, in case the disk read it wrong.
        if any(sha256_of_file(path)[0] == row.sha256 for _ in range(2)):
            return None
    except FileNotFoundError:
        return describe(conn, Kind.MISSING_FILE, row.sha256, f"{name} is missing.")
    except PermissionError as error:
        raise OperatorError(f"{path} cannot be read. Run this as the owner of the backups or as root.") from error
    except OSError as error:
        return describe(conn, Kind.DAMAGED_FILE, row.sha256, f"{name} cannot be read: {error.strerror}.")
    reason = "its bytes are not those that were copied"
    if size_bytes != row.largest_bytes:
        reason = f"it has {size_bytes} bytes instead of {row.largest_bytes}"
    return describe(conn, Kind.DAMAGED_FILE, row.sha256, f"{name} is damaged: {reason}.")


def _with_outcome(verification: Verification, row: BlobRow, problem: Problem) -> Problem:
    """The problem, after a damaged file was moved away."""
    if problem.kind is not Kind.DAMAGED_FILE:
        return problem
    moved = verification.directory.set_damaged_aside(verification.blobs.path(row.sha256))
    what = "It was moved to damaged/, and the next backup copies it anew." if moved else "It cannot be moved away."
    return Problem(problem.kind, f"{problem.message} {what}", images=problem.images, image_count=problem.image_count)
