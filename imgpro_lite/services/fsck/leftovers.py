"""Uploads that a crash cut short. While a server runs, what is in `tmp/` is still arriving."""

import os
from pathlib import Path

from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.store.data_dir import hold_if_stopped


def check_leftovers(checkup: Checkup) -> None:
    """Where no server runs, there is nothing in `tmp/`."""
    checkup.progress.begin("Leftovers")
    with hold_if_stopped(checkup.data_dir) as is_stopped:
        folder = checkup.data_dir / "tmp"
        if not is_stopped or not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                is_file = entry.is_file(follow_symlinks=False)
                if checkup.options.repair and is_file:
                    Path(entry).unlink(missing_ok=True)
                message = f"{checkup.relative(Path(entry))} was left by an upload that did not end."
                checkup.tell(Problem(Kind.LEFTOVER, message, repaired=checkup.options.repair and is_file))
