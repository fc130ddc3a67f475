"""SQL of the images that have certain bytes, for comparing the rows with the files."""

import sqlite3
from typing import NamedTuple


class BlobRow(NamedTuple):
    """Bytes that images have, deleted ones among them. The lengths differ only where a row is wrong."""

    sha256: bytes
    smallest_bytes: int
    largest_bytes: int
    is_live: bool


def count_blobs(conn: sqlite3.Connection) -> tuple[int, int]:
    """How many different files the images have, and their bytes."""
    files, size_bytes = conn.execute(
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM "
        "(SELECT max(filesize_bytes) AS size_bytes FROM media GROUP BY sha256)"
    ).fetchone()
    return files, size_bytes


def list_blobs(conn: sqlite3.Connection, first_byte: int) -> list[BlobRow]:
    """The bytes whose hash begins with this byte, a 256th of all."""
    rows = conn.execute(
        "SELECT sha256, min(filesize_bytes), max(filesize_bytes), max(deleted_at IS NULL) FROM media "
        "WHERE sha256 >= ? AND sha256 < ? GROUP BY sha256",
        (bytes([first_byte]), bytes([first_byte + 1]) if first_byte < 255 else b"\xff" * 33),
    )
    return [BlobRow(sha256, smallest, largest, bool(live)) for sha256, smallest, largest, live in rows]


def is_expected(conn: sqlite3.Connection, sha256: bytes) -> bool:
    """Whether there may be a file of these bytes: an image has them, or a sweep is about to remove them."""
    row = conn.execute(
        "SELECT EXISTS (SELECT 1 FROM media WHERE sha256 = :sha256) "
        "OR EXISTS (SELECT 1 FROM purgeable_blobs WHERE sha256 = :sha256)",
        {"sha256": sha256},
    ).fetchone()
    return bool(row[0])


def list_live_images(
    conn: sqlite3.Connection, sha256: bytes, limit: int
) -> tuple[int, list[tuple[str, str, str | None, int]]]:
    """How many live images have these bytes, and the id, name, team's address and creation time of some of them."""
    (count,) = conn.execute("SELECT count(*) FROM media WHERE sha256 = ? AND deleted_at IS NULL", (sha256,)).fetchone()
    rows = conn.execute(
        "SELECT media.id, name, email, media.created_at FROM media JOIN teams ON teams.id = team_id "
        "WHERE sha256 = ? AND deleted_at IS NULL ORDER BY seq LIMIT ?",
        (sha256, limit),
    )
    return count, rows.fetchall()


def update_length(conn: sqlite3.Connection, sha256: bytes, size_bytes: int) -> None:
    """Correct the length of the file in its rows; storage follows."""
    conn.execute(
        "UPDATE media SET filesize_bytes = :size_bytes WHERE sha256 = :sha256 AND filesize_bytes <> :size_bytes",
        {"sha256": sha256, "size_bytes": size_bytes},
    )
