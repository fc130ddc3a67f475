"""Whom the data belongs to, and who else may read it."""

import os
import sys
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.store.data_dir import list_exposed
from imgpro_lite.store.files import give_to_owner

# Renamed from one to the other, so they must be real directories of one file system.
_DIRECTORIES = ("blobs", "tmp")


def check_access(checkup: Checkup) -> None:
    """The data is its owner's alone, and directories are directories. Whom files below blobs/ belong to is looked at
    with them."""
    if sys.platform == "win32":
        return
    checkup.progress.begin("Access")
    for path, mode, private_mode in list_exposed(checkup.data_dir):
        repaired = checkup.options.repair and _set_mode(path, private_mode)
        what = "The data directory" if path == checkup.data_dir else f"The file {path.name}"
        checkup.tell(Problem(Kind.ACCESS, f"{what} may be read by other users (mode {mode:o}).", repaired))
    for name in _DIRECTORIES:
        if (checkup.data_dir / name).is_symlink():
            message = f"{name}/ is a symbolic link. Mount the other disk, or move the whole data directory to it."
            checkup.tell(Problem(Kind.ACCESS, message))
    for path in sorted(checkup.data_dir.iterdir()):
        check_owner(checkup, path, path.lstat())


def _set_mode(path: Path, mode: int) -> bool:
    try:
        path.chmod(mode)
    except PermissionError:
        return False
    return True


def check_owner(checkup: Checkup, path: Path, status: os.stat_result) -> None:
    """What another user owns, as after a copy that root made, a server may not be able to read or remove."""
    if status.st_uid == checkup.owner_uid:
        return
    repaired = checkup.options.repair and give_to_owner(path, checkup.data_dir)
    message = f"{checkup.relative(path)} belongs to another user than the data directory."
    checkup.tell(Problem(Kind.ACCESS, message, repaired))
