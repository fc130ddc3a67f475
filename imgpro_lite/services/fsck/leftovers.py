"""Uploads that a crash cut short. While a server runs, what is in `tmp/` is still arriving."""

import os
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind
from imgpro_lite.services.fsck.looking import hold_if_stopped, list_entries


def check_leftovers(checkup: Checkup) -> None:
    """Where no server runs, there is nothing in `tmp/`."""
    checkup.progress.begin("Leftovers")
    with hold_if_stopped(checkup) as is_stopped:
        for entry in list_entries(checkup, checkup.data_dir / "tmp") if is_stopped else ():
            _tell(checkup, entry)


def _tell(checkup: Checkup, entry: "os.DirEntry[str]") -> None:
    """Tell what is there, and remove it where it is what an upload makes: a file."""
    path = Path(entry)
    if not entry.is_file(follow_symlinks=False):
        checkup.tell_misplaced(Kind.LEFTOVER, path, f"{checkup.relative(path)} does not belong there.")
        return
    failure = None
    if checkup.options.repair:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failure = f"It cannot be removed: {error.strerror}."
    message = f"{checkup.relative(path)} was left by an upload that did not end."
    checkup.tell_outcome(Kind.LEFTOVER, message, failure, wants_repair=checkup.options.repair)
