"""What would keep a server from starting, looked at with what a start itself uses, and without changing anything."""

import os
import sys
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.services.fsck.looking import is_missing
from imgpro_lite.store.blobs import RESERVE_NAME
from imgpro_lite.store.data_dir import CACHE_NAME, DATABASE_NAME, INTERMEDIATES_NAME, SECRET_NAME, read_secrets
from imgpro_lite.store.files import can_rename, require_writable
from imgpro_lite.store.manifests import MANIFESTS_NAME

_DIRECTORIES = ("blobs", "tmp", MANIFESTS_NAME, CACHE_NAME, INTERMEDIATES_NAME)
_FILES = (DATABASE_NAME, "lock", "running", RESERVE_NAME)


def check_start(checkup: Checkup) -> None:
    """The directories and files of a server are what they should be, and can be written to. What is not there is made
    at the start. Nothing is started on a snapshot."""
    if checkup.read_only:
        return
    checkup.progress.begin("Start")
    present = [path for name in _DIRECTORIES if not is_missing(path := checkup.data_dir / name)]
    usable = [path for path in present if _check_directory(checkup, path)]
    if len([path for path in usable if path.name in ("blobs", "tmp")]) == 2:
        _check_renaming(checkup)
    for name in _FILES:
        _check_file(checkup, checkup.data_dir / name)
    try:
        if not is_missing(checkup.data_dir / SECRET_NAME):
            read_secrets(checkup.data_dir)
    except OperatorError as error:
        checkup.tell(Problem(Kind.START, str(error)))


def _check_directory(checkup: Checkup, path: Path) -> bool:
    if not path.is_dir():
        checkup.tell_misplaced(Kind.START, path, f"{path.name} is not a directory.")
        return False
    try:
        require_writable(path)
    except OSError:
        checkup.tell(Problem(Kind.START, f"Nothing can be written to {path.name}/."))
        return False
    return True


def _check_renaming(checkup: Checkup) -> None:
    """Every upload is renamed from the one to the other."""
    try:
        can_store = can_rename(checkup.data_dir / "tmp", checkup.data_dir / "blobs")
    except OSError as error:
        checkup.tell(Problem(Kind.START, f"Nothing can be written to tmp/ and blobs/: {error.strerror}."))
        return
    if not can_store:
        message = (
            "blobs/ and tmp/ are on different file systems, so that no upload could be stored. Mount the disk at "
            f"{checkup.data_dir} instead, with everything in it."
        )
        checkup.tell(Problem(Kind.START, message))


def _check_file(checkup: Checkup, path: Path) -> None:
    if is_missing(path):
        return
    if not path.is_file():
        checkup.tell_misplaced(Kind.START, path, f"{path.name} is not a file.")
    elif sys.platform != "win32" and not os.access(path, os.R_OK | os.W_OK):
        checkup.tell(Problem(Kind.START, f"The file {path.name} cannot be written to."))
