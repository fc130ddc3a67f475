"""SQL of seeds: whether an image is there already, and all images as they are written to one."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from imgpro_lite.models import Media
from imgpro_lite.store.media_rows import COLUMNS, media_from_row

_BATCH_IMAGES = 100  # a few at a time, because a library may be larger than the memory


class StoredImage(NamedTuple):
    """An image, and for how long it was to be kept when it was uploaded; None is without a ttl."""

    media: Media
    ttl_seconds: int | None


def has_same(conn: sqlite3.Connection, team_id: int, sha256: bytes, name: str, now: int) -> bool:
    """Whether a team has a live image with these bytes and this name."""
    row = conn.execute(
        "SELECT 1 FROM media WHERE sha256 = ? AND team_id = ? AND name = ? AND deleted_at IS NULL "
        "AND (expires_at IS NULL OR expires_at > ?) LIMIT 1",
        (sha256, team_id, name, now),
    ).fetchone()
    return row is not None


def count_live(conn: sqlite3.Connection, now: int) -> int:
    """How many images `list_live` gives."""
    (count,) = conn.execute(
        "SELECT count(*) FROM media WHERE deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", (now,)
    ).fetchone()
    return int(count)


def list_live(conn: sqlite3.Connection, now: int) -> Iterator[StoredImage]:
    """Every live image of all teams, in the order of lists from their end."""
    cursor = conn.execute(
        f"SELECT ttl_expires_at - created_at, {', '.join(COLUMNS)} FROM media "
        "WHERE deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?) ORDER BY sort_at, seq",
        (now,),
    )
    while rows := cursor.fetchmany(_BATCH_IMAGES):
        yield from (StoredImage(media_from_row(row[1:]), row[0]) for row in rows)
