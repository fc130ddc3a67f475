"""SQL of teams, keys and rate windows. One function per query; the first argument is the connection."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from imgpro_lite import ids
from imgpro_lite.models import ANONYMOUS_TEAM_ID, Ability, ApiKey, Team, TeamKind

_TEAM_COLUMNS = (
    "teams.id, teams.hash, teams.kind, teams.email, teams.plan, teams.registration_closed, "
    "teams.uploads_month, teams.uploads_used, teams.storage_bytes"
)
_KEY_COLUMNS = (
    "api_keys.key_id, api_keys.team_id, api_keys.name, api_keys.can_read, api_keys.can_write, "
    "api_keys.created_at, api_keys.created_from, api_keys.revoked_at, api_keys.session_ends_at"
)
_KEY_WIDTH = 9  # columns of a key, where a team's follow


def _team(row: Sequence[object]) -> Team:
    id_, hash_, kind, email, plan, closed, month, used, storage = row
    return Team(id_, hash_, TeamKind(kind), email, plan, bool(closed), month, used, storage)  # type: ignore[arg-type]


def _api_key(row: Sequence[object]) -> ApiKey:
    key_id, team_id, name, can_read, can_write, created_at, created_from, revoked_at, ends_at = row
    abilities = {Ability.READ: can_read, Ability.WRITE: can_write}
    granted = frozenset(ability for ability, given in abilities.items() if given)
    return ApiKey(key_id, team_id, name, granted, created_at, created_from, revoked_at, ends_at)  # type: ignore[arg-type]


def get_team(conn: sqlite3.Connection, team_id: int) -> Team:
    """A team that is known to exist."""
    return _team(conn.execute(f"SELECT {_TEAM_COLUMNS} FROM teams WHERE id = ?", (team_id,)).fetchone())


def find_team(conn: sqlite3.Connection, team_id: int) -> Team | None:
    """A team that may be gone, because it was joined to another."""
    row = conn.execute(f"SELECT {_TEAM_COLUMNS} FROM teams WHERE id = ?", (team_id,)).fetchone()
    return _team(row) if row else None


def find_team_by_hash(conn: sqlite3.Connection, team_hash: str) -> Team | None:
    """A team by the name that no other team ever gets; row ids of teams that were joined to others are used again."""
    row = conn.execute(f"SELECT {_TEAM_COLUMNS} FROM teams WHERE hash = ?", (team_hash,)).fetchone()
    return _team(row) if row else None


def find_verified_team(conn: sqlite3.Connection, email: str) -> Team | None:
    """The team that an address was confirmed for."""
    row = conn.execute(f"SELECT {_TEAM_COLUMNS} FROM teams WHERE email = ? AND kind = 'verified'", (email,)).fetchone()
    return _team(row) if row else None


def insert_team(
    conn: sqlite3.Connection, kind: TeamKind, email: str, plan: str, now: int, hash_: str | None = None
) -> Team:
    """A new, empty team with a hash of its own: a given one that no other has, or a random one."""

    def insert(team_hash: str) -> sqlite3.Cursor:
        return conn.execute(
            "INSERT INTO teams (hash, kind, email, plan, created_at) VALUES (?, ?, ?, ?, ?)",
            (team_hash, kind, email, plan, now),
        )

    team_id = insert(hash_).lastrowid if hash_ else _insert_with_unique_hash(conn, insert)
    assert team_id is not None
    return get_team(conn, team_id)


def ensure_anonymous_team(conn: sqlite3.Connection, now: int) -> None:
    """The team that owns what is uploaded without a key."""
    if conn.execute("SELECT 1 FROM teams WHERE id = ?", (ANONYMOUS_TEAM_ID,)).fetchone():
        return
    _insert_with_unique_hash(
        conn,
        lambda hash_: conn.execute(
            "INSERT INTO teams (id, hash, kind, plan, created_at) VALUES (?, ?, 'anonymous', '', ?)",
            (ANONYMOUS_TEAM_ID, hash_, now),
        ),
    )


def _insert_with_unique_hash(conn: sqlite3.Connection, insert: Callable[[str], sqlite3.Cursor]) -> int:
    """Insert a team under the first random hash that no other team has; its row id."""
    while True:
        hash_ = ids.new_team_hash()
        if not conn.execute("SELECT 1 FROM teams WHERE hash = ?", (hash_,)).fetchone():
            row_id = insert(hash_).lastrowid
            assert row_id is not None
            return row_id


def update_team_kind(conn: sqlite3.Connection, team_id: int, kind: TeamKind) -> None:
    """Make a team verified or not."""
    conn.execute("UPDATE teams SET kind = ? WHERE id = ?", (kind, team_id))


def update_team_plan(conn: sqlite3.Connection, team_id: int, plan: str) -> None:
    """Put a team on a plan."""
    conn.execute("UPDATE teams SET plan = ? WHERE id = ?", (plan, team_id))


def update_team_uploads(conn: sqlite3.Connection, team: Team, month: int, uploads: int) -> None:
    """Add to the uploads that a team has made in a month."""
    replace_team_uploads(conn, team.id, month, team.uploads_used_in(month) + uploads)


def replace_team_uploads(conn: sqlite3.Connection, team_id: int, month: int, uploads: int) -> None:
    """Say how many uploads a team has made in a month."""
    conn.execute("UPDATE teams SET uploads_month = ?, uploads_used = ? WHERE id = ?", (month, uploads, team_id))


def get_unverified_storage_bytes(conn: sqlite3.Connection) -> int:
    """What all unverified teams store together."""
    (stored,) = conn.execute("SELECT unverified_storage_bytes FROM totals").fetchone()
    return int(stored)


def insert_api_key(
    conn: sqlite3.Connection,
    *,
    key_id: str,
    team_id: int,
    secret_sha256: bytes,
    name: str,
    abilities: frozenset[Ability],
    created_at: int,
    created_from: str | None,
    session_ends_at: int | None = None,
) -> None:
    """A new key of a team."""
    conn.execute(
        "INSERT INTO api_keys (key_id, team_id, secret_sha256, name, can_read, can_write, created_at, created_from, "
        "session_ends_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key_id,
            team_id,
            secret_sha256,
            name,
            Ability.READ in abilities,
            Ability.WRITE in abilities,
            created_at,
            created_from,
            session_ends_at,
        ),
    )


def find_key_and_team(conn: sqlite3.Connection, secret_sha256: bytes) -> tuple[ApiKey, Team] | None:
    """The key with this hash, if it is in force, and its team."""
    row = conn.execute(
        f"SELECT {_KEY_COLUMNS}, {_TEAM_COLUMNS} FROM api_keys JOIN teams ON teams.id = api_keys.team_id "
        "WHERE secret_sha256 = ? AND revoked_at IS NULL",
        (secret_sha256,),
    ).fetchone()
    return (_api_key(row[:_KEY_WIDTH]), _team(row[_KEY_WIDTH:])) if row else None


def has_api_key(conn: sqlite3.Connection, secret_sha256: bytes) -> bool:
    """Whether there is a key with this hash, revoked or not."""
    return conn.execute("SELECT 1 FROM api_keys WHERE secret_sha256 = ?", (secret_sha256,)).fetchone() is not None


def find_api_key(conn: sqlite3.Connection, key_id: str) -> tuple[ApiKey, Team] | None:
    """A key by its public name, revoked or not, and its team."""
    row = conn.execute(
        f"SELECT {_KEY_COLUMNS}, {_TEAM_COLUMNS} FROM api_keys JOIN teams ON teams.id = api_keys.team_id "
        "WHERE key_id = ?",
        (key_id,),
    ).fetchone()
    return (_api_key(row[:_KEY_WIDTH]), _team(row[_KEY_WIDTH:])) if row else None


def list_api_keys(conn: sqlite3.Connection) -> list[tuple[ApiKey, Team]]:
    """Every key with its team, oldest first."""
    rows = conn.execute(
        f"SELECT {_KEY_COLUMNS}, {_TEAM_COLUMNS} FROM api_keys JOIN teams ON teams.id = api_keys.team_id "
        "ORDER BY api_keys.created_at, key_id"
    )
    return [(_api_key(row[:_KEY_WIDTH]), _team(row[_KEY_WIDTH:])) for row in rows]


def list_team_keys(conn: sqlite3.Connection, team_id: int, now: int) -> list[ApiKey]:
    """The keys in force of a team, oldest first, with those of sessions that began with a mailed link."""
    rows = conn.execute(
        f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE team_id = ? AND revoked_at IS NULL "
        "AND coalesce(session_ends_at > ?, TRUE) ORDER BY created_at, key_id",
        (team_id, now),
    )
    return [_api_key(row) for row in rows]


def delete_ended_sessions(conn: sqlite3.Connection, team_id: int, now: int) -> None:
    """Forget the keys of a team's sessions that are over."""
    conn.execute("DELETE FROM api_keys WHERE team_id = ? AND session_ends_at <= ?", (team_id, now))


