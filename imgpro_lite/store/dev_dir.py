"""What dev mode keeps in the data directory, in `dev/`.

clock          how far its time is ahead of the real one, in seconds; not there when it is the real one
may-be-reset   there when the library was begun in dev mode, and no server has run on it without
restoring      which snapshot is being restored: left by a crash, for the next start to finish
snapshots/     by name
baselines/     the snapshots that a reset goes back to

Nothing of it is synced: a process may end at any moment, but a library for tests need not outlive a power cut.
"""

import json
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.clock import Clock, MovableClock
from imgpro_lite.errors import OperatorError

DEV_NAME = "dev"
SNAPSHOTS_NAME = "snapshots"
BASELINES_NAME = "baselines"


class Restoring(NamedTuple):
    """A restore that has begun."""

    folder: Path
    offset_seconds: int


class DevDir:
    """`dev/` of a data directory, whether it is there or not."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / DEV_NAME
        self.snapshots = self.root / SNAPSHOTS_NAME
        self.baselines = self.root / BASELINES_NAME
        self._clock = self.root / "clock"
        self._mark = self.root / "may-be-reset"
        self._restoring = self.root / "restoring"

    def prepare(self) -> None:
        """Make the directories. Raises OSError."""
        for directory in (self.snapshots, self.baselines):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def may_be_reset(self) -> bool:
        """Whether nobody loses anything by a reset but those who test."""
        return self._mark.exists()

    @property
    def mark(self) -> Path:
        """The file that says so, for people."""
        return self._mark

    def allow_reset(self) -> None:
        """Remember that the library is begun in dev mode."""
        self._mark.touch()

    def leave(self) -> int:
        """Take away what holds in dev mode only; the snapshots stay. How far its clock was ahead, in seconds."""
        offset_seconds = self.read_offset_seconds()
        self._clock.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)
        return offset_seconds

    def read_offset_seconds(self) -> int:
        """How far the time is ahead of the real one. Raises OperatorError."""
        try:
            return int(self._clock.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise OperatorError(f"The file {self._clock} is damaged. Delete it to have the real time.") from None

    def write_offset_seconds(self, offset_seconds: int) -> None:
        """Keep the time over restarts. Raises OSError."""
        if offset_seconds == 0:
            self._clock.unlink(missing_ok=True)
        else:
            _replace(self._clock, str(offset_seconds))

    def find_restoring(self) -> Restoring | None:
        """The restore that a crash has cut short, if one has. Raises OperatorError."""
        try:
            found = json.loads(self._restoring.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Restoring(self.root / found["folder"], found["offset_seconds"])

    def begin_restoring(self, restoring: Restoring) -> None:
        """Have the next start finish it, if this process does not."""
        folder = restoring.folder.relative_to(self.root).as_posix()
        _replace(self._restoring, json.dumps({"folder": folder, "offset_seconds": restoring.offset_seconds}))

    def end_restoring(self) -> None:
        """Forget it."""
        self._restoring.unlink(missing_ok=True)


def clock_of(data_dir: Path) -> Clock:
    """The time that a library has: the real one, but where dev mode has moved it. Raises OperatorError."""
    clock = MovableClock(Clock())
    clock.offset_seconds = DevDir(data_dir).read_offset_seconds()
    return clock


def _replace(path: Path, text: str) -> None:
    """Replace a small file, whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
