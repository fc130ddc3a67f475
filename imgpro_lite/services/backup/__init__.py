"""Backups of a library: made beside a running server, verified, and restored.

    making      the database first, then the files that are not there yet; the backup gets its name last
    verifying   whether everything that is needed is there as it was copied
    restoring   into `restoring/` in the data directory, and at the end to its place

All of them tell problems as `fsck` does, and the words for what a disk does are in `disks`.
"""
