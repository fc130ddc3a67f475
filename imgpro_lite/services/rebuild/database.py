"""The lost database: that it really is lost, and how the new one takes its place."""

from contextlib import closing
from pathlib import Path

from imgpro_lite.errors import OperatorError
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.files import give_to_owner, sync_directory, sync_file
from imgpro_lite.store.integrity import list_damage, schema_versions
from imgpro_lite.store.set_aside import set_aside
from imgpro_lite.store.sqlite_file import connect_file, database_errors, is_damaged

_MAGIC = b"SQLite format 3\0"
_PARTS = tuple(f"{DATABASE_NAME}{suffix}" for suffix in ("", "-wal", "-shm"))


def require_lost(data_dir: Path) -> str:
    """What has become of the database: missing, empty or damaged. Raises OperatorError for one that can be used."""
    path = data_dir / DATABASE_NAME
    if not path.exists():
        return "missing"
    if not path.stat().st_size:
        return "empty"
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:  # opened as a database, it could lose its log
            return "damaged"
    try:
        with database_errors(path), closing(connect_file(path)) as conn:
            if not schema_versions(conn)[0]:
                return "empty"
            damage = [found for found in list_damage(conn, quick=True) if not (found.is_row or found.index_name)]
    except OperatorError as error:
        if is_damaged(error.__cause__):
            return "damaged"
        raise
    if damage:
        return "damaged"
    raise OperatorError(
        f"There is a database in {data_dir} that can be read, so nothing has to be rebuilt; `imgpro-lite fsck` says "
        f"whether all is well. To rebuild it all the same, move {DATABASE_NAME} away first, with {DATABASE_NAME}-wal "
        f"and {DATABASE_NAME}-shm."
    )


def install(data_dir: Path, new: Path) -> list[Path]:
    """Put a new database in its place, durably. What is there of the old one is moved: where it is now.

    A crash leaves no database, or the new one.
    """
    _sync(new)
    give_to_owner(new, data_dir)
    # The log first: beside a new database it would be taken for that of the new one.
    old = [data_dir / name for name in reversed(_PARTS) if (data_dir / name).exists()]
    moved = [set_aside(data_dir, path) for path in old]
    sync_directory(data_dir)
    new.rename(data_dir / DATABASE_NAME)
    sync_directory(data_dir)
    return moved[::-1]


def _sync(path: Path) -> None:
    """Return when a file is on the disk."""
    with path.open("rb+") as file:
        sync_file(file.fileno())
