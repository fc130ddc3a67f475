"""SQL of the mail that is to be sent. One function per query; the first argument is the connection."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_COLUMNS = "id, kind, recipient, details, created_at, attempts, next_attempt_at"
# No pause is longer than `max_pause_seconds`: a next attempt beyond that means that the clock was set back.
_IS_DUE = "(next_attempt_at <= :now OR next_attempt_at > :now + :max_pause_seconds)"


class MailKind(StrEnum):
    """What a mail is about, and what `details` has."""

    VERIFY = "verify"
    """Links to confirm keys or to revoke them: `key_ids`."""
    JOINED = "joined"
    """A key and its images now belong to the address's team: `key_id`, `images`."""
    UPGRADE_REQUEST = "upgrade_request"
    """To the operator: a team asks for a plan: `team_id`, `plan`."""
    SIGN_IN = "sign_in"
    """A link to sign in, if the address has a team: `asked_from`, the IP address that wants it."""


@dataclass(frozen=True)
class QueuedMail:
    """A mail that is still to be composed and sent. Times are Unix seconds."""

    id: int
    kind: MailKind
    recipient: str
    details: dict[str, Any]
    created_at: int
    attempts: int
    next_attempt_at: int


def _queued_mail(row: Sequence[Any]) -> QueuedMail:
    id_, kind, recipient, details, created_at, attempts, next_attempt_at = row
    return QueuedMail(id_, MailKind(kind), recipient, json.loads(details), created_at, attempts, next_attempt_at)


def insert_mail(conn: sqlite3.Connection, kind: MailKind, recipient: str, details: Mapping[str, Any], now: int) -> None:
    """Queue a mail, to be sent as soon as possible."""
    conn.execute(
        "INSERT INTO mail_queue (kind, recipient, details, created_at, next_attempt_at) VALUES (?, ?, ?, ?, ?)",
        (kind, recipient, json.dumps(dict(details)), now, now),
    )


def find_due_mail(conn: sqlite3.Connection, now: int, max_pause_seconds: int) -> QueuedMail | None:
    """The mail to send next: one that was tried less often goes first, so that none waits for those that fail."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM mail_queue WHERE {_IS_DUE} ORDER BY attempts, next_attempt_at, id LIMIT 1",
        {"now": now, "max_pause_seconds": max_pause_seconds},
    ).fetchone()
    return _queued_mail(row) if row else None


def list_due_mail(conn: sqlite3.Connection, now: int, max_pause_seconds: int, limit: int) -> list[QueuedMail]:
    """Some of the mail whose time has come."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM mail_queue WHERE {_IS_DUE} LIMIT :limit",
        {"now": now, "max_pause_seconds": max_pause_seconds, "limit": limit},
    )
    return [_queued_mail(row) for row in rows]


def list_mail(conn: sqlite3.Connection) -> list[QueuedMail]:
    """All mail that waits, the oldest first."""
    return [_queued_mail(row) for row in conn.execute(f"SELECT {_COLUMNS} FROM mail_queue ORDER BY created_at, id")]


def update_mail_attempts(conn: sqlite3.Connection, attempts: Iterable[tuple[int, int]]) -> None:
    """Note another attempt at each mail, given as (time of the next attempt, id)."""
    conn.executemany("UPDATE mail_queue SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?", attempts)


def make_all_mail_due(conn: sqlite3.Connection, now: int) -> None:
    """End every pause between attempts."""
    conn.execute("UPDATE mail_queue SET next_attempt_at = ? WHERE next_attempt_at <> ?", (now, now))


def delete_mail(conn: sqlite3.Connection, mail_id: int) -> None:
    """Take a mail out of the queue: it was sent, or never can be."""
    conn.execute("DELETE FROM mail_queue WHERE id = ?", (mail_id,))
