"""SQL of the manifests: which are out of date, and what is to be in them. One function per query.

A manifest has a name: `images/<id>`, `teams/<hash>`, `blocked/<sha256>` or `library`. SQLite writes its JSON, as bytes:
a text that a failing disk has damaged then harms nothing but itself. Tags and metadata are in it as texts, so that a
rebuilt database has them to the byte.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

VERSION = 1
LIBRARY = "library"

# Every column of these tables, but for references (written as hashes) and what triggers or SQLite itself work out.
IMAGE_COLUMNS = (
    "id",
    "seq",
    "team_hash",
    "format",
    "width_px",
    "height_px",
    "frames",
    "has_alpha",
    "filesize_bytes",
    "name",
    "namespace",
    "tags",
    "public",
    "external_id",
    "metadata",
    "date_at",
    "created_at",
    "ttl_expires_at",
    "retention_expires_at",
    "deleted_at",
)
TEAM_COLUMNS = (
    "id",
    "hash",
    "kind",
    "email",
    "plan",
    "registration_closed",
    "created_at",
    "uploads_month",
    "uploads_used",
)
KEY_COLUMNS = ("key_id", "name", "can_read", "can_write", "created_at", "created_from", "revoked_at")


def _pairs(columns: Iterable[str]) -> str:
    return ", ".join(f"'{column}', {column}" for column in columns)


def _head(manifest: str) -> str:
    return f"'manifest', '{manifest}', 'version', {VERSION}, 'library', (SELECT id FROM library)"


_IMAGE = (
    f"CAST(json_object({_head('image')}, 'sha256', lower(hex(sha256)), "
    "'team', (SELECT hash FROM teams WHERE teams.id = team_id), 'anonymous', team_id = 1, "
    f"{_pairs(IMAGE_COLUMNS)}) AS BLOB)"
)
_KEY = f"json_object('secret_sha256', lower(hex(secret_sha256)), {_pairs(KEY_COLUMNS)})"
_TEAM = (
    f"CAST(json_object({_head('team')}, {_pairs(TEAM_COLUMNS)}, 'keys', json((SELECT json_group_array(json(value)) "
    f"FROM (SELECT {_KEY} AS value FROM api_keys WHERE team_id = teams.id AND session_ends_at IS NULL "
    "ORDER BY created_at, key_id)))) AS BLOB)"
)
_BLOCKED = f"CAST(json_object({_head('blocked')}, 'sha256', lower(hex(sha256)), 'blocked_at', blocked_at) AS BLOB)"

# By the part of the name before the slash; the other part is the parameter.
_CONTENT = {
    "images": f"SELECT {_IMAGE} FROM media WHERE id = ?",
    "teams": f"SELECT {_TEAM} FROM teams WHERE hash = ?",
    "blocked": f"SELECT {_BLOCKED} FROM blocked_blobs WHERE sha256 = ?",
    LIBRARY: f"SELECT CAST(json_object({_head('library')}) AS BLOB) WHERE ? = ''",
}
_ALL_BUT_IMAGES = (
    "SELECT 'teams/' || hash FROM teams UNION ALL SELECT 'blocked/' || lower(hex(sha256)) FROM blocked_blobs "
    f"UNION ALL SELECT '{LIBRARY}'"
)


class Due(NamedTuple):
    """A manifest that is out of date."""

    name: str
    changes: int
    """How often it was noted; 0 for one of the backlog."""
    content: bytes | None
    """What is to be in it; None when there is to be none."""


class Backlog(NamedTuple):
    """Images that are to be looked at one after the other, by their place in the order of insertion."""

    next_seq: int
    last_seq: int


def read_content(conn: sqlite3.Connection, name: str) -> bytes | None:
    """What is to be in a manifest, None when there is to be none, or for a name that is none."""
    kind, _, subject = name.partition("/")
    if kind not in _CONTENT:
        return None
    parameter: str | bytes = subject
    if kind == "blocked":
        try:
            parameter = bytes.fromhex(subject)
        except ValueError:
            return None
    row = conn.execute(_CONTENT[kind], (parameter,)).fetchone()
    return row and bytes(row[0])


def list_due(conn: sqlite3.Connection, after: str, limit: int) -> list[Due]:
    """Some of those that were noted, by name."""
    rows = conn.execute("SELECT name, changes FROM manifests_due WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [Due(name, changes, read_content(conn, name)) for name, changes in rows.fetchall()]


def delete_due(conn: sqlite3.Connection, done: Iterable[Due]) -> None:
    """Take back the notes of these, but for those that were noted again since."""
    conn.executemany(
        "DELETE FROM manifests_due WHERE name = ? AND changes = ?", [(due.name, due.changes) for due in done]
    )


def insert_due(conn: sqlite3.Connection, name: str) -> None:
    """Note that a manifest is out of date."""
    conn.execute("INSERT INTO manifests_due (name) VALUES (?) ON CONFLICT DO UPDATE SET changes = changes + 1", (name,))


def insert_all_due(conn: sqlite3.Connection) -> None:
    """Note every manifest: they were lost, or are those of another database."""
    conn.execute("DELETE FROM manifest_backlog")
    conn.execute("INSERT INTO manifest_backlog SELECT 1, min(seq), max(seq) FROM media HAVING count(*) > 0")
    for (name,) in conn.execute(_ALL_BUT_IMAGES).fetchall():
        insert_due(conn, name)


def delete_all_due(conn: sqlite3.Connection) -> None:
    """Forget every note."""
    conn.execute("DELETE FROM manifests_due")


def find_backlog(conn: sqlite3.Connection) -> Backlog | None:
    """The images that are still to be looked at."""
    row = conn.execute("SELECT next_seq, last_seq FROM manifest_backlog").fetchone()
    return Backlog(*row) if row else None


def update_backlog(conn: sqlite3.Connection, before: Backlog, next_seq: int) -> None:
    """Go on behind the images that were looked at. A backlog that was begun anew meanwhile stays as it is."""
    conn.execute("UPDATE manifest_backlog SET next_seq = ? WHERE (next_seq, last_seq) = (?, ?)", (next_seq, *before))
    conn.execute("DELETE FROM manifest_backlog WHERE next_seq > last_seq")


def list_images(conn: sqlite3.Connection, first_seq: int, last_seq: int, limit: int) -> list[tuple[int, str, bytes]]:
    """Images of this range in the order of insertion: their place, the name of the manifest, and its content."""
    rows = conn.execute(
        f"SELECT seq, 'images/' || id, {_IMAGE} FROM media WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
        (first_seq, last_seq, limit),
    )
    return rows.fetchall()


def list_others(conn: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """The names of all manifests but those of images, in their order."""
    rows = conn.execute(
        f"WITH names (name) AS ({_ALL_BUT_IMAGES}) SELECT name FROM names WHERE name > ? ORDER BY name LIMIT ?",
        (after, limit),
    )
    return [name for (name,) in rows]


def is_due(conn: sqlite3.Connection, name: str) -> bool:
    """Whether it is known that a manifest is out of date."""
    row = conn.execute(
        "SELECT EXISTS (SELECT 1 FROM manifests_due WHERE name = :name) OR EXISTS ("
        "SELECT 1 FROM media, manifest_backlog WHERE 'images/' || media.id = :name AND media.id = substr(:name, 8) "
        "AND seq BETWEEN next_seq AND last_seq)",
        {"name": name},
    ).fetchone()
    return bool(row[0])
