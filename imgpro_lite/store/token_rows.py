"""SQL of signed tokens that were used up. One function per query; the first argument is the connection."""

import sqlite3


def insert_spent_token(conn: sqlite3.Connection, token_id: str, ends_at: int, now: int) -> bool:
    """Use a token up. False when it was already. Those that have ended by themselves are forgotten."""
    conn.execute("DELETE FROM spent_tokens WHERE ends_at < ?", (now,))
    return (
        conn.execute("INSERT INTO spent_tokens VALUES (?, ?) ON CONFLICT DO NOTHING", (token_id, ends_at)).rowcount == 1
    )


def is_spent(conn: sqlite3.Connection, token_id: str) -> bool:
    """Whether a token was used up."""
    return conn.execute("SELECT 1 FROM spent_tokens WHERE id = ?", (token_id,)).fetchone() is not None
