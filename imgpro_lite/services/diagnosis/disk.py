"""The disk of the data directory: room, kind, and whether it does what an upload needs."""

import os
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.store.blobs import MIN_FREE_INODES
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.files import can_rename, free_bytes, total_bytes
from imgpro_lite.store.machine import Mount, find_mount, free_inodes, try_writing

# Where locks and shared memory are not what SQLite's log needs (sqlite.org/wal.html: "does not work over a network
# filesystem").
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "ceph", "fuse.glusterfs"}
    | {"afs", "ncpfs", "virtiofs", "fuse.davfs2"}
)
_TYPES_WITHOUT_OWNERS = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"})

# One commit waits for a sync, and uploads take turns: at 50 ms there are 20 in a second.
SLOW_SYNC_SECONDS = 0.05
LOW_INODES_SHARE = 0.05


def check_disk(settings: Settings) -> list[Finding]:
    """What there is to say of the disk; of the nearest directory above where there is no library yet."""
    directory = settings.data_dir.absolute()
    try:
        existing = next(path for path in (directory, *directory.parents) if path.is_dir())
        return list(_findings(settings, directory, existing))
    except OSError as error:
        what = f"The disk of {directory} cannot be looked at: {error.strerror}."
        return [Finding(Level.NOTE, Area.DISK, what, "", "Run this as the user of the server.")]


def _findings(settings: Settings, directory: Path, existing: Path) -> Iterator[Finding]:
    is_to_be_seen = existing == directory and os.access(directory, os.X_OK)
    if existing != directory or (is_to_be_seen and not (directory / DATABASE_NAME).exists()):
        yield Finding(Level.NOTE, Area.DISK, f"There is no library in {directory} yet; `serve` makes it.")
    yield _room(settings, existing)
    yield from _caches(settings, existing)
    yield from _inodes(existing)
    mount = find_mount(existing)
    yield from _kind(mount)
    if existing == directory and not (mount and mount.is_read_only):  # of that, one failure is enough
        yield from _writing(directory)


def _room(settings: Settings, directory: Path) -> Finding:
    free_mb, total_mb = free_bytes(directory) // BYTES_PER_MB, total_bytes(directory) // BYTES_PER_MB
    mark_mb = settings.storage.min_free_mb
    what = f"{free_mb:,} of {total_mb:,} MB are free; uploads are refused below {mark_mb:,}."
    if free_mb < mark_mb:
        why = "Uploads and new variants are refused until there is room."
        return Finding(Level.FAILURE, Area.DISK, what, why, "Make room, or lower [storage] min_free_mb.")
    if free_mb < 2 * mark_mb:
        return Finding(Level.WARNING, Area.DISK, what, "Uploads will soon be refused.", "Make room, or a larger disk.")
    return Finding(Level.OK, Area.DISK, what)


def _caches(settings: Settings, directory: Path) -> Iterator[Finding]:
    cache_mb = settings.cache.max_mb + settings.cache.intermediates_mb
    total_mb = total_bytes(directory) // BYTES_PER_MB
    if cache_mb > total_mb:
        yield Finding(
            Level.WARNING,
            Area.DISK,
            f"[cache] max_mb and intermediates_mb are {cache_mb:,} MB; the whole disk has {total_mb:,}.",
            "The caches grow until the disk is full, and then uploads are refused.",
            "Leave them a part of the disk only.",
        )


def _inodes(directory: Path) -> Iterator[Finding]:
    inodes = free_inodes(directory)
    if inodes is None:
        return
    free, total = inodes
    if free < max(MIN_FREE_INODES, LOW_INODES_SHARE * total):
        level = Level.FAILURE if free < MIN_FREE_INODES else Level.WARNING
        what = f"Only {free:,} of {total:,} files (inodes) can still be made on this disk."
        yield Finding(level, Area.DISK, what, f"Uploads are refused below {MIN_FREE_INODES}.", "Remove files.")


def _kind(mount: Mount | None) -> Iterator[Finding]:
    if mount is None:
        yield Finding(Level.NOTE, Area.DISK, "What kind of file system it is, this system does not tell.")
        return
    where = f"The file system at {mount.path} is {mount.type}"
    if mount.is_read_only:
        yield Finding(
            Level.FAILURE, Area.DISK, f"{where}, mounted read-only.", "No server starts on it.", "Mount it rw."
        )
    if mount.type in _NETWORK_TYPES:
        why = "SQLite's log needs locks and shared memory that network file systems do not have: data may be lost."
        yield Finding(Level.WARNING, Area.DISK, f"{where}.", why, "Use a disk of this machine; back up to the network.")
    elif mount.type == "overlay":
        why = "What is stored in a container without a volume is gone with the container."
        yield Finding(Level.WARNING, Area.DISK, f"{where}.", why, "Mount a volume at the data directory.")
    elif mount.type in ("tmpfs", "ramfs"):
        why = "It is memory: everything is gone when the machine restarts."
        yield Finding(Level.WARNING, Area.DISK, f"{where}.", why, "Use a disk.")
    elif mount.type in _TYPES_WITHOUT_OWNERS:
        why = "It keeps no owners and modes, so other users of the machine may read everything."
        yield Finding(Level.WARNING, Area.DISK, f"{where}.", why, "Use ext4, XFS, Btrfs or ZFS.")
    elif not mount.is_read_only:
        yield Finding(Level.OK, Area.DISK, f"{where}.")


def _writing(directory: Path) -> Iterator[Finding]:
    temporary, blobs = directory / "tmp", directory / "blobs"
    if not temporary.is_dir() or not blobs.is_dir():
        return
    try:
        seconds = try_writing(temporary)
        is_one_disk = can_rename(temporary, blobs)
    except OSError as error:
        what = f"Nothing can be written in {temporary}: {error.strerror}."
        yield Finding(Level.FAILURE, Area.DISK, what, "Nothing can be uploaded.", "Run this as the user of the server.")
        return
    if not is_one_disk:
        yield Finding(
            Level.FAILURE,
            Area.DISK,
            f"{blobs} and {temporary} are on different file systems, so that no upload can be stored.",
            "The server does not start.",
            f"Mount the disk at {directory} instead, with everything in it.",
        )
    what = f"Writing, syncing and renaming a file works, in {seconds * 1000:.1f} ms."
    if seconds > SLOW_SYNC_SECONDS:
        yield Finding(Level.NOTE, Area.DISK, what, "The disk is slow, or busy now: every upload waits for such a sync.")
    else:
        yield Finding(Level.OK, Area.DISK, what)
