"""SQL of the mail that is to be sent. One function per query; the first argument is the connection."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class MailKind(StrEnum):
    """What a mail is about, and what `details` has."""

    VERIFY = "verify"
    """Links to confirm keys or to revoke them: `key_ids`."""
    JOINED = "joined"
    """A key and its images now belong to the address's team: `key_id`, `images`."""
    UPGRADE_REQUEST = "upgrade_request"
    """To the operator: a team asks for a plan: `team_id`, `plan`."""


@dataclass(frozen=True)
class QueuedMail:
    """A mail that is still to be composed and sent. Times are Unix seconds."""

    id: int
    kind: MailKind
    recipient: str
    details: dict[str, Any]
    created_at: int
    attempts: int


def insert_mail(conn: sqlite3.Connection, kind: MailKind, recipient: str, details: Mapping[str, Any], now: int) -> None:
    """Queue a mail, to be sent as soon as possible."""
    conn.execute(
        "INSERT INTO mail_queue (kind, recipient, details, created_at, next_attempt_at) VALUES (?, ?, ?, ?, ?)",
        (kind, recipient, json.dumps(dict(details)), now, now),
    )


def list_due_mail(conn: sqlite3.Connection, now: int, limit: int) -> list[QueuedMail]:
    """Mail whose time has come, the longest due first."""
    rows = conn.execute(
        "SELECT id, kind, recipient, details, created_at, attempts FROM mail_queue "
        "WHERE next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?",
        (now, limit),
    )
    return [
        QueuedMail(id_, MailKind(kind), recipient, json.loads(details), created_at, attempts)
        for id_, kind, recipient, details, created_at, attempts in rows
    ]


def update_mail_attempt(conn: sqlite3.Connection, mail_id: int, next_attempt_at: int) -> None:
    """Note that a mail could not be sent, and when to try again."""
    conn.execute(
        "UPDATE mail_queue SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?", (next_attempt_at, mail_id)
    )


def delete_mail(conn: sqlite3.Connection, mail_id: int) -> None:
    """Take a mail out of the queue: it was sent, or never can be."""
    conn.execute("DELETE FROM mail_queue WHERE id = ?", (mail_id,))
