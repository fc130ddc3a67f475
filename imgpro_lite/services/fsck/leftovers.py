"""Uploads and restores that a crash cut short. While a server runs, what is in `tmp/` is still arriving."""

import os
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind
from imgpro_lite.services.fsck.looking import hold_if_stopped, list_entries
from imgpro_lite.store.restoring_dir import RestoringDir


def check_leftovers(checkup: Checkup) -> None:
    """Where no server runs, there is nothing in `tmp/`, and no `restoring/`."""
    checkup.progress.begin("Leftovers")
    with hold_if_stopped(checkup) as is_stopped:
        for entry in list_entries(checkup, checkup.data_dir / "tmp") if is_stopped else ():
            _tell(checkup, entry)
        restoring = RestoringDir(checkup.data_dir)
        if is_stopped and restoring.root.is_dir():
            _tell_restoring(checkup, restoring)


def _tell_restoring(checkup: Checkup, restoring: RestoringDir) -> None:
    """It has copies only, until it has begun to move them, and then no command comes so far."""
    failure = None
    if checkup.options.repair:
        restoring.remove()
        failure = "It cannot be removed." if restoring.root.exists() else None
    message = (
        f"{checkup.relative(restoring.root)} was left by a restore that did not end. Run it again, which goes on where "
        "it was, or remove this."
    )
    checkup.tell_outcome(Kind.LEFTOVER, message, failure, wants_repair=checkup.options.repair)


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
