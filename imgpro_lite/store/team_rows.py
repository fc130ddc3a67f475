"""SQL of teams as the operator sees them. One function per query; the first argument is the connection."""

import sqlite3
from dataclasses import dataclass

from imgpro_lite.models import Team
from imgpro_lite.store import account_rows


@dataclass(frozen=True)
class TeamSummary:
    """A team with what belongs to it."""

    team: Team
    created_at: int
    keys: int
    """Those in force."""
    images: int
    """Those that are not deleted; one that has just expired counts until it is swept."""


_SUMMARY = (
    "SELECT id, created_at, "
    "(SELECT count(*) FROM api_keys WHERE team_id = teams.id AND revoked_at IS NULL AND session_ends_at IS NULL), "
    "(SELECT count(*) FROM media WHERE team_id = teams.id AND deleted_at IS NULL) FROM teams"
)


def list_teams(conn: sqlite3.Connection) -> list[TeamSummary]:
    """Every team, oldest first."""
    return _summaries(conn, f"{_SUMMARY} ORDER BY created_at, id")


def list_teams_named(conn: sqlite3.Connection, name: str) -> list[TeamSummary]:
    """The teams with this hash or address, oldest first."""
    return _summaries(conn, f"{_SUMMARY} WHERE hash = :name OR email = :name ORDER BY created_at, id", name=name)


def _summaries(conn: sqlite3.Connection, sql: str, **values: str) -> list[TeamSummary]:
    rows = conn.execute(sql, values).fetchall()
    return [TeamSummary(account_rows.get_team(conn, team_id), *rest) for team_id, *rest in rows]


def update_email(conn: sqlite3.Connection, team_id: int, email: str) -> None:
    """Give a team another address."""
    conn.execute("UPDATE teams SET email = ? WHERE id = ?", (email, team_id))


def update_registration(conn: sqlite3.Connection, team_id: int, *, closed: bool) -> None:
    """Let a team have new keys through the API, or not."""
    conn.execute("UPDATE teams SET registration_closed = ? WHERE id = ?", (closed, team_id))
