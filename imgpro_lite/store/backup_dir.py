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

import errno
import json
import re
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.data_dir import DATABASE_NAME, SECRET_NAME
from imgpro_lite.store.files import give_to_owner, sync_directory, sync_file

MARK_NAME = "backup.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LAST_SECOND = 253_402_300_799  # the end of the year 9999, which has a name
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class About:
    """What is known of a backup without opening it. Images are those that are not deleted; files are of all."""

    number: Count
    """Backups are counted, so that they have an order whatever the clock says."""
    made_at: Annotated[int, Field(ge=0, le=_LAST_SECOND)]
    version: str
    schema: Count
    images: Count
    files: Count
    size_bytes: Count
    database_bytes: Count
    database_sha256: str
    secret_sha256: str | None
    missing_files: Count
    """Files of images that the library itself had not, or not whole."""


_ABOUT = TypeAdapter(About)


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
        wanted = normalize_time(at)
        found = [backup for backup in backups if backup.name == wanted]
        found = found or [backup for backup in backups if backup.name.startswith(wanted)]
        if not found:
            names = ", ".join(backup.name for backup in backups)
            raise OperatorError(f"There is no backup of {at} in {self.root}. There are: {names}.")
        return found[-1]

    def publish(self, about: About) -> Backup:
        """Make the draft a backup, durably: all of it is there, or nothing. Raises OSError."""
        path = self.draft / "about.json"
        write_json(path, asdict(about))
        for part in self.draft.iterdir():
            give_to_owner(part, self.root)
            with part.open("rb+") as file:
                sync_file(file.fileno())
        sync_names(self.draft)
        folder = self._free_name(about.made_at)
        self.draft.rename(folder)
        for directory in (self._backups, self.root):
            sync_names(directory)
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

    def forget_damaged(self, path: Path) -> None:
        """Remove a damaged file that is there again as a whole. Raises OSError."""
        if path.exists():
            (self._damaged / path.name).unlink(missing_ok=True)

    def list_damaged(self) -> list[bytes]:
        """The hashes that name the files that were moved away. What else is among them is not ours."""
        if not self._damaged.is_dir():
            return []
        return sorted(bytes.fromhex(path.name) for path in self._damaged.iterdir() if _SHA256.fullmatch(path.name))


def _find(folder: Path) -> Backup | None:
    try:
        return Backup(folder, _ABOUT.validate_json((folder / "about.json").read_bytes(), strict=True))
    except (FileNotFoundError, IsADirectoryError, ValidationError):
        return None


def normalize_time(at: str | None) -> str:
    """A time as backups are named after it, or how such a name begins."""
    return (at or "").strip().upper().replace(":", "").replace(" ", "T")


def write_json(path: Path, content: Any) -> None:
    """Write a small file durably. Raises OSError."""
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        sync_file(file.fileno())


def sync_names(directory: Path) -> None:
    """Make names in a directory durable, where the file system can: those of networks and of cameras cannot."""
    try:
        sync_directory(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
