"""Named places in the code at which tests make a process die, or a disk fail.

IMGPRO_TEST_FAILPOINTS names them, with what is to happen: `upload.inserted=kill` ends the process at once, as SIGKILL
does, and `blob.renamed=error` fails with EIO, each time. Several are separated by commas. It is for tests: the
server says in its log that it is set. Whoever can set it could as well stop the process.
"""

import errno
import os
import signal
from collections.abc import Callable, Mapping

VARIABLE = "IMGPRO_TEST_FAILPOINTS"

# In the order in which what they belong to is done.
POINTS = (
    # An upload, and what is kept of it for its variants.
    "upload.written",  # all bytes are in the temporary file
    "upload.synced",  # and on the disk
    "upload.begun",  # the transaction has begun
    "upload.charged",
    "blob.sync",  # before each sync of a directory
    "blob.renamed",
    "blob.durable",  # and its directory entries are on the disk
    "upload.inserted",
    "upload.committed",  # but not answered yet
    # Deleting, by id and by namespace.
    "delete.marked",
    "delete.committed",
    "delete.step",  # some of a namespace
    # The sweep.
    "sweep.marked",  # as expired, not committed
    "sweep.rows_deleted",
    "sweep.rows_committed",
    "sweep.variants_removed",
    "blob.purged",
    "sweep.unlisted",  # the hashes whose files are gone, not committed
    "sweep.files_committed",
    "orphans.set_aside",
    # Manifests.
    "manifests.written",  # under other names
    "manifests.renamed",
    "manifests.committed",  # that they are not due any more
    # A variant.
    "cache.made",  # its temporary file is whole
    "cache.renamed",
    # Migrations, each with these.
    "migration.begun",
    "migration.applied",
    "migration.versioned",  # not committed
    "migration.committed",
    # Secrets of links, in the server's first start and in `secrets rotate`.
    "secrets.written",
    "secrets.renamed",
    # Mail.
    "mail.noted",  # the attempt
    "outbox.written",
    "outbox.renamed",
    "mail.sent",  # still queued
    # In dev mode: a snapshot, and going back to one.
    "snapshot.copied",  # the database
    "snapshot.written",  # all of it, under another name
    "restore.begun",  # its files are there
    "restore.replaced",  # the database
    "restore.purged",  # what it does not know
    # A backup.
    "backup.database",  # is copied
    "copy.written",  # a stored file, under a temporary name; also when a backup is restored
    "copy.renamed",
    "backup.files",  # all of them
    "backup.published",
    "backup.pruned",  # older ones, whose files are still there
    # Restoring one.
    "restoring.ready",  # everything is there, under another name
    "restoring.moved_out",  # what was there before
    "restoring.moved_in",
    # The copy that is kept before migrations.
    "upgrade.copied",  # under a temporary name
    "upgrade.kept",
)


def reached(point: str) -> None:
    """Go on, unless this point is armed: then die, or raise OSError. Costs 40 ns otherwise."""
    if _armed and point in _armed:
        _armed[point]()


def armed() -> list[str]:
    """The points at which something happens in this process."""
    return sorted(_armed)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


_ACTIONS = {"kill": _kill, "error": _fail}


def _parse(text: str) -> Mapping[str, Callable[[], None]]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    for point, _, action in pairs:
        if point not in POINTS or action not in _ACTIONS:
            raise ValueError(f"{VARIABLE}: {point}={action} is not a known point with kill or error")
    return {point: _ACTIONS[action] for point, _, action in pairs}


_armed = _parse(os.environ.get(VARIABLE, ""))  # read once, so that a point that is not armed costs nothing
