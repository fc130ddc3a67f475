"""What has been moved out of the way: `set-aside/` in the data directory, with everything below its old path.

`fsck --repair` moves things right into it, and they stay. What a crash has left is in a folder of the day on which it
was moved, `crash-2026-11-23`, and goes when that is long ago.
"""

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from imgpro_lite.store.files import give_to_owner, sync_directory, sync_file

SET_ASIDE_NAME = "set-aside"

_CRASH_FOLDER = re.compile(r"crash-\d{4}-\d{2}-\d{2}")


def set_aside(data_dir: Path, path: Path, folder: str = "") -> Path:
    """Move a file or directory to `set-aside/`, or to a folder in it: where it is now. Raises OSError."""
    target = _free_place(data_dir / SET_ASIDE_NAME / folder / path.relative_to(data_dir), data_dir)
    path.rename(target)
    return target


def keep_aside(data_dir: Path, path: Path, content: bytes) -> None:
    """Write what is to be overwritten to `set-aside/`, durably, as if it had been a file at `path`. Raises OSError."""
    target = _free_place(data_dir / SET_ASIDE_NAME / path.relative_to(data_dir), data_dir)
    with target.open("xb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())
    give_to_owner(target, data_dir)
    sync_directory(target.parent)


def _free_place(target: Path, data_dir: Path) -> Path:
    """This path, or one beside it, at which there is nothing yet, in a folder that there is."""
    _make_folders(target.parent, data_dir)
    free, number = target, 1
    while os.path.lexists(free):
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    return free


def _make_folders(folder: Path, data_dir: Path) -> None:
    """Make folders, which belong to whom the data directory belongs: a command may be run by root."""
    if folder.exists():
        return
    _make_folders(folder.parent, data_dir)
    folder.mkdir(mode=0o700)
    give_to_owner(folder, data_dir)


def crash_folder(now: int) -> str:
    """The name of the folder for what is found after a crash today."""
    return _folder_of(datetime.fromtimestamp(now, UTC).date())


def _folder_of(day: date) -> str:
    return f"crash-{day.isoformat()}"


def list_old_crash_folders(data_dir: Path, now: int, kept_days: int) -> list[Path]:
    """The folders whose files have been there for so many days, all of them."""
    oldest_kept = _folder_of(datetime.fromtimestamp(now, UTC).date() - timedelta(days=kept_days))
    found = (data_dir / SET_ASIDE_NAME).glob("crash-*")
    return sorted(path for path in found if _CRASH_FOLDER.fullmatch(path.name) and path.name < oldest_kept)
