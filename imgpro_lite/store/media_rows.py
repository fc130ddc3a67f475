"""SQL of images. One function per query; the first argument is the connection."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from imgpro_lite.formats import Format
from imgpro_lite.models import Media, NamespaceUsage, NewMedia

# The columns of the fields of Media, in their order.
_COLUMN_OF = {name: name for name in Media._fields} | {
    "width": "width_px",
    "height": "height_px",
    "metadata_json": "metadata",
}
COLUMNS = tuple(_COLUMN_OF.values())
_FORMAT, _HAS_ALPHA, _TAGS, _PUBLIC = (COLUMNS.index(name) for name in ("format", "has_alpha", "tags", "public"))
_COLUMNS = ", ".join(COLUMNS)
_LIVE = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"


def media_from_row(row: Sequence[Any]) -> Media:
    """The record of a row of COLUMNS."""
    values = list(row)
    values[_FORMAT] = Format(values[_FORMAT])
    values[_HAS_ALPHA] = bool(values[_HAS_ALPHA])
    values[_TAGS] = tuple(from_json(values[_TAGS]))  # a quarter of the time of json.loads
    values[_PUBLIC] = bool(values[_PUBLIC])
    return Media._make(values)


def find_media(conn: sqlite3.Connection, media_id: str, now: int) -> Media | None:
    """An image that is neither deleted nor expired."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE id = :id AND {_LIVE}", {"id": media_id, "now": now}
    ).fetchone()
    return media_from_row(row) if row else None


