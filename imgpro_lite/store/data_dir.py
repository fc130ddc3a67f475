"""The data directory: made, held by one server at a time, and with its secret.

imgpro.db     the database (with -wal and -shm beside it while a server runs)
blobs/        the originals, by SHA-256
cache/        variants; may be emptied at any time
intermediates/  reduced pictures, from which variants are made quickly; may be emptied at any time
outbox/       mail, where no mail server is set
tmp/          uploads that are still arriving
secret        signs links; whoever has it can make them
lock          held by the running server
running       there while a server runs; one that finds it knows that the last one crashed
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.files import DirectoryLock

DATABASE_NAME = "imgpro.db"
CACHE_NAME = "cache"
INTERMEDIATES_NAME = "intermediates"
SECRET_BYTES = 32  # 256 bits, as long as the hash that signs with it


@contextlib.contextmanager
def hold_data_dir(path: Path) -> Iterator[Path]:
    """The directory as an absolute path, made if need be, for this process alone. Raises OperatorError."""
    directory = make_data_dir(path)
    with operator_errors(directory):
        lock = DirectoryLock(directory / "lock")
    try:
        yield directory
    finally:
        lock.release()


def make_data_dir(path: Path) -> Path:
    """The directory as an absolute path, made if need be. Raises OperatorError."""
    directory = path.absolute()
    with operator_errors(directory):
        # For its owner only: other users of the machine have no business with private images.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def mark_running(directory: Path) -> Iterator[bool]:
    """Leave a mark that only a clean end takes away. True when an earlier run did not end cleanly."""
    mark = directory / "running"
    with operator_errors(directory):
        crashed = mark.exists()
        mark.touch()
    yield crashed
    mark.unlink(missing_ok=True)


def is_running(directory: Path) -> bool:
    """Whether a server seems to be running on the directory; also true after one has crashed."""
    return (directory / "running").exists()


def load_secrets(directory: Path) -> list[str]:
    """The secrets that sign links, oldest first, made at the first start and readable by the owner only."""
    path = directory / "secret"
    with operator_errors(directory):
        with (
            contextlib.suppress(FileExistsError),
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file,
        ):
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        loaded = path.read_text(encoding="ascii").split()
    if not loaded:
        raise OperatorError(f"The file {path} is empty. Restore it from a backup, or delete it to get a new secret.")
    return loaded


@contextlib.contextmanager
def operator_errors(directory: Path) -> Iterator[None]:
    """Tell in words what keeps the directory from being used."""
    try:
        yield
    except OSError as error:
        raise OperatorError(
            f"The data directory {directory} cannot be used: {error.strerror}. It must be a directory that the user "
            "running imgpro-lite may write to; choose another with --data-dir."
        ) from error
