"""Who may read and write what."""

import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.store.data_dir import list_exposed
from imgpro_lite.store.machine import find_mount

# What the configuration file may have that others must not know, by table and key.
_SECRET_SETTINGS = (("mail", "password"), ("metrics", "token"))

_OR_ELSE = "or put the secrets into the service's environment, like /etc/imgpro-lite/environment of the systemd unit."


def check_access(directory: Path, config_path: Path | None) -> list[Finding]:
    """What there is to say of the data directory and the configuration file."""
    found = [*_user(), *_config_file(config_path, directory)]
    try:
        found += _data_dir(directory)
    except OSError as error:
        found.append(_unusable(directory, f"{error.strerror}: {error.filename}"))
    return found or [Finding(Level.OK, Area.ACCESS, "Files and directories are this user's, and private.")]


def _user() -> Iterator[Finding]:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield Finding(
            Level.WARNING,
            Area.ACCESS,
            "This runs as root.",
            "If the server does too, whoever finds a hole in it has the whole machine.",
            "Run it as a user of its own.",
        )


def _data_dir(directory: Path) -> Iterator[Finding]:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return
    if not directory.is_dir():
        yield _unusable(directory, "it is no directory")
        return
    mount = find_mount(directory)
    # Of a file system that nobody may write to, the section about the disk tells.
    needed = os.R_OK | os.X_OK | (0 if mount and mount.is_read_only else os.W_OK)
    if not os.access(directory, needed):
        yield _unusable(directory, f"user {_own_uid()} may not read and write it, and it belongs to {status.st_uid}")
        return
    for found in list_exposed(directory):
        yield Finding(
            Level.WARNING,
            Area.ACCESS,
            f"Other users of this machine may read {found.path} (mode {found.mode:o}).",
            "They see private images, e-mail addresses, or what signs links.",
            f"Make it private: chmod {found.private_mode:o} {found.path}",
        )
    if sys.platform != "win32":
        yield from _owners(directory, status.st_uid)


def _owners(directory: Path, owner: int) -> Iterator[Finding]:
    strange = sorted(path.name for path in directory.iterdir() if path.lstat().st_uid != owner)
    if strange:
        yield Finding(
            Level.WARNING,
            Area.ACCESS,
            f"In {directory}, which belongs to user {owner}, these belong to others: {', '.join(strange)}.",
            "The server may not be able to write them.",
            f"chown -R {owner} {directory}",
        )


def _unusable(directory: Path, reason: str) -> Finding:
    return Finding(
        Level.FAILURE,
        Area.ACCESS,
        f"The data directory {directory} cannot be used: {reason}.",
        "No server starts on it as this user.",
        "Run this as the user that the server runs as, or name another directory with --data-dir.",
    )


def _own_uid() -> int | str:
    return os.geteuid() if hasattr(os, "geteuid") else "of this process"


def _config_file(path: Path | None, directory: Path) -> Iterator[Finding]:
    if path is None or sys.platform == "win32":
        return
    try:
        status = path.stat()
        tables = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):  # then it was not read either
        return
    secret = [f"[{table}] {key}" for table, key in _SECRET_SETTINGS if tables.get(table, {}).get(key)]
    mode = stat.S_IMODE(status.st_mode)
    if secret and mode & stat.S_IROTH:
        yield Finding(
            Level.WARNING,
            Area.ACCESS,
            f"Other users of this machine may read {path} (mode {mode:o}), which has {' and '.join(secret)}.",
            "They could send mail in your name, or read the metrics.",
            _how_to_hide(path, status, directory),
        )


def _how_to_hide(path: Path, status: os.stat_result, directory: Path) -> str:
    """Commands after which the server can still read the file, which need not be its user's."""
    private = f"chmod {stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO | stat.S_IRGRP:o} {path}"
    try:
        owner = directory.stat().st_uid
        group = _group_of(owner)
    except (OSError, KeyError):  # no library yet, or a user that has no entry, as in a container
        return f"chgrp GROUP {path} && {private}, where GROUP is that of the server's user; {_OR_ELSE}"
    if status.st_uid == owner:
        return f"chmod {stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO:o} {path}"
    return f"chgrp {group} {path} && {private}; {_OR_ELSE}"


def _group_of(user: int) -> str:
    """The name of a user's own group. Raises KeyError."""
    import grp
    import pwd

    return grp.getgrgid(pwd.getpwuid(user).pw_gid).gr_name
