"""Looking at files and directories that may be gone by now, unreadable, or something else than they should be."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.store import data_dir
from imgpro_lite.store.files import give_to_owner

# What a file system keeps for itself at its top, where a directory of ours is a file system of its own.
_OF_FILE_SYSTEM = "lost+found"


@contextlib.contextmanager
def hold_if_stopped(checkup: Checkup) -> Iterator[bool]:
    """Keep servers from starting during the block. False, and nothing is held, when one runs, or may be running;
    also for a snapshot, which may have been made while one ran."""
    with contextlib.ExitStack() as stack:
        try:
            is_stopped = not checkup.read_only and stack.enter_context(data_dir.hold_if_stopped(checkup.data_dir))
        except OSError as error:
            tell_unreadable(checkup, checkup.data_dir / "lock", error)
            is_stopped = False
        yield is_stopped


def list_entries(checkup: Checkup, folder: Path) -> "list[os.DirEntry[str]]":
    """What is in a folder, by name; nothing where there is none, or where it cannot be read, which is told."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name != _OF_FILE_SYSTEM), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        tell_unreadable(checkup, folder, error)
        return []


def find_status(checkup: Checkup, path: Path) -> os.stat_result | None:
    """The status of what is there, behind a link too; None when it is gone, or cannot be looked at, which is told."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        tell_unreadable(checkup, path, error)
        return None


def is_missing(path: Path) -> bool:
    """Whether there is nothing, not even behind a link. False where that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def tell_unreadable(checkup: Checkup, path: Path, error: OSError) -> None:
    """What this user may not read, or the disk does not give, may be as it should be."""
    checkup.tell(Problem(Kind.ACCESS, f"{checkup.relative(path)} cannot be read: {error.strerror}."))


def check_owner(checkup: Checkup, path: Path, status: os.stat_result) -> bool:
    """Whether the owner of the data directory may read something. What another user owns, as after a copy that root
    made, a server may not be able to read or remove."""
    if sys.platform == "win32":
        return True
    if status.st_uid != checkup.owner_uid:
        repaired = checkup.options.repair and give_to_owner(path, checkup.data_dir)
        message = f"{checkup.relative(path)} belongs to another user than the data directory."
        checkup.tell(Problem(Kind.ACCESS, message, repaired))
        return True
    mode = stat.S_IMODE(status.st_mode)
    needed = stat.S_IRWXU if stat.S_ISDIR(status.st_mode) else stat.S_IRUSR
    if mode & needed == needed:
        return True
    repaired = checkup.options.repair and set_mode(path, mode | needed)
    message = f"{checkup.relative(path)} has a mode that keeps its owner out ({mode:o})."
    checkup.tell(Problem(Kind.ACCESS, message, repaired))
    return repaired


def set_mode(path: Path, mode: int) -> bool:
    """Change a mode: whether that was allowed."""
    try:
        path.chmod(mode)
    except OSError:  # another user's, or on a file system that is read-only
        return False
    return True