def list_pending_keys(conn: sqlite3.Connection, email: str) -> list[ApiKey]:
    """Keys in force that nobody has confirmed for an address, oldest first."""
    rows = conn.execute(
        f"SELECT {_KEY_COLUMNS} FROM api_keys JOIN teams ON teams.id = api_keys.team_id "
        "WHERE teams.email = ? AND teams.kind = 'unverified' AND revoked_at IS NULL "
        "ORDER BY api_keys.created_at, key_id",
        (email,),
    )
    return [_api_key(row) for row in rows]


def revoke_keys_of_team(conn: sqlite3.Connection, team_id: int, now: int) -> int:
    """End every key of a team: how many were in force."""
    cursor = conn.execute("UPDATE api_keys SET revoked_at = ? WHERE team_id = ? AND revoked_at IS NULL", (now, team_id))
    return cursor.rowcount


def count_unverified_keys(conn: sqlite3.Connection, email: str, created_since: int) -> int:
    """Keys in force that nobody has confirmed for an address, of those made since a time."""
    (count,) = conn.execute(
        "SELECT count(*) FROM api_keys JOIN teams ON teams.id = api_keys.team_id "
        "WHERE teams.email = ? AND teams.kind = 'unverified' AND revoked_at IS NULL AND api_keys.created_at > ?",
        (email, created_since),
    ).fetchone()
    return int(count)


