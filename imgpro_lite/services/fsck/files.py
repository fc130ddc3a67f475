"""The stored files against the rows of the images, a 256th of the library at a time.

Rows are read before files: an image that is added meanwhile is not looked at, and a file that seems to be missing or to
have no image is judged inside a write transaction, in which uploads and sweeps stand still.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.fsck.checkup import BrokenImage, Checkup, Kind, Problem
from imgpro_lite.services.fsck.looking import check_owner, find_status, is_missing, list_entries, tell_unreadable
from imgpro_lite.store import blob_rows, media_rows
from imgpro_lite.store.blob_rows import BlobRow
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.files import sha256_of_file
from imgpro_lite.store.sqlite_file import Tx

# Files that are judged in one transaction (two look-ups each), and images that are marked as deleted in one.
STEP_FILES = 50
STEP_IMAGES = 200
# Told with each broken file; a file may have a million.
SHOWN_IMAGES = 20

_FOLDER = re.compile("[0-9a-f]{2}")
_BLOB = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class _Damage:
    """A file that has not the bytes that its name says. `identity` tells it from one that has replaced it since."""

    reason: str
    identity: tuple[int, int]


def check_files(checkup: Checkup) -> None:
    """Every image has its file, whole and unaltered, and every file has an image. Raises OperatorError."""
    blobs = BlobStore(checkup.data_dir, min_free_bytes=0)
    if checkup.options.remove_broken and not checkup.options.force:
        _refuse_where_most_are_missing(checkup, blobs)
    files, size_bytes = blob_rows.count_blobs(checkup.conn)
    checkup.progress.begin("Files", files, None if checkup.options.quick else size_bytes)
    unusable = {entry.name for entry in list_entries(checkup, blobs.root) if not _is_folder(checkup, entry)}
    for first_byte in range(256):
        name = f"{first_byte:02x}"
        expected = {row.sha256: row for row in blob_rows.list_blobs(checkup.conn, first_byte)}
        unexpected = [] if name in unusable else list(_compare(checkup, blobs.root / name, expected))
        for start in range(0, len(unexpected), STEP_FILES):
            _judge_unexpected(checkup, blobs, unexpected[start : start + STEP_FILES])
        for sha256, row in expected.items():  # what is left has no file
            if row.is_live:
                _judge_missing(checkup, blobs, sha256)


def _refuse_where_most_are_missing(checkup: Checkup, blobs: BlobStore) -> None:
    """Before anything is removed: then it is more likely that their disk is not mounted. Raises OperatorError."""
    checkup.progress.begin("Missing files")
    live = missing = 0
    for first_byte in range(256):
        for row in blob_rows.list_blobs(checkup.conn, first_byte):
            live += row.is_live
            missing += row.is_live and is_missing(blobs.path(row.sha256))
    if missing > live / 2:
        raise OperatorError(
            f"{missing:,} of {live:,} files are missing in {blobs.root}. Is its disk mounted? No image was removed for "
            "that. Without --remove-broken you see which they are; if they are really lost, add --force."
        )


def _compare(checkup: Checkup, folder: Path, expected: dict[bytes, BlobRow]) -> Iterator[bytes]:
    """Look at the files of a 256th, and take them out of what is expected: those that are not expected."""
    for entry in _list_files(checkup, folder):
        sha256 = bytes.fromhex(entry.name)
        row = expected.pop(sha256, None)
        checkup.counted.files += 1
        if row is None:
            yield sha256
        else:
            _look_at(checkup, entry, row)


def _list_files(checkup: Checkup, folder: Path) -> "Iterator[os.DirEntry[str]]":
    """The files in the right place; what else is there is told."""
    for inner in list_entries(checkup, folder):
        if not _is_folder(checkup, inner):
            continue
        for entry in list_entries(checkup, Path(inner)):
            is_named_right = _BLOB.fullmatch(entry.name) and entry.name.startswith(folder.name + inner.name)
            if is_named_right and entry.is_symlink():
                _tell_link(checkup, Path(entry))
                if not is_missing(Path(entry)):
                    yield entry
            elif is_named_right and entry.is_file():
                yield entry
            else:
                _tell_stray(checkup, Path(entry))


def _is_folder(checkup: Checkup, entry: "os.DirEntry[str]") -> bool:
    """Whether this is a folder of files that can be read; if not, that is told. A link to one is used as one."""
    path = Path(entry)
    if _FOLDER.fullmatch(entry.name) and entry.is_symlink():
        _tell_link(checkup, path)
        return not is_missing(path)
    if not (_FOLDER.fullmatch(entry.name) and entry.is_dir()):
        _tell_stray(checkup, path)
        return False
    status = find_status(checkup, path)
    return status is not None and check_owner(checkup, path, status)


def _look_at(checkup: Checkup, entry: "os.DirEntry[str]", row: BlobRow) -> None:
    """Compare a file with its rows. One that is gone by now was purged, with them."""
    path = Path(entry)
    status = find_status(checkup, path)
    if status is None or not (entry.is_symlink() or check_owner(checkup, path, status)):
        return
    size_bytes = status.st_size
    has_length = row.smallest_bytes == row.largest_bytes == size_bytes
    if has_length and checkup.options.quick:
        checkup.progress.advance(1)
        return
    damage = _find_damage(checkup, path, row, status)
    checkup.progress.advance(1, size_bytes)
    if damage is not None:
        if row.is_live:
            _tell_damaged(checkup, path, row.sha256, damage)
    elif not has_length:
        _tell_length(checkup, path, row.sha256, size_bytes)


def _find_damage(checkup: Checkup, path: Path, row: BlobRow, known: os.stat_result) -> _Damage | None:
    """What is wrong with the bytes of a file. It is read twice before that is said, in case the disk read it wrong."""
    for _ in range(2):
        try:
            digest, status = sha256_of_file(path)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            tell_unreadable(checkup, path, error)
            return None
        except OSError as error:
            return _Damage(f"it cannot be read ({error.strerror})", (known.st_ino, known.st_mtime_ns))
        checkup.counted.checksum_bytes += status.st_size
        if digest == row.sha256:
            return None
    reason = "its bytes are not those that were uploaded"
    if status.st_size != row.largest_bytes:
        reason = f"it has {status.st_size} bytes instead of {row.largest_bytes}"
    return _Damage(reason, (status.st_ino, status.st_mtime_ns))


def _judge_unexpected(checkup: Checkup, blobs: BlobStore, candidates: Sequence[bytes]) -> None:
    """Tell, and set aside, the files that really have no image."""
    with checkup.write() as tx:
        found = [
            path
            for sha256 in candidates
            if not blob_rows.is_expected(tx.conn, sha256) and not is_missing(path := blobs.path(sha256))
        ]
        # Not where there are no images at all: then it is the database that is the wrong one.
        wants_repair = checkup.options.repair and checkup.counted.images > 0
        failures = [checkup.set_aside(path) if wants_repair else None for path in found]
    for path, failure in zip(found, failures, strict=True):  # after the transaction: whoever reads may be slow
        message = f"{checkup.relative(path)} belongs to no image."
        checkup.tell_outcome(Kind.FILE_WITHOUT_IMAGE, message, failure, wants_repair=wants_repair)


def _judge_missing(checkup: Checkup, blobs: BlobStore, sha256: bytes) -> None:
    path = blobs.path(sha256)
    if not is_missing(path):
        return
    with checkup.write() as tx:
        count, images = _list_images(tx, sha256)
        if not count or not is_missing(path):
            return
    # What a link leads to may only not be mounted.
    is_lost = not any(part.is_symlink() and is_missing(part) for part in (path, *path.parents[:2]))
    repaired = checkup.options.remove_broken and is_lost and _remove_images(checkup, path, sha256)
    message = f"{checkup.relative(path)} is missing."
    checkup.tell(Problem(Kind.MISSING_FILE, message, repaired, images, count))


def _tell_damaged(checkup: Checkup, path: Path, sha256: bytes, damage: _Damage) -> None:
    with checkup.write() as tx:
        count, images = _list_images(tx, sha256)
        if not count or not _is_same(path, damage):
            return
        failure = checkup.set_aside(path) if checkup.options.remove_broken else None
    repaired = checkup.options.remove_broken and failure is None and _remove_images(checkup, path, sha256)
    message = f"{checkup.relative(path)} is damaged: {damage.reason}.{f' {failure}' if failure else ''}"
    checkup.tell(Problem(Kind.DAMAGED_FILE, message, repaired, images, count))


def _is_same(path: Path, damage: _Damage) -> bool:
    """Whether nothing has replaced the file since it was read: an upload of the same bytes does."""
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_ino, status.st_mtime_ns) == damage.identity


def _tell_length(checkup: Checkup, path: Path, sha256: bytes, size_bytes: int) -> None:
    """The bytes are right, so it is the rows that are wrong."""
    if checkup.options.repair:
        with checkup.write() as tx:
            blob_rows.update_length(tx.conn, sha256, size_bytes)
    message = f"The rows of {checkup.relative(path)} have another length than its {size_bytes} bytes."
    checkup.tell(Problem(Kind.WRONG_LENGTH, message, repaired=checkup.options.repair))


def _remove_images(checkup: Checkup, path: Path, sha256: bytes) -> bool:
    """Mark the images of a missing file as deleted. An upload that brings the file back ends that."""
    while is_missing(path):
        with checkup.write() as tx:
            seqs = media_rows.list_live_seqs_of_blob(tx.conn, sha256)
            if not seqs:
                return True
            media_rows.mark_deleted(tx.conn, seqs[:STEP_IMAGES], tx.now)
    return True


def _list_images(tx: Tx, sha256: bytes) -> tuple[int, tuple[BrokenImage, ...]]:
    count, rows = blob_rows.list_live_images(tx.conn, sha256, SHOWN_IMAGES)
    return count, tuple(BrokenImage(*row) for row in rows)


def _tell_stray(checkup: Checkup, path: Path) -> None:
    if not os.path.lexists(path):
        return
    what = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}.get(
        stat.S_IFMT(path.lstat().st_mode), "a file"
    )
    checkup.tell_misplaced(Kind.STRAY, path, f"{checkup.relative(path)} is {what} that does not belong there.")


def _tell_link(checkup: Checkup, path: Path) -> None:
    """A link with the name of a file or folder of ours stays: images may be seen through it, now or later."""
    message = f"{checkup.relative(path)} is a symbolic link that leads nowhere. Is its disk mounted?"
    if not is_missing(path):
        message = (
            f"{checkup.relative(path)} is a symbolic link, which stays as it is. Uploads fail where a folder is on "
            "another disk; move the whole data directory to that disk instead."
        )
    checkup.tell(Problem(Kind.ACCESS, message))
