"""A data directory for the time that a server runs. What a server that was killed has left is removed by the next."""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.files import DirectoryLock

PREFIX = "imgpro-lite-dev-"
_LOCK_NAME = "in-use"

# A directory without an owner that is younger may be one whose owner is just about to say so.
ABANDONED_SECONDS = 60


@contextlib.contextmanager
def hold_temporary_data_dir() -> Iterator[Path]:
    """A new data directory where the system keeps temporary files (TMPDIR), removed at the end."""
    remove_abandoned(Path(tempfile.gettempdir()))
    root = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = DirectoryLock(root / _LOCK_NAME)
    try:
        yield root / "data"
    finally:
        if sys.platform == "win32":  # where open files cannot be removed
            lock.release()
        shutil.rmtree(root, ignore_errors=True)
        lock.release()


def remove_abandoned(parent: Path) -> None:
    """Remove what killed servers of this user have left there. What cannot be removed stays."""
    for root in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, OperatorError):
            if not _may_be_abandoned(root):
                continue
            lock = DirectoryLock(root / _LOCK_NAME)  # refused while its server runs
            try:
                shutil.rmtree(root, ignore_errors=True)
            finally:
                lock.release()


def _may_be_abandoned(root: Path) -> bool:
    """Whether it is a directory of this user, and old enough. Raises OSError. Others may write to its parent."""
    status = root.lstat()
    is_ours = sys.platform == "win32" or status.st_uid == os.getuid()
    return stat.S_ISDIR(status.st_mode) and is_ours and time.time() - status.st_mtime > ABANDONED_SECONDS