def revoke_api_key(conn: sqlite3.Connection, key_id: str, now: int) -> bool:
    """End a key. False when there is no such key in force."""
    cursor = conn.execute("UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL", (now, key_id))
    return cursor.rowcount == 1


def update_key_team(conn: sqlite3.Connection, from_team_id: int, to_team_id: int) -> None:
    """Move every key of one team to another."""
    conn.execute("UPDATE api_keys SET team_id = ? WHERE team_id = ?", (to_team_id, from_team_id))


def delete_team(conn: sqlite3.Connection, team_id: int) -> None:
    """Remove a team that owns nothing any more."""
    conn.execute("DELETE FROM teams WHERE id = ?", (team_id,))


def list_rate_windows(conn: sqlite3.Connection, now: int) -> list[tuple[str, str, int, int]]:
    """(limit name, subject, end, attempts) of every window that is not over."""
    return conn.execute(
        "SELECT limit_name, subject, ends_at, attempts FROM rate_windows WHERE ends_at > ?", (now,)
    ).fetchall()


def replace_rate_windows(conn: sqlite3.Connection, windows: Iterable[tuple[str, str, int, int]], now: int) -> None:
    """Save windows, and forget those that are over."""
    conn.execute("DELETE FROM rate_windows WHERE ends_at <= ?", (now,))
    conn.executemany("INSERT OR REPLACE INTO rate_windows VALUES (?, ?, ?, ?)", windows)


def touch(conn: sqlite3.Connection) -> None:
    """Write something that changes nothing, to see that the database takes writes."""
    conn.execute("UPDATE totals SET id = 1")
