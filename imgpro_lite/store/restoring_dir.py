"""What is restored, in `restoring/` in the data directory, until it takes the place of what is there.

All of it is on the disk by then, so that the change is a few renames. `moves.json` says which, and a start, or the next
restore, finishes those that a crash has cut short: a server never finds a library that is half there.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import give_to_owner, sync_directory, sync_file
from imgpro_lite.store.set_aside import SET_ASIDE_NAME

RESTORING_NAME = "restoring"
_MOVES_NAME = "moves.json"
# What stays where it is.
_KEPT = ("lock", SET_ASIDE_NAME, RESTORING_NAME, "lost+found")
# What may be on a disk of its own, and fits every library: it is named after the bytes that it was made from.
_MAY_BE_MOUNTED = ("cache", "intermediates")
# What is not worth keeping: room, which the next start makes anew, and the mark of a run.
_GIVEN_UP = ("reserve", "running")


class Source(NamedTuple):
    """What is being restored."""

    directory: str
    """The directory of backups, absolute."""
    backup: str
    """The name of the backup."""


class RestoringDir:
    """The directory in which a backup is put together."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.root = data_dir / RESTORING_NAME
        self.tmp = self.root / "tmp"
        self._moves = self.root / _MOVES_NAME

    @property
    def is_moving(self) -> bool:
        """Whether everything is there, and some of it perhaps in its place already."""
        return self._moves.exists()

    def list_replaced(self) -> list[str]:
        """The names of what is in the data directory and would have to go. Raises OperatorError, OSError."""
        names = sorted(path.name for path in self.data_dir.iterdir() if path.name not in _KEPT)
        mounted = [name for name in names if os.path.ismount(self.data_dir / name)]
        if refused := [name for name in mounted if name not in _MAY_BE_MOUNTED]:
            raise OperatorError(
                f"{self.data_dir / refused[0]} is a disk of its own and cannot be moved away. Unmount it first. "
                "Nothing was changed."
            )
        return [name for name in names if name not in mounted]

    def prepare(self) -> None:
        """Make it; what an interrupted restore has left in it is used. Raises OSError."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        for folder in (self.root, self.root / "blobs", self.tmp):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                give_to_owner(folder, self.data_dir)

    def remove(self) -> None:
        """Give it up."""
        shutil.rmtree(self.root, ignore_errors=True)

    def begin_moves(self, replaced: list[str], aside: str, source: Source) -> None:
        """Say what is to be done: from here on it happens, also after a crash. `aside` names a new folder of
        `set-aside/` for what is replaced. Raises OSError."""
        shutil.rmtree(self.tmp)
        # Of another restore in the same second.
        name, number = aside, 1
        while os.path.lexists(self.data_dir / SET_ASIDE_NAME / name):
            number += 1
            name = f"{aside}-{number}"
        draft = self.root / f"{_MOVES_NAME}.new"
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"replaced": replaced, "aside": name, "source": source}, file)
            file.flush()
            sync_file(file.fileno())
        draft.replace(self._moves)
        sync_directory(self.root)
        reached("restoring.ready")

    def read_source(self) -> Source:
        """What is being moved. Raises OSError."""
        return Source(*json.loads(self._moves.read_text(encoding="utf-8"))["source"])

    def finish_moves(self) -> Path | None:
        """Move what is there aside, and what was restored to its place: where the former is. Raises OSError."""
        moves = json.loads(self._moves.read_text(encoding="utf-8"))
        aside = self.data_dir / SET_ASIDE_NAME / moves["aside"]
        for name in moves["replaced"]:
            if not os.path.lexists(aside / name):  # else it was moved before a crash, and this is the new one
                self._move_aside(self.data_dir / name, aside)
        sync_directory(self.data_dir)
        reached("restoring.moved_out")
        for path in sorted(self.root.iterdir()):
            if path.name != _MOVES_NAME:
                path.rename(self.data_dir / path.name)
        sync_directory(self.data_dir)
        reached("restoring.moved_in")
        shutil.rmtree(self.root)
        return aside if moves["replaced"] else None

    def _move_aside(self, path: Path, aside: Path) -> None:
        if path.name in _GIVEN_UP:
            path.unlink(missing_ok=True)
            return
        for folder in (aside.parent, aside):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                give_to_owner(folder, self.data_dir)
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside / path.name)
        sync_directory(aside)
