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
from imgpro_lite.services.fsck.access import check_owner
from imgpro_lite.services.fsck.checkup import BrokenImage, Checkup, Kind, Problem
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
    """Every image has its file, whole and unaltered, and every file has an image."""
    files, size_bytes = blob_rows.count_blobs(checkup.conn)
    checkup.progress.begin("Files", files, None if checkup.options.quick else size_bytes)
    blobs = BlobStore(checkup.data_dir, min_free_bytes=0)
    folders = _list_entries(blobs.root)
    if files and not folders and checkup.options.remove_broken:
        raise OperatorError(f"There is not one file in {blobs.root}. Is its disk mounted? No image was removed.")
    for entry in folders:
        if not (_FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)):
            _tell_stray(checkup, Path(entry))
    for first_byte in range(256):
        expected = {row.sha256: row for row in blob_rows.list_blobs(checkup.conn, first_byte)}
        unexpected = list(_compare(checkup, blobs.root / f"{first_byte:02x}", expected))
        for start in range(0, len(unexpected), STEP_FILES):
            _judge_unexpected(checkup, blobs, unexpected[start : start + STEP_FILES])
        for sha256, row in expected.items():  # what is left has no file
            if row.is_live:
                _judge_missing(checkup, blobs, sha256)


def _compare(checkup: Checkup, folder: Path, expected: dict[bytes, BlobRow]) -> Iterator[bytes]:
    """Look at the files of a 256th, and take them out of what is expected: those that are not expected."""
    for entry in _list_files(checkup, folder):
        sha256 = bytes.fromhex(entry.name)
        row = expected.pop(sha256, None)
        checkup.counted.files += 1
        if row is None:
            yield sha256
        else:
            _look_at(checkup, Path(entry), row)


def _list_files(checkup: Checkup, folder: Path) -> "Iterator[os.DirEntry[str]]":
    """The files in the right place; what else is there is told."""
    for inner in _list_entries(folder):
        if not (_FOLDER.fullmatch(inner.name) and inner.is_dir(follow_symlinks=False)):
            _tell_stray(checkup, Path(inner))
            continue
        check_owner(checkup, Path(inner), inner.stat(follow_symlinks=False))
        for entry in _list_entries(Path(inner)):
            is_named_right = _BLOB.fullmatch(entry.name) and entry.name.startswith(folder.name + inner.name)
            if is_named_right and entry.is_file(follow_symlinks=False):
                yield entry
            else:
                _tell_stray(checkup, Path(entry))


def _look_at(checkup: Checkup, path: Path, row: BlobRow) -> None:
    """Compare a file with its rows. One that is gone by now was purged, with them."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    check_owner(checkup, path, status)
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
        except PermissionError:
            raise  # the file may be sound, but not for the user who runs this
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
            if not blob_rows.is_expected(tx.conn, sha256) and (path := blobs.path(sha256)).exists()
        ]
        # Not where there are no images at all: then it is the database that is the wrong one.
        repaired = checkup.options.repair and checkup.counted.images > 0
        for path in found if repaired else ():
            checkup.set_aside(path)
    for path in found:  # after the transaction: whoever reads what we tell may be slow
        message = f"{checkup.relative(path)} belongs to no image."
        checkup.tell(Problem(Kind.FILE_WITHOUT_IMAGE, message, repaired))


def _judge_missing(checkup: Checkup, blobs: BlobStore, sha256: bytes) -> None:
    path = blobs.path(sha256)
    with checkup.write() as tx:
        count, images = _list_images(tx, sha256)
        if not count or path.exists():
            return
    repaired = checkup.options.remove_broken and _remove_images(checkup, path, sha256)
    message = f"{checkup.relative(path)} is missing."
    checkup.tell(Problem(Kind.MISSING_FILE, message, repaired, images, count))


def _tell_damaged(checkup: Checkup, path: Path, sha256: bytes, damage: _Damage) -> None:
    with checkup.write() as tx:
        count, images = _list_images(tx, sha256)
        if not count or not _is_same(path, damage):
            return
        if checkup.options.remove_broken:
            checkup.set_aside(path)
    repaired = checkup.options.remove_broken and _remove_images(checkup, path, sha256)
    message = f"{checkup.relative(path)} is damaged: {damage.reason}."
    checkup.tell(Problem(Kind.DAMAGED_FILE, message, repaired, images, count))


def _is_same(path: Path, damage: _Damage) -> bool:
    """Whether nothing has replaced the file since it was read: an upload of the same bytes does."""
    try:
        status = path.lstat()
    except FileNotFoundError:
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
    while not path.exists():
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
    repaired = checkup.options.repair and bool(checkup.set_aside(path))
    message = f"{checkup.relative(path)} is {what} that does not belong there."
    checkup.tell(Problem(Kind.STRAY, message, repaired))


def _list_entries(folder: Path) -> "list[os.DirEntry[str]]":
    """What is in a folder; nothing where there is none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
