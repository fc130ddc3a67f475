"""The data directory: made, held by one server at a time, and with its secrets.

imgpro.db     the database (with -wal and -shm beside it while a server runs)
blobs/        the originals, by SHA-256
manifests/    what `rebuild` makes a lost database from, in small files: manifests.py
cache/        variants; may be emptied at any time
intermediates/  reduced pictures, from which variants are made quickly; may be emptied at any time
outbox/       mail, where no mail server is set
dev/          what dev mode keeps: dev_dir.py
reserve       nothing but room, for deleting when the disk is full
tmp/          uploads that are still arriving
secret        signs links; whoever has it can make them. Older ones still verify until their links have ended
lock          held by the running server
restoring/    what `imgpro-lite restore` puts together, before it takes the place of what is there
before-upgrade/  copies of the database as it was before migrations
running       there while a server runs; one that finds it knows that the last one crashed
set-aside/    what `fsck --repair` has moved out of the way, and files without an image that were found after a crash
"""

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.links import Secret
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import DirectoryLock, give_to_owner, keep_owner, sync_directory, sync_file
from imgpro_lite.store.restoring_dir import RestoringDir

DATABASE_NAME = "imgpro.db"
CACHE_NAME = "cache"
INTERMEDIATES_NAME = "intermediates"
SECRET_NAME = "secret"  # noqa: S105 - the name of a file
SECRET_BYTES = 32  # 256 bits, as long as the hash that signs with it

# How soon a running server notices what a command did: how long after `media block` hot image bytes may still be sent.
# One look costs 0.1 ms.
FOLLOW_EVERY_SECONDS = 0.2


@contextlib.contextmanager
def hold_data_dir(path: Path, *, to_restore: bool = False) -> Iterator[Path]:
    """The directory as an absolute path, made if need be, for this process alone. Raises OperatorError.

    What an interrupted restore has left is finished, or refused where it cannot be, unless `to_restore`.
    """
    directory = _make(path)
    with operator_errors(directory):
        lock = DirectoryLock(directory / "lock")
        give_to_owner(directory / "lock", directory)
    try:
        restoring = RestoringDir(directory)
        if restoring.is_moving:
            with operator_errors(directory):
                restoring.finish_moves()
        if not to_restore:
            _refuse_half_restored(directory)
        yield directory
    finally:
        lock.release()


@contextlib.contextmanager
def hold_if_stopped(directory: Path) -> Iterator[bool]:
    """Keep servers from starting during the block; False, and nothing is held, when one is running."""
    path = directory / "lock"
    # Where no server ever ran there is no file, and a command that root runs must not be the one to make it.
    if not path.exists():
        yield True
        return
    try:
        lock = DirectoryLock(path)
    except OperatorError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def make_data_dir(path: Path) -> Path:
    """The directory as an absolute path, made if need be. Raises OperatorError."""
    directory = _make(path)
    _refuse_half_restored(directory)
    return directory


def _refuse_half_restored(directory: Path) -> None:
    """Raise OperatorError where a new library would come in the way of one that is being restored."""
    refuse_unfinished_restore(directory)
    restoring = RestoringDir(directory)
    if restoring.root.is_dir() and not (directory / DATABASE_NAME).exists():
        raise OperatorError(
            f"A restore into {directory} has not ended. Run `imgpro-lite restore` again, which goes on where it was; "
            f"or remove {restoring.root} to begin with a new library."
        )


def refuse_unfinished_restore(directory: Path) -> None:
    """Raise OperatorError where one library is about to take the place of another, and may have done so in part."""
    if RestoringDir(directory).is_moving:
        raise OperatorError(
            f"A restore into {directory.absolute()} was interrupted at its end, when all of it was copied. Start the "
            "server, or run `imgpro-lite restore` again: each finishes it. Nothing else is done before."
        )


def _make(path: Path) -> Path:
    directory = path.absolute()
    with operator_errors(directory):
        # For its owner only: other users of the machine have no business with private images.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def mark_running(directory: Path, is_clean: Callable[[], bool]) -> Iterator[bool]:
    """Leave a mark that only a clean end takes away, by then. True when an earlier run did not end cleanly."""
    mark = directory / "running"
    with operator_errors(directory):
        crashed = mark.exists()
        mark.touch()
    yield crashed
    if is_clean():
        mark.unlink(missing_ok=True)