def find_by_external_id(conn: sqlite3.Connection, team_id: int, external_id: str, now: int) -> Media | None:
    """The live image of a team with this external id."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE team_id = :team_id AND external_id = :external_id AND {_LIVE}",
        {"team_id": team_id, "external_id": external_id, "now": now},
    ).fetchone()
    return media_from_row(row) if row else None


def insert_media(
    conn: sqlite3.Connection,
    media: NewMedia,
    *,
    team_id: int,
    team_hash: str,
    created_at: int,
    retention_expires_at: int | None,
) -> Media:
    """Store the row of a new image."""
    row = conn.execute(
        "INSERT INTO media (id, team_id, team_hash, sha256, format, width_px, height_px, frames, has_alpha, "
        "filesize_bytes, name, namespace, tags, public, external_id, metadata, date_at, created_at, "
        "ttl_expires_at, retention_expires_at) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
        (
            media.id,
            team_id,
            team_hash,
            media.sha256,
            media.format,
            media.width,
            media.height,
            media.frames,
            media.has_alpha,
            media.filesize_bytes,
            media.name,
            media.namespace,
            json.dumps(media.tags, ensure_ascii=False),
            media.public,
            media.external_id,
            json.dumps(media.metadata, ensure_ascii=False, allow_nan=False),
            media.date_at,
            created_at,
            None if media.ttl_seconds is None else created_at + media.ttl_seconds,
            retention_expires_at,
        ),
    ).fetchone()
    return media_from_row(row)


def lift_retention(conn: sqlite3.Connection, team_id: int, now: int) -> None:
    """Take the retention, but not a ttl, from every image of a team that is now verified (decision 11).

    Also from deleted ones, which may be restored; but an image whose time is over stays expired.
    """
    conn.execute(
        "UPDATE media SET retention_expires_at = NULL "
        f"WHERE team_id = :team_id AND (deleted_at IS NOT NULL OR {_LIVE})",
        {"team_id": team_id, "now": now},
    )


def move_media(conn: sqlite3.Connection, from_team_id: int, to_team_id: int) -> None:
    """Give all images of one team to another; an external_id that the other already uses is dropped."""
    conn.execute(
        "UPDATE media SET external_id = NULL WHERE team_id = ? AND external_id IN "
        "(SELECT external_id FROM media WHERE team_id = ? AND deleted_at IS NULL)",
        (from_team_id, to_team_id),
    )
    conn.execute("UPDATE media SET team_id = ? WHERE team_id = ?", (to_team_id, from_team_id))


def release_expired_external_ids(conn: sqlite3.Connection, team_id: int, now: int) -> None:
    """Let a team use the external_ids again whose images have expired but are not swept yet."""
    conn.execute(
        "UPDATE media SET external_id = NULL "
        "WHERE team_id = ? AND external_id IS NOT NULL AND deleted_at IS NULL AND expires_at <= ?",
        (team_id, now),
    )


def release_expired_external_id(conn: sqlite3.Connection, team_id: int, external_id: str, now: int) -> None:
    """Let a team use an external_id again whose image has expired but is not swept yet."""
    conn.execute(
        "UPDATE media SET external_id = NULL "
        "WHERE team_id = ? AND external_id = ? AND deleted_at IS NULL AND expires_at <= ?",
        (team_id, external_id, now),
    )


def list_media_by_id(conn: sqlite3.Connection, team_id: int, ids: Sequence[str], now: int) -> list[Media]:
    """The live images of a team among these ids, in the order of insertion."""
    rows = conn.execute(
        # CROSS JOIN, because SQLite would otherwise walk all images of the team.
        f"SELECT {_COLUMNS} FROM (SELECT value FROM json_each(:ids)) CROSS JOIN media ON media.id = value "
        f"WHERE team_id = :team_id AND {_LIVE} ORDER BY seq",
        {"ids": json.dumps(ids), "team_id": team_id, "now": now},
    )
    return [media_from_row(row) for row in rows.fetchall()]  # as in media_lists.list_media


def update_media(conn: sqlite3.Connection, media: Media, values: Mapping[str, Any]) -> Media:
    """Set columns of an image, tags and metadata as they are in Python: the image as it is then."""
    if not values:
        return media
    stored = {
        column: json.dumps(value, ensure_ascii=False) if column in ("tags", "metadata") else value
        for column, value in values.items()
    }
    assignments = ", ".join(f"{column} = :{column}" for column in stored)
    row = conn.execute(
        f"UPDATE media SET {assignments} WHERE seq = :seq RETURNING {_COLUMNS}", {**stored, "seq": media.seq}
    ).fetchone()
    return media_from_row(row)


def mark_deleted(conn: sqlite3.Connection, seqs: Sequence[int], now: int) -> int:
    """Take images out of every list and count; their bytes stay for the grace period. How many were live."""
    cursor = conn.execute(
        "UPDATE media SET deleted_at = ? WHERE seq IN (SELECT value FROM json_each(?)) AND deleted_at IS NULL",
        (now, json.dumps(seqs)),
    )
    return cursor.rowcount


def mark_expired(conn: sqlite3.Connection, now: int, limit: int) -> int:
    """Mark some of the images whose time is over as deleted: how many."""
    cursor = conn.execute(
        "UPDATE media SET deleted_at = :now WHERE seq IN (SELECT seq FROM media "
        "WHERE deleted_at IS NULL AND expires_at <= :now ORDER BY expires_at LIMIT :limit)",
        {"now": now, "limit": limit},
    )
    return cursor.rowcount


def find_next_expiry(conn: sqlite3.Connection) -> int | None:
    """When the next image ends, in Unix seconds. One that is over, but not swept yet, counts too."""
    row = conn.execute(
        "SELECT min(expires_at) FROM media WHERE deleted_at IS NULL AND expires_at IS NOT NULL"
    ).fetchone()
    return None if row[0] is None else int(row[0])


def mark_restored(conn: sqlite3.Connection, media: Media, now: int) -> Media:
    """Bring a deleted image back, with the external_id that it has in `media`. An expiry that is over is lifted."""
    row = conn.execute(
        "UPDATE media SET deleted_at = NULL, external_id = :external_id, "
        "ttl_expires_at = iif(ttl_expires_at <= :now, NULL, ttl_expires_at), "
        "retention_expires_at = iif(retention_expires_at <= :now, NULL, retention_expires_at) "
        f"WHERE seq = :seq RETURNING {_COLUMNS}",
        {"seq": media.seq, "external_id": media.external_id, "now": now},
    ).fetchone()
    return media_from_row(row)


def find_undeleted(conn: sqlite3.Connection, media_id: str) -> Media | None:
    """An image that nobody has deleted, also one that has expired and is not swept yet."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM media WHERE id = ? AND deleted_at IS NULL", (media_id,)).fetchone()
    return media_from_row(row) if row else None


