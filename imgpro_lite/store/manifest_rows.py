"""SQL of the manifests: which are out of date, and what is to be in them. One function per query.

Each has a line for each of its rows, and a name: `images/12` is of the images with a seq from 12 * 64 on, `teams/7` of
the team with this id, so that damage to a file costs the keys of one team at most, `blocked/9f` of the hashes that
begin so, and `library` of the one row of that. SQLite writes the JSON of a row, as bytes: a text that a failing disk
has damaged then harms nothing but itself. Tags and metadata are in it as texts, so that a rebuilt database has them to
the byte.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

VERSION = 1
LIBRARY = "library"
# Images of a manifest; the triggers have it too. Many uploads in a second then share one file, and so one wait for the
# disk (a file for each image took four times the processor time, and a million inodes), and one change writes 50 KB.
GROUP = 64

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
_LIBRARY = f"CAST(json_object({_head(LIBRARY)}) AS BLOB)"

_ALL_BUT_IMAGES = (
    "SELECT 'teams/' || id FROM teams UNION ALL "
    "SELECT DISTINCT 'blocked/' || lower(substr(hex(sha256), 1, 2)) FROM blocked_blobs "
    f"UNION ALL SELECT '{LIBRARY}'"
)


class Due(NamedTuple):
    """A manifest that is out of date."""

    name: str
    changes: int
    """How often it was noted."""
    lines: list[bytes]
    """What is to be in it, a JSON object for each row; without any there is to be none."""


class State(NamedTuple):
    """What the manifests were written from."""

    line: str
    """16 hexadecimal digits: one database, through time. One that takes the place of another begins a new line."""
    batches: int
    """How often they were written since."""


class Backlog(NamedTuple):
    """Manifests of images that are to be compared with them, one after the other."""

    next_number: int
    last_number: int


def read_lines(conn: sqlite3.Connection, name: str) -> list[bytes]:
    """What is to be in a manifest. Raises ValueError for what is no name."""
    kind, _, subject = name.partition("/")
    if kind == LIBRARY:
        rows = conn.execute(f"SELECT {_LIBRARY}")
    elif kind == "blocked":
        rows = conn.execute(
            f"SELECT {_BLOCKED} FROM blocked_blobs WHERE lower(substr(hex(sha256), 1, 2)) = ? ORDER BY sha256",
            (subject,),
        )
    elif kind == "teams":
        rows = conn.execute(f"SELECT {_TEAM} FROM teams WHERE id = ?", (int(subject),))
    else:
        first = int(subject) * GROUP
        rows = conn.execute(
            f"SELECT {_IMAGE} FROM media WHERE seq >= ? AND seq < ? ORDER BY seq", (first, first + GROUP)
        )
    return [line for (line,) in rows]


def list_due(conn: sqlite3.Connection, after: str, limit: int) -> list[Due]:
    """Some of those that were noted, by name."""
    rows = conn.execute("SELECT name, changes FROM manifests_due WHERE name > ? ORDER BY name LIMIT ?", (after, limit))
    return [Due(name, changes, read_lines(conn, name)) for name, changes in rows.fetchall()]


def delete_due(conn: sqlite3.Connection, done: Iterable[Due]) -> State:
    """Take back the notes of these, but for those that were noted again since: the state that is on the disk by now."""
    conn.executemany(
        "DELETE FROM manifests_due WHERE name = ? AND changes = ?", [(due.name, due.changes) for due in done]
    )
    conn.execute("UPDATE manifest_state SET batches = batches + 1")
    return get_state(conn)


def get_state(conn: sqlite3.Connection) -> State:
    """What the manifests are to have been written from."""
    return State(*conn.execute("SELECT line, batches FROM manifest_state").fetchone())


def update_state(conn: sqlite3.Connection, state: State) -> None:
    """Have it be the one that the manifests on the disk were written from."""
    conn.execute("UPDATE manifest_state SET line = ?, batches = ?", state)


def begin_line(conn: sqlite3.Connection) -> None:
    """Begin a new line."""
    conn.execute("UPDATE manifest_state SET line = lower(hex(randomblob(8))), batches = 0")


def insert_due(conn: sqlite3.Connection, name: str) -> None:
    """Note that a manifest is out of date."""
    conn.execute("INSERT INTO manifests_due (name) VALUES (?) ON CONFLICT DO UPDATE SET changes = changes + 1", (name,))


def insert_all_due(conn: sqlite3.Connection) -> None:
    """Note every manifest: they were lost, or are those of another database."""
    conn.execute("DELETE FROM manifest_backlog")
    conn.execute(
        f"INSERT INTO manifest_backlog SELECT 1, min(seq) / {GROUP}, max(seq) / {GROUP} FROM media HAVING count(*) > 0"
    )
    for (name,) in conn.execute(_ALL_BUT_IMAGES).fetchall():
        insert_due(conn, name)


def delete_all_due(conn: sqlite3.Connection) -> None:
    """Forget every note."""
    conn.execute("DELETE FROM manifests_due")


def find_backlog(conn: sqlite3.Connection) -> Backlog | None:
    """The manifests of images that are still to be compared."""
    row = conn.execute("SELECT next_number, last_number FROM manifest_backlog").fetchone()
    return Backlog(*row) if row else None


def update_backlog(conn: sqlite3.Connection, before: Backlog, next_number: int) -> None:
    """Go on behind those that were compared. A backlog that was begun anew meanwhile stays as it is."""
    conn.execute(
        "UPDATE manifest_backlog SET next_number = ? WHERE (next_number, last_number) = (?, ?)", (next_number, *before)
    )
    conn.execute("DELETE FROM manifest_backlog WHERE next_number > last_number")


def find_number(conn: sqlite3.Connection, first_number: int) -> int | None:
    """The number of the next manifest of images, from this one on; None behind the last."""
    row = conn.execute(
        f"SELECT seq / {GROUP} FROM media WHERE seq >= ? ORDER BY seq LIMIT 1", (first_number * GROUP,)
    ).fetchone()
    return row and int(row[0])


def has_rows(conn: sqlite3.Connection, name: str) -> bool:
    """Whether there is to be a manifest of this name."""
    kind, _, subject = name.partition("/")
    return find_number(conn, int(subject)) == int(subject) if kind == "images" else bool(read_lines(conn, name))


def list_others(conn: sqlite3.Connection) -> list[str]:
    """The names of all manifests but those of images."""
    return [name for (name,) in conn.execute(_ALL_BUT_IMAGES)]


def is_due(conn: sqlite3.Connection, name: str) -> bool:
    """Whether it is known that a manifest is out of date."""
    row = conn.execute(
        "SELECT EXISTS (SELECT 1 FROM manifests_due WHERE name = :name) OR EXISTS (SELECT 1 FROM manifest_backlog "
        "WHERE :name LIKE 'images/%' AND CAST(substr(:name, 8) AS INTEGER) BETWEEN next_number AND last_number)",
        {"name": name},
    ).fetchone()
    return bool(row[0])
