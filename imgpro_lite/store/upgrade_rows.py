"""SQL of the plans that teams have asked for. One function per query; the first argument is the connection."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class UpgradeRequest:
    """A team that asks for a plan."""

    team_id: int
    plan: str
    requested_at: int


def insert_upgrade_request(conn: sqlite3.Connection, team_id: int, plan: str, now: int) -> bool:
    """Note that a team asks for a plan. False when it has asked already."""
    cursor = conn.execute(
        "INSERT INTO upgrade_requests VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (team_id, plan, now),
    )
    return cursor.rowcount == 1


def find_upgrade_request(conn: sqlite3.Connection, team_id: int, plan: str) -> UpgradeRequest | None:
    """What a team has asked for, if it has asked for this plan."""
    row = conn.execute(
        "SELECT team_id, plan, requested_at FROM upgrade_requests WHERE team_id = ? AND plan = ?", (team_id, plan)
    ).fetchone()
    return UpgradeRequest(*row) if row else None


def list_upgrade_requests(conn: sqlite3.Connection) -> list[UpgradeRequest]:
    """What is asked for, the oldest first."""
    rows = conn.execute("SELECT team_id, plan, requested_at FROM upgrade_requests ORDER BY requested_at, team_id, plan")
    return [UpgradeRequest(*row) for row in rows]


def delete_upgrade_requests(conn: sqlite3.Connection, team_id: int) -> None:
    """Forget what a team asked for, because it has been given a plan."""
    conn.execute("DELETE FROM upgrade_requests WHERE team_id = ?", (team_id,))
