"""SQL of what the library as a whole is."""

import sqlite3


def get_library_id(conn: sqlite3.Connection) -> str:
    """32 hexadecimal digits that no other library has; they stay the same after a restore or a rebuild."""
    (id_,) = conn.execute("SELECT id FROM library").fetchone()
    return str(id_)
