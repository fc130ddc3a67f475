"""SQL that puts rows back as manifests have them. One function per query; the first argument is the connection.

Each raises sqlite3.IntegrityError for a row that the rules of the database do not allow beside those that it has.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

from imgpro_lite.models import ANONYMOUS_TEAM_ID
from imgpro_lite.store.manifest_rows import IMAGE_COLUMNS, KEY_COLUMNS, TEAM_COLUMNS


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{column}' for column in columns)})"


_IMAGE = _insert("media", (*IMAGE_COLUMNS, "team_id", "sha256"))
_TEAM = _insert("teams", TEAM_COLUMNS)
_KEY = _insert("api_keys", (*KEY_COLUMNS, "team_id", "secret_sha256"))
_ANONYMOUS = f"UPDATE teams SET {', '.join(f'{name} = :{name}' for name in TEAM_COLUMNS if name != 'id')} WHERE id = 1"


def update_library_id(conn: sqlite3.Connection, id_: str) -> None:
    """Give the library the name that it had."""
    conn.execute("UPDATE library SET id = ?", (id_,))


def update_anonymous_team(conn: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Have the team of what is uploaded without a key be as it was."""
    conn.execute(_ANONYMOUS, values)


def update_anonymous_hash(conn: sqlite3.Connection, hash_: str) -> None:
    """Give it the hash that it had."""
    conn.execute("UPDATE teams SET hash = ? WHERE id = ?", (hash_, ANONYMOUS_TEAM_ID))


def insert_team(conn: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """A team with the columns of TEAM_COLUMNS: its id, a new one where that is None."""
    team_id = conn.execute(_TEAM, values).lastrowid
    assert team_id is not None
    return team_id


def find_team_id(conn: sqlite3.Connection, hash_: str) -> int | None:
    """A team by its hash."""
    row = conn.execute("SELECT id FROM teams WHERE hash = ?", (hash_,)).fetchone()
    return row and int(row[0])


def insert_key(conn: sqlite3.Connection, team_id: int, secret_sha256: bytes, values: Mapping[str, Any]) -> None:
    """A key with the columns of KEY_COLUMNS."""
    conn.execute(_KEY, {**values, "team_id": team_id, "secret_sha256": secret_sha256})


def insert_image(conn: sqlite3.Connection, team_id: int, sha256: bytes, values: Mapping[str, Any]) -> None:
    """An image with the columns of IMAGE_COLUMNS, behind all others where its seq is None. Triggers count it."""
    conn.execute(_IMAGE, {**values, "team_id": team_id, "sha256": sha256})


def has_image(conn: sqlite3.Connection, media_id: str) -> bool:
    """Whether there is an image of this id, deleted or not."""
    return conn.execute("SELECT 1 FROM media WHERE id = ?", (media_id,)).fetchone() is not None
