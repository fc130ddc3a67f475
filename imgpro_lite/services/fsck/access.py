"""Whom the data belongs to, and who else may read it."""

import contextlib
import sys
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.services.fsck.looking import check_owner, list_entries, set_mode
from imgpro_lite.store.data_dir import list_exposed


def check_access(checkup: Checkup) -> None:
    """The data is its owner's alone, and directories are directories. Whom files below blobs/ belong to is looked at
    with them."""
    if sys.platform == "win32":
        return
    checkup.progress.begin("Access")
    for path, mode, private_mode in list_exposed(checkup.data_dir):
        repaired = checkup.options.repair and set_mode(path, private_mode)
        what = "The data directory" if path == checkup.data_dir else f"The file {path.name}"
        checkup.tell(Problem(Kind.ACCESS, f"{what} may be read by other users (mode {mode:o}).", repaired))
    for name in ("blobs", "tmp"):
        if (checkup.data_dir / name).is_symlink():
            message = f"{name}/ is a symbolic link. Move the whole data directory to the other disk instead."
            checkup.tell(Problem(Kind.ACCESS, message))
    for entry in list_entries(checkup, checkup.data_dir):
        with contextlib.suppress(FileNotFoundError):  # the log of the database comes and goes
            check_owner(checkup, Path(entry), Path(entry).lstat())
