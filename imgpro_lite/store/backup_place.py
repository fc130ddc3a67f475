"""A directory that somebody has named for backups: whether it is one, may become one, and is not in use."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.backup_dir import MARK_NAME, BackupDir, sync_names, write_json
from imgpro_lite.store.files import LOCKED_ERRNOS, give_to_owner, is_writable, lock_file

FORMAT = 1
_WHAT = "backups of imgpro-lite"
# What systems put at the top of a disk, so that a new one counts as empty.
_OF_SYSTEMS = re.compile(r"lost\+found|System Volume Information|\$RECYCLE\.BIN|\.Trash.*|\.Spotlight.*|\.fseventsd")


def open_backup_dir(root: Path) -> BackupDir:
    """The backups that are there. Raises OperatorError."""
    if not root.is_dir():
        raise OperatorError(f"There is no directory {root}. Is its disk mounted?")
    found = _read_mark(root)
    if found is None:
        raise OperatorError(f"There are no backups of imgpro-lite in {root}. Is its disk mounted?")
    return BackupDir(root, str(found["library_id"]))


def make_backup_dir(root: Path, library_id: str, made_by: str, owner: Path) -> BackupDir:
    """The backups of this library, or a new directory for them, which belongs to whom `owner` belongs: root may make
    the first, and the server's user all others. Raises OperatorError, OSError; then nothing is made."""
    if not root.parent.is_dir():
        raise OperatorError(f"There is no directory {root.parent}, in which to make {root.name}. Is its disk mounted?")
    if root.exists() and not root.is_dir():
        raise OperatorError(f"{root} is not a directory.")
    found = _read_mark(root) if root.exists() else None
    if found is not None:
        if found["library_id"] != library_id:
            raise OperatorError(
                f"{root} has the backups of another library. Nothing was changed; choose another directory for these."
            )
        return BackupDir(root, library_id)
    for parent in root.parents:
        if (parent / MARK_NAME).is_file() and (parent / "backups").is_dir():
            raise OperatorError(f"{root} is inside of {parent}, which has backups already. Choose one of the two.")
    if root.exists() and (names := _list_foreign(root)):
        raise OperatorError(
            f"{root} is not empty, and has no backups of imgpro-lite: {', '.join(names[:3])}. Nothing was changed; "
            "choose an empty directory, or a new one."
        )
    if not root.exists():
        root.mkdir(mode=0o700)
        give_to_owner(root, owner)
    mark = {"what": _WHAT, "format": FORMAT, "library_id": library_id, "made_by": made_by}
    write_json(root / f"{MARK_NAME}.new", mark)
    (root / f"{MARK_NAME}.new").replace(root / MARK_NAME)
    give_to_owner(root / MARK_NAME, root)
    sync_names(root)
    return BackupDir(root, library_id)


def refuse_overlap(root: Path, data_dir: Path) -> None:
    """Raise OperatorError where one of the two directories is in the other, also by way of links and mounts."""
    backups = root.resolve()
    for ours in (data_dir.resolve(), (data_dir / "blobs").resolve()):
        if _is_in(backups, ours) or _is_in(ours, backups):
            raise OperatorError(
                f"{root} and the data directory {data_dir} are in each other, so that a backup would be lost with the "
                "library. Choose a directory elsewhere, best on another disk."
            )


def _is_in(inner: Path, outer: Path) -> bool:
    return outer.exists() and any(path.exists() and path.samefile(outer) for path in (inner, *inner.parents))


@contextlib.contextmanager
def hold_backup_dir(directory: BackupDir) -> Iterator[None]:
    """Keep other backups, verifications and restores away during the block. Raises OperatorError.

    A file system without locks, or one that is read-only, is used without.
    """
    path = directory.root / "lock"
    if not is_writable(directory.root):
        yield
        return
    try:
        file = path.open("a+b")
    except PermissionError as error:
        raise _not_allowed(path, error) from error
    with file:
        give_to_owner(path, directory.root)
        _lock(file, directory.root)
        yield


def _not_allowed(path: Path, error: OSError) -> OperatorError:
    return OperatorError(
        f"{path} cannot be opened by this user ({error.strerror}). Run this as the owner of the backups or as root, or "
        "give all of them to this user."
    )


def _lock(file: BinaryIO, root: Path) -> None:
    try:
        lock_file(file)
    except OSError as error:
        if error.errno in LOCKED_ERRNOS:
            raise OperatorError(
                f"Another backup, verification or restore is running on {root}. Try again when it has ended."
            ) from error


def _list_foreign(root: Path) -> list[str]:
    return sorted(
        path.name for path in root.iterdir() if not _OF_SYSTEMS.fullmatch(path.name) and path.name != f"{MARK_NAME}.new"
    )


def _read_mark(root: Path) -> dict[str, Any] | None:
    """What `backup.json` says; None where there is none. Raises OperatorError."""
    path = root / MARK_NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise _not_allowed(path, error) from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("what") != _WHAT or not isinstance(found.get("format"), int):
        raise OperatorError(f"The file {path} is not as imgpro-lite writes it. Nothing was changed.")
    if found["format"] > FORMAT:
        raise OperatorError(
            f"{root} was written by a newer imgpro-lite (format {found['format']}; this one knows {FORMAT}). Upgrade "
            "imgpro-lite. Nothing was changed."
        )
    return found