def find_deleted(conn: sqlite3.Connection, media_id: str) -> Media | None:
    """An image that was deleted or has expired, and whose bytes are still there."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM media WHERE id = ? AND deleted_at IS NOT NULL", (media_id,)).fetchone()
    return media_from_row(row) if row else None


def delete_due(conn: sqlite3.Connection, deleted_before: int, limit: int) -> int:
    """Remove the rows of some images that were deleted before a time: how many. Their bytes are then purgeable."""
    cursor = conn.execute(
        "DELETE FROM media WHERE seq IN (SELECT seq FROM media WHERE deleted_at <= ? ORDER BY deleted_at LIMIT ?)",
        (deleted_before, limit),
    )
    return cursor.rowcount


def list_purgeable(conn: sqlite3.Connection, limit: int) -> list[bytes]:
    """Bytes that a removed row had, and whose file was not looked at since."""
    rows = conn.execute("SELECT sha256 FROM purgeable_blobs LIMIT ?", (limit,))
    return [sha256 for (sha256,) in rows]


def delete_purgeable(conn: sqlite3.Connection, sha256: bytes) -> None:
    """Note that the file of these bytes is gone, or is needed."""
    conn.execute("DELETE FROM purgeable_blobs WHERE sha256 = ?", (sha256,))


def delete_deleted(conn: sqlite3.Connection, sha256: bytes) -> None:
    """Remove the rows of all deleted images with these bytes."""
    conn.execute("DELETE FROM media WHERE sha256 = ? AND deleted_at IS NOT NULL", (sha256,))


def has_live(conn: sqlite3.Connection) -> bool:
    """Whether there is an image that is not deleted."""
    return conn.execute("SELECT 1 FROM media WHERE deleted_at IS NULL LIMIT 1").fetchone() is not None


def is_used(conn: sqlite3.Connection, sha256: bytes) -> bool:
    """Whether an image, deleted or not, still has these bytes."""
    return conn.execute("SELECT 1 FROM media WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone() is not None


def list_live_seqs_of_blob(conn: sqlite3.Connection, sha256: bytes) -> list[int]:
    """The live images that have these bytes, of whatever team."""
    rows = conn.execute("SELECT seq FROM media WHERE sha256 = ? AND deleted_at IS NULL", (sha256,))
    return [seq for (seq,) in rows]


def insert_blocked(conn: sqlite3.Connection, sha256: bytes, now: int) -> None:
    """Refuse these bytes from now on."""
    conn.execute("INSERT INTO blocked_blobs VALUES (?, ?) ON CONFLICT DO NOTHING", (sha256, now))


def count_live(conn: sqlite3.Connection, team_id: int) -> int:
    """Images of a team that are not deleted; one that has just expired counts until it is swept."""
    (count,) = conn.execute(
        "SELECT count(*) FROM media WHERE team_id = ? AND deleted_at IS NULL", (team_id,)
    ).fetchone()
    return int(count)


def is_blocked(conn: sqlite3.Connection, sha256: bytes) -> bool:
    """Whether the operator refuses these bytes."""
    return conn.execute("SELECT 1 FROM blocked_blobs WHERE sha256 = ?", (sha256,)).fetchone() is not None


def get_last_seq(conn: sqlite3.Connection) -> int:
    """The place of the newest image in the order of insertion; 0 when there is none."""
    (seq,) = conn.execute("SELECT coalesce(max(seq), 0) FROM media").fetchone()
    return int(seq)


def list_namespace_seqs(
    conn: sqlite3.Connection, team_id: int, namespace: str, last_seq: int, limit: int, now: int
) -> list[int]:
    """Some of the images of a namespace that were there when `last_seq` was the newest."""
    rows = conn.execute(
        "SELECT seq FROM media WHERE team_id = :team_id AND namespace = :namespace AND seq <= :last_seq "
        f"AND {_LIVE} ORDER BY sort_at, seq LIMIT :limit",
        {"team_id": team_id, "namespace": namespace, "last_seq": last_seq, "limit": limit, "now": now},
    )
    return [seq for (seq,) in rows]


def list_namespaces(conn: sqlite3.Connection, team_id: int) -> list[NamespaceUsage]:
    """The namespaces of a team, the largest first."""
    rows = conn.execute(
        "SELECT namespace, images, storage_bytes FROM namespaces WHERE team_id = ? ORDER BY images DESC, namespace",
        (team_id,),
    )
    return [NamespaceUsage(*row) for row in rows]


def delete_row(conn: sqlite3.Connection, seq: int) -> None:
    """Remove the row of a deleted image."""
    conn.execute("DELETE FROM media WHERE seq = ?", (seq,))
