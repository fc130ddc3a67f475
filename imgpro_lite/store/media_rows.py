"""SQL of images. One function per query; the first argument is the connection."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from imgpro_lite.formats import Format
from imgpro_lite.models import Media, NewMedia

# The column of each field of Media, in the order that _media() reads them.
_COLUMN_OF = {
    "seq": "seq",
    "id": "id",
    "team_id": "team_id",
    "team_hash": "team_hash",
    "sha256": "sha256",
    "format": "format",
    "width": "width_px",
    "height": "height_px",
    "frames": "frames",
    "has_alpha": "has_alpha",
    "filesize_bytes": "filesize_bytes",
    "name": "name",
    "namespace": "namespace",
    "tags": "tags",
    "public": "public",
    "external_id": "external_id",
    "metadata": "metadata",
    "date_at": "date_at",
    "created_at": "created_at",
    "expires_at": "expires_at",
}
_COLUMNS = ", ".join(_COLUMN_OF.values())
_LIVE = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"


def _media(row: Sequence[Any]) -> Media:
    fields = dict(zip(_COLUMN_OF, row, strict=True))
    fields["format"] = Format(fields["format"])
    fields["has_alpha"] = bool(fields["has_alpha"])
    fields["tags"] = tuple(json.loads(fields["tags"]))
    fields["public"] = bool(fields["public"])
    fields["metadata"] = json.loads(fields["metadata"])
    return Media(**fields)


def find_media(conn: sqlite3.Connection, media_id: str, now: int) -> Media | None:
    """An image that is neither deleted nor expired."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE id = :id AND {_LIVE}", {"id": media_id, "now": now}
    ).fetchone()
    return _media(row) if row else None


def find_by_external_id(conn: sqlite3.Connection, team_id: int, external_id: str, now: int) -> Media | None:
    """The live image of a team with this external id."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM media WHERE team_id = :team_id AND external_id = :external_id AND {_LIVE}",
        {"team_id": team_id, "external_id": external_id, "now": now},
    ).fetchone()
    return _media(row) if row else None


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
    return _media(row)


def lift_retention(conn: sqlite3.Connection, team_id: int) -> None:
    """Take the retention, but not a ttl, from every live image of a team that is now verified (decision 11)."""
    conn.execute("UPDATE media SET retention_expires_at = NULL WHERE team_id = ? AND deleted_at IS NULL", (team_id,))


def move_media(conn: sqlite3.Connection, from_team_id: int, to_team_id: int) -> None:
    """Give all images of one team to another; an external_id that the other already uses is dropped."""
    conn.execute(
        "UPDATE media SET external_id = NULL WHERE team_id = ? AND external_id IN "
        "(SELECT external_id FROM media WHERE team_id = ? AND deleted_at IS NULL)",
        (from_team_id, to_team_id),
    )
    conn.execute("UPDATE media SET team_id = ? WHERE team_id = ?", (to_team_id, from_team_id))


def release_expired_external_id(conn: sqlite3.Connection, team_id: int, external_id: str, now: int) -> None:
    """Let a team use an external_id again whose image has expired but is not swept yet."""
    conn.execute(
        "UPDATE media SET external_id = NULL "
        "WHERE team_id = ? AND external_id = ? AND deleted_at IS NULL AND expires_at <= ?",
        (team_id, external_id, now),
    )
