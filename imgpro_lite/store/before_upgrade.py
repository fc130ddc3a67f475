"""A copy of the database as it was before this version changes it, so that one can go back to the older version."""

import contextlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.files import free_bytes, give_to_owner, sync_directory, sync_file
from imgpro_lite.store.sqlite_snapshot import copy_beside_writers

FOLDER_NAME = "before-upgrade"
KEPT_COPIES = 2
# Names the copies of an upgrade that has not ended. One that fails is tried again at each start: each try replaces
# those of the tries before, and only these, or a few of them would push out the copies of earlier upgrades.
_TRIED_NAME = "tried"
# Beside the copy itself: for the migrations, which write what they change to the log first.
LEFT_FREE_BYTES = 1024 * 1024
_BYTES_PER_MB = 1024 * 1024


def keep_copy(conn: sqlite3.Connection, path: Path, now: int) -> None:
    """Write what is committed to `before-upgrade/` beside the database, durably, unless there is nothing in it yet.

    Called inside the write transaction of the first migration, so that of several processes only one does it. Raises
    OperatorError where there is no room, or the disk fails; then nothing was changed.
    """
    if not path.name or not _is_in_use(conn):  # a database in memory has no path
        return
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    day = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H%M%SZ")
    target = path.parent / FOLDER_NAME / f"{path.stem}-{version}-{day}{path.suffix}"
    try:
        _require_room(path)
        tried = _list_tried(path.parent, f"{path.stem}-{version}-")
        _write(path, target, [*tried, target.name])
        _remove_old(target, tried)
    except OSError as error:
        what = "the disk is full" if error.errno in StorageFull.ERRNOS else str(error.strerror)
        raise _refusal(path, what) from error
    except sqlite3.Error as error:
        raise _refusal(path, str(error)) from error


def _is_in_use(conn: sqlite3.Connection) -> bool:
    """Whether there is an image, or a team besides that of anonymous images."""
    row = conn.execute("SELECT EXISTS (SELECT 1 FROM media) OR (SELECT count(*) FROM teams) > 1").fetchone()
    return bool(row[0])


def _require_room(path: Path) -> None:
    needed_bytes = sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()) + LEFT_FREE_BYTES
    free = free_bytes(path.parent)
    if free < needed_bytes:
        what = f"{needed_bytes / _BYTES_PER_MB:,.1f} MB are needed, and {free / _BYTES_PER_MB:,.1f} MB are free"
        raise _refusal(path, what)


def _write(path: Path, target: Path, tried: list[str]) -> None:
    folder = target.parent
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        give_to_owner(folder, path.parent)
    draft = folder / f".{target.name}.new"
    draft.unlink(missing_ok=True)
    try:
        # Another connection sees what was committed before this transaction.
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            copy_beside_writers(reader, draft, lambda _copied_bytes: None)
        with draft.open("rb+") as file:
            sync_file(file.fileno())
        give_to_owner(draft, path.parent)
        reached("upgrade.copied")
        _write_tried(folder, tried)
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_directory(folder)
    sync_directory(path.parent)
    reached("upgrade.kept")


def end_upgrade(path: Path) -> None:
    """Take note that the migrations are committed: the copy stays until newer upgrades push it out."""
    with contextlib.suppress(OSError):  # then a next try at this version, after going back, replaces it
        (path.parent / FOLDER_NAME / _TRIED_NAME).unlink(missing_ok=True)


def _remove_old(target: Path, tried: list[str]) -> None:
    """Keep the newest ones, the new one among them, and nothing that a crash or a failed try has left."""
    folder = target.parent
    others = [path for path in folder.glob("*.db") if path != target and path.name not in tried]
    old = sorted(others, key=lambda path: path.stat().st_mtime_ns)[: max(len(others) - KEPT_COPIES + 1, 0)]
    failed = [folder / name for name in tried if name != target.name]
    for path in [*failed, *old, *folder.glob(".*.new")]:
        path.unlink(missing_ok=True)


def _list_tried(directory: Path, prefix: str) -> list[str]:
    """The names of the copies that tries of this upgrade have made; none where the last upgrade has ended."""
    try:
        names = (directory / FOLDER_NAME / _TRIED_NAME).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    return [name for name in names if name.startswith(prefix) and "/" not in name]


def _write_tried(folder: Path, names: list[str]) -> None:
    draft = folder / f".{_TRIED_NAME}.new"
    draft.write_text("\n".join(names), encoding="utf-8")
    give_to_owner(draft, folder)
    draft.replace(folder / _TRIED_NAME)


def _refusal(path: Path, what: str) -> OperatorError:
    return OperatorError(
        f"Before this version changes the database, it keeps a copy of it in {path.parent / FOLDER_NAME}, and cannot: "
        f"{what}. Make room there, or go on with the older version. Nothing was changed."
    )
