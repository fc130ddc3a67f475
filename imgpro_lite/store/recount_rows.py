"""SQL that counts again what the triggers of `schema/` keep, and puts it right. One function per query.

A `list_wrong_…` reads one state of the database. A `recount_…` reads what it counts inside its write transaction, so it
is right whatever happened since.
"""

import sqlite3
from typing import NamedTuple

# Told and repaired at once, so that memory stays bounded however many counts are wrong.
PAGE = 10_000


class WrongNamespace(NamedTuple):
    """A namespace with by how much its counts are too high."""

    team_id: int
    namespace: str
    images: int
    storage_bytes: int


class Place(NamedTuple):
    """A row of the index of tags."""

    tag_id: int
    sort_at: int
    seq: int


class WrongTag(NamedTuple):
    """A tag with the images that it is said to have, and that it has."""

    tag_id: int
    team_id: int
    name: str
    images: int
    counted: int


# An image of which the tags cannot be read is told on its own (integrity.py), and would end any query here.
_TAGS_OF_MEDIA = "json_each(iif(json_valid(media.tags), media.tags, '[]'))"


def list_wrong_storage(conn: sqlite3.Connection) -> list[tuple[int, int, int]]:
    """Teams whose storage is wrong: the team, the bytes it is said to have, and those it has."""
    rows = conn.execute(
        "SELECT teams.id, storage_bytes, coalesce(counted, 0) FROM teams LEFT JOIN "
        "(SELECT team_id, sum(filesize_bytes) AS counted FROM media WHERE deleted_at IS NULL GROUP BY team_id) "
        "ON team_id = teams.id WHERE storage_bytes <> coalesce(counted, 0) LIMIT ?",
        (PAGE,),
    )
    return rows.fetchall()


def recount_storage(conn: sqlite3.Connection, team_id: int) -> None:
    """Count a team's storage again."""
    conn.execute(
        "UPDATE teams SET storage_bytes = (SELECT coalesce(sum(filesize_bytes), 0) FROM media "
        "WHERE team_id = teams.id AND deleted_at IS NULL) WHERE id = ?",
        (team_id,),
    )


def find_wrong_total(conn: sqlite3.Connection) -> tuple[int, int] | None:
    """The bytes that unverified teams are said to store together, and those they store; None when that is right."""
    row = conn.execute(
        "SELECT kept, counted FROM "
        "(SELECT coalesce((SELECT unverified_storage_bytes FROM totals WHERE id = 1), -1) AS kept, "
        "(SELECT coalesce(sum(storage_bytes), 0) FROM teams WHERE kind = 'unverified') AS counted) "
        "WHERE kept <> counted"
    ).fetchone()
    return None if row is None else (row[0], row[1])


def recount_total(conn: sqlite3.Connection) -> None:
    """Count what unverified teams store together again."""
    conn.execute(
        "INSERT INTO totals SELECT 1, coalesce(sum(storage_bytes), 0) FROM teams WHERE kind = 'unverified' "
        "ON CONFLICT DO UPDATE SET unverified_storage_bytes = excluded.unverified_storage_bytes"
    )


def list_wrong_namespaces(conn: sqlite3.Connection) -> list[WrongNamespace]:
    """Namespaces whose counts are wrong, that are missing, or that are there without an image."""
    rows = conn.execute(
        "SELECT team_id, namespace, sum(images), sum(storage_bytes) FROM ("
        "SELECT team_id, namespace, images, storage_bytes FROM namespaces UNION ALL "
        "SELECT team_id, namespace, -count(*), -sum(filesize_bytes) FROM media "
        "WHERE deleted_at IS NULL AND namespace IS NOT NULL GROUP BY team_id, namespace"
        ") GROUP BY team_id, namespace "
        "HAVING sum(images) <> 0 OR sum(storage_bytes) <> 0 OR min(abs(images)) = 0 LIMIT ?",
        (PAGE,),
    )
    return [WrongNamespace(*row) for row in rows]


def recount_namespace(conn: sqlite3.Connection, team_id: int, namespace: str) -> None:
    """Count the images of a namespace and their bytes again."""
    conn.execute("DELETE FROM namespaces WHERE team_id = ? AND namespace = ?", (team_id, namespace))
    conn.execute(
        "INSERT INTO namespaces SELECT team_id, namespace, count(*), sum(filesize_bytes) FROM media "
        "WHERE team_id = ? AND namespace = ? AND deleted_at IS NULL GROUP BY team_id, namespace",
        (team_id, namespace),
    )