def is_running(directory: Path) -> bool:
    """Whether a server seems to be running on the directory; also true after one has crashed."""
    return (directory / "running").exists()


class Exposed(NamedTuple):
    """What other users of the machine may read, and the mode with which they may not."""

    path: Path
    mode: int
    private_mode: int


def list_exposed(directory: Path) -> list[Exposed]:
    """The directory, when anybody may look into it, and the secret, when even only its group may. Windows has no modes.

    A group may be let in: a web server that sends the files, for example.
    """
    if sys.platform == "win32":
        return []
    unwanted = {directory: stat.S_IRWXO, directory / SECRET_NAME: stat.S_IRWXG | stat.S_IRWXO}
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in unwanted if path.exists()}
    return [Exposed(path, mode, mode & ~unwanted[path]) for path, mode in modes.items() if mode & unwanted[path]]


def load_secrets(directory: Path) -> list[Secret]:
    """The secrets that sign links, oldest first; the first is made at the first start. Raises OperatorError."""
    with operator_errors(directory):
        if not (directory / SECRET_NAME).exists():
            _write_secrets(directory, [_new_secret()])
    return read_secrets(directory)


def read_secrets(directory: Path) -> list[Secret]:
    """The secrets as the file has them: one a line, with when it was retired, and the one in use last.

    Raises OperatorError.
    """
    path = directory / SECRET_NAME
    with operator_errors(directory):
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    found = []
    for words in filter(None, lines):
        match words:
            case [text]:
                found.append(Secret(text))
            case [text, "retired", at] if at.isascii() and at.isdigit():
                found.append(Secret(text, int(at)))
            case _:
                raise OperatorError(f"The file {path} is not as imgpro-lite writes it. Restore it from a backup.")
    if not found:
        raise OperatorError(f"The file {path} is empty. Restore it from a backup, or delete it to get a new secret.")
    return [*found[:-1], replace(found[-1], retired_at=None)]


def rotate_secrets(directory: Path, now: int, *, forget_old: bool) -> list[Secret]:
    """Sign with a new secret from now on: all that are in force, the new one last. Raises OperatorError.

    Older ones stay until the last link that they signed has ended, unless they are to be forgotten. Called inside a
    write transaction, so that two commands at the same time take turns.
    """
    known = load_secrets(directory)
    retired = [replace(secret, retired_at=now) if secret.retired_at is None else secret for secret in known]
    kept = [] if forget_old else [secret for secret in retired if secret.is_in_force(now)]
    rotated = [*kept, _new_secret()]
    with operator_errors(directory):
        _write_secrets(directory, rotated)
    return rotated


def find_secrets_version(directory: Path) -> tuple[int, int] | None:
    """Something that changes with the file of the secrets; None while there is no such file."""
    try:
        status = (directory / SECRET_NAME).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _new_secret() -> Secret:
    return Secret(secrets.token_hex(SECRET_BYTES))


def _write_secrets(directory: Path, stored: list[Secret]) -> None:
    """Replace the file, whole or not at all, readable by its owner only."""
    path, temporary = directory / SECRET_NAME, directory / f"{SECRET_NAME}.new"
    temporary.unlink(missing_ok=True)  # a crash left it
    lines = [
        secret.text if secret.retired_at is None else f"{secret.text} retired {secret.retired_at}" for secret in stored
    ]
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        keep_owner(descriptor, path)
        file.write("\n".join([*lines, ""]))
        file.flush()
        sync_file(descriptor)
    reached("secrets.written")
    temporary.replace(path)
    reached("secrets.renamed")
    sync_directory(directory)


@contextlib.contextmanager
def operator_errors(directory: Path) -> Iterator[None]:
    """Tell in words what keeps the directory from being used."""
    try:
        yield
    except OSError as error:
        if error.errno in StorageFull.ERRNOS:
            raise OperatorError(f"The disk of {directory} is full; make room first.") from error
        raise OperatorError(
            f"The data directory {directory} cannot be used: {error.strerror}. It must be a directory that the user "
            "running imgpro-lite may write to; choose another with --data-dir."
        ) from error
