"""SQL of what /metrics tells of the database. One function per query; the first argument is the connection."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class TeamGroup:
    """The teams of a plan and kind, and what they store, in bytes as uploaded."""

    plan: str
    kind: str
    teams: int
    storage_bytes: int


@dataclass(frozen=True)
class Waiting:
    """What is to be done. Times are Unix seconds, None where there is nothing."""

    mails: int
    oldest_mail_at: int | None
    next_expiry_at: int | None
    oldest_deletion_at: int | None


def find_newest_at(conn: sqlite3.Connection) -> int | None:
    """When the image that was stored last was, in Unix seconds; None without images."""
    row = conn.execute("SELECT created_at FROM media ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def count_images(conn: sqlite3.Connection) -> int:
    """Images that are not deleted. It reads an index of all of them: 40 ms for a million."""
    (count,) = conn.execute("SELECT count(*) FROM media WHERE deleted_at IS NULL").fetchone()
    return int(count)


def list_team_groups(conn: sqlite3.Connection) -> list[TeamGroup]:
    """The teams, which are counted one by one."""
    rows = conn.execute("SELECT plan, kind, count(*), sum(storage_bytes) FROM teams GROUP BY plan, kind ORDER BY 1, 2")
    return [TeamGroup(*row) for row in rows]


def get_waiting(conn: sqlite3.Connection) -> Waiting:
    """What waits for mail and sweeper. All of it stands at the end of an index but the count of the mails."""
    mails, oldest_mail_at = conn.execute("SELECT count(*), min(created_at) FROM mail_queue").fetchone()
    expiry = "SELECT min(expires_at) FROM media WHERE deleted_at IS NULL AND expires_at IS NOT NULL"
    deletion = "SELECT min(deleted_at) FROM media WHERE deleted_at IS NOT NULL"
    (next_expiry_at,) = conn.execute(expiry).fetchone()
    (oldest_deletion_at,) = conn.execute(deletion).fetchone()
    return Waiting(mails, oldest_mail_at, next_expiry_at, oldest_deletion_at)
