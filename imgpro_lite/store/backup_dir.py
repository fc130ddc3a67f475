"""A directory of backups, which share the stored files.

backup.json             which library they are of, and the format of all this
blobs/                  the stored files of all of them, as in a data directory
backups/TIME/imgpro.db  one backup: the database, which needs no log beside it,
backups/TIME/secret     what signs links,
backups/TIME/about.json and what is known of it. A backup is complete when it is here
damaged/                files that `backup verify` has found damaged; the next backup copies them anew
tmp/                    the backup that is being made
lock                    held while one is made, verified or restored
"""

import contextlib
import errno
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.data_dir import DATABASE_NAME, SECRET_NAME
from imgpro_lite.store.files import (
    LOCKED_ERRNOS,
    give_to_owner,
    is_writable,
    lock_file,
    sync_directory,
    sync_file,
)

FORMAT = 1
MARK_NAME = "backup.json"
_WHAT = "backups of imgpro-lite"
# What systems put at the top of a disk, so that a new one counts as empty.
_OF_SYSTEMS = re.compile(r"lost\+found|System Volume Information|\$RECYCLE\.BIN|\.Trash.*|\.Spotlight.*|\.fseventsd")


@dataclass(frozen=True)
class About:
    """What is known of a backup without opening it. Images are those that are not deleted; files are of all."""

    number: int
    """Backups are counted, so that they have an order whatever the clock says."""
    made_at: int
    version: str
    schema: int
    images: int
    files: int
    size_bytes: int
    database_bytes: int
    database_sha256: str
    secret_sha256: str | None
    missing_files: int
    """Files of images that the library itself had not, or not whole."""


@dataclass(frozen=True)
class Backup:
    """A backup that is complete."""

    folder: Path
    about: About

    @property
    def name(self) -> str:
        """When it was made, in UTC."""
        return self.folder.name

    @property
    def database(self) -> Path:
        """The database."""
        return self.folder / DATABASE_NAME

    @property
    def secret(self) -> Path:
        """What signs links."""
        return self.folder / SECRET_NAME


class BackupDir:
    """A directory that is known to be one of backups, in this format."""

    def __init__(self, root: Path, library_id: str) -> None:
        self.root = root
        self.library_id = library_id
        self.tmp = root / "tmp"
        self.draft = self.tmp / "backup"
        self._backups = root / "backups"
        self._damaged = root / "damaged"

    def prepare(self) -> None:
        """Make the directories, and remove what an interrupted backup has left; its files stay. Raises OSError."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        for folder in (self._backups, self.root / "blobs", self.tmp, self.draft):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                give_to_owner(folder, self.root)

    def require_there(self) -> None:
        """Raise OperatorError when the disk has gone: then nothing is wrong with the files that are not found."""
        try:
            (self.root / MARK_NAME).read_bytes()
        except OSError as error:
            raise OperatorError(
                f"The disk of {self.root} has gone ({error.strerror}). Is it still plugged in and mounted? Nothing was "
                "changed."
            ) from error

    def list_backups(self) -> list[Backup]:
        """Those that are complete, oldest first. Raises OSError."""
        found = [backup for folder in self._folders() if (backup := _find(folder))]
        return sorted(found, key=lambda backup: (backup.about.number, backup.name))

    def list_unreadable(self) -> list[str]:
        """The names of those of which not even `about.json` can be read."""
        return [folder.name for folder in self._folders() if not _find(folder)]

    def _folders(self) -> list[Path]:
        if not self._backups.is_dir():
            return []
        return sorted(path for path in self._backups.iterdir() if path.is_dir())

    def find(self, at: str | None) -> Backup:
        """The newest backup, or the one of this name, or the newest whose name begins like this. Colons may be given.

        Raises OperatorError.
        """
        backups = self.list_backups()
        if not backups:
            raise OperatorError(f"There is no complete backup in {self.root}.")
        wanted = (at or "").strip().upper().replace(":", "").replace(" ", "T")
        found = [backup for backup in backups if backup.name == wanted]
        found = found or [backup for backup in backups if backup.name.startswith(wanted)]
        if not found:
            names = ", ".join(backup.name for backup in backups)
            raise OperatorError(f"There is no backup of {at} in {self.root}. There are: {names}.")
        return found[-1]

    def publish(self, about: About) -> Backup:
        """Make the draft a backup, durably: all of it is there, or nothing. Raises OSError."""
        path = self.draft / "about.json"
        _write_json(path, asdict(about))
        for part in self.draft.iterdir():
            give_to_owner(part, self.root)
            with part.open("rb+") as file:
                sync_file(file.fileno())
        _sync(self.draft)
        folder = self._free_name(about.made_at)
        self.draft.rename(folder)
        for directory in (self._backups, self.root):
            _sync(directory)
        return Backup(folder, about)

    def _free_name(self, made_at: int) -> Path:
        name = datetime.fromtimestamp(made_at, UTC).strftime("%Y-%m-%dT%H%M%SZ")
        folder, number = self._backups / name, 1
        while folder.exists():
            number += 1
            folder = self._backups / f"{name}-{number}"
        return folder

    def remove(self, backup: Backup) -> None:
        """Remove a backup as a whole; its files stay. Raises OSError."""
        doomed = self.tmp / f"removed-{backup.name}"
        backup.folder.rename(doomed)
        shutil.rmtree(doomed)

    def set_damaged_aside(self, path: Path) -> bool:
        """Move a stored file away, so that the next backup copies it anew. False where nothing can be written."""
        try:
            if not self._damaged.is_dir():
                self._damaged.mkdir(mode=0o700)
                give_to_owner(self._damaged, self.root)
            path.replace(self._damaged / path.name)
        except OSError:
            return False
        return True

    def forget_damaged(self, blobs_path: Path, name: str) -> None:
        """Remove a damaged file that is there again as a whole. Raises OSError."""
        if blobs_path.exists():
            (self._damaged / name).unlink(missing_ok=True)

    def list_damaged(self) -> list[str]:
        """The names of the files that were moved away."""
        return sorted(path.name for path in self._damaged.iterdir()) if self._damaged.is_dir() else []


def _find(folder: Path) -> Backup | None:
    try:
        found = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        known = {field.name for field in fields(About)}
        return Backup(folder, About(**{name: value for name, value in found.items() if name in known}))
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def open_backup_dir(root: Path) -> BackupDir:
    """The backups that are there. Raises OperatorError."""
    if not root.is_dir():
        raise OperatorError(f"There is no directory {root}. Is its disk mounted?")
    found = _read_mark(root)
    if found is None:
        raise OperatorError(f"There are no backups of imgpro-lite in {root}. Is its disk mounted?")
    return BackupDir(root, str(found["library_id"]))


def make_backup_dir(root: Path, library_id: str, made_by: str) -> BackupDir:
    """The backups of this library, or a new directory for them. Raises OperatorError, OSError; then nothing is made."""
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
    root.mkdir(mode=0o700, exist_ok=True)
    mark = {"what": _WHAT, "format": FORMAT, "library_id": library_id, "made_by": made_by}
    _write_json(root / f"{MARK_NAME}.new", mark)
    (root / f"{MARK_NAME}.new").replace(root / MARK_NAME)
    give_to_owner(root / MARK_NAME, root)
    _sync(root)
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
    with path.open("a+b") as file:
        give_to_owner(path, directory.root)
        _lock(file, directory.root)
        yield


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


def _write_json(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        sync_file(file.fileno())


def _sync(directory: Path) -> None:
    """Not every file system syncs directories: those of networks and of cameras do not."""
    try:
        sync_directory(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