def list_untagged(conn: sqlite3.Connection, first_seq: int, end_seq: int) -> list[int]:
    """Live images in this range that are not in the index of tags, or not as they are."""
    rows = conn.execute(
        f"SELECT DISTINCT media.seq FROM media CROSS JOIN {_TAGS_OF_MEDIA} AS tag "
        "WHERE media.seq >= ? AND media.seq < ? AND deleted_at IS NULL AND NOT EXISTS ("
        "SELECT 1 FROM tags CROSS JOIN media_tags ON tag_id = tags.id AND media_tags.sort_at = media.sort_at "
        "AND media_tags.seq = media.seq AND media_tags.expires_at IS media.expires_at "
        "WHERE tags.team_id = media.team_id AND tags.name = tag.value)",
        (first_seq, end_seq),
    )
    return [seq for (seq,) in rows]


def index_tags(conn: sqlite3.Connection, seq: int) -> None:
    """Put a live image into the index of tags as it is. The counts of new tags are still to be made."""
    conn.execute(
        f"INSERT INTO tags (team_id, name, images) SELECT team_id, value, 0 FROM media CROSS JOIN {_TAGS_OF_MEDIA} "
        "WHERE seq = ? AND deleted_at IS NULL ON CONFLICT DO NOTHING",
        (seq,),
    )
    conn.execute(
        "INSERT OR REPLACE INTO media_tags (tag_id, sort_at, seq, expires_at) "
        f"SELECT tags.id, sort_at, seq, expires_at FROM media CROSS JOIN {_TAGS_OF_MEDIA} AS tag "
        "CROSS JOIN tags ON tags.team_id = media.team_id AND tags.name = tag.value "
        "WHERE seq = ? AND deleted_at IS NULL",
        (seq,),
    )


def list_places(conn: sqlite3.Connection, after: Place | None, limit: int) -> list[Place]:
    """Rows of the index of tags, in their order."""
    rows = conn.execute(
        "SELECT tag_id, sort_at, seq FROM media_tags WHERE (tag_id, sort_at, seq) > (?, ?, ?) "
        "ORDER BY tag_id, sort_at, seq LIMIT ?",
        (*(after or (-1, 0, 0)), limit),
    )
    return [Place(*row) for row in rows]


def list_misplaced(conn: sqlite3.Connection, first: Place, last: Place) -> list[Place]:
    """Rows of the index of tags, between these two and with them, that stand for no tag of a live image."""
    rows = conn.execute(
        "SELECT tag_id, sort_at, seq FROM media_tags AS place "
        "WHERE (tag_id, sort_at, seq) BETWEEN (?, ?, ?) AND (?, ?, ?) AND NOT EXISTS ("
        "SELECT 1 FROM tags CROSS JOIN media ON media.seq = place.seq AND media.team_id = tags.team_id "
        f"CROSS JOIN {_TAGS_OF_MEDIA} AS tag ON tag.value = tags.name "
        "WHERE tags.id = place.tag_id AND media.sort_at = place.sort_at AND media.deleted_at IS NULL)",
        (*first, *last),
    )
    return [Place(*row) for row in rows]


def delete_place(conn: sqlite3.Connection, place: Place) -> None:
    """Take a row out of the index of tags."""
    conn.execute("DELETE FROM media_tags WHERE tag_id = ? AND sort_at = ? AND seq = ?", place)


def list_wrong_tags(conn: sqlite3.Connection) -> list[WrongTag]:
    """Tags whose count is not that of the index of tags, or that no image has."""
    rows = conn.execute(
        "SELECT id, team_id, name, images, coalesce(counted, 0) FROM tags LEFT JOIN "
        "(SELECT tag_id, count(*) AS counted FROM media_tags GROUP BY tag_id) ON tag_id = tags.id "
        "WHERE images <> coalesce(counted, 0) OR images = 0 LIMIT ?",
        (PAGE,),
    )
    return [WrongTag(*row) for row in rows]


def recount_tag(conn: sqlite3.Connection, tag_id: int) -> None:
    """Count the images of a tag again in the index of tags; without any, the tag goes."""
    conn.execute(
        "UPDATE tags SET images = (SELECT count(*) FROM media_tags WHERE tag_id = tags.id) WHERE id = ?", (tag_id,)
    )
    conn.execute("DELETE FROM tags WHERE id = ? AND images = 0", (tag_id,))
