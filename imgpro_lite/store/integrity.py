"""Whether the database file is sound, and has the tables, indexes and triggers of this version."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from imgpro_lite.clock import Clock
from imgpro_lite.store.sqlite_file import Tx, migrate

# Enough to see what is wrong; a file that was overwritten would fill pages.
MAX_LINES = 100

# The columns of images that are JSON, with what they are when they are empty.
EMPTY_JSON = {"tags": "[]", "metadata": "{}"}

_INDEX = re.compile("(?:row .+ missing from|wrong # of entries in|non-unique entry in) index (?P<name>[a-z_]+)")
_ROW = re.compile("(?:CHECK constraint failed|NULL value|NUMERIC value|.+ value) in .+")


class Damage(NamedTuple):
    """What SQLite finds wrong: pages, unless it is only an index that has not what its table has, or only a row that
    the rules do not allow."""

    message: str
    index_name: str | None
    is_row: bool


class Difference(NamedTuple):
    """A table, index or trigger that is not as this version makes it. `sql` makes it as it should be; None for one
    that should not be there."""

    type: str
    name: str
    sql: str | None
    message: str


class Unreadable(NamedTuple):
    """An image, and the columns that cannot be read: `format`, and those of EMPTY_JSON."""

    seq: int
    id: str
    columns: list[str]


def list_damage(conn: sqlite3.Connection, *, quick: bool) -> list[Damage]:
    """What SQLite finds wrong with the file, at most MAX_LINES; nothing when it is sound. It reads all of it.

    The quick way does not compare indexes with their tables.
    """
    pragma = "quick_check" if quick else "integrity_check"
    try:
        lines = [str(line) for (line,) in conn.execute(f"PRAGMA {pragma}({MAX_LINES})")]
    except sqlite3.DatabaseError as error:
        return [Damage(str(error), None, False)]
    return [_damage(line) for line in lines if line != "ok"]


def _damage(line: str) -> Damage:
    index = _INDEX.fullmatch(line)
    return Damage(line, index and index["name"], bool(_ROW.fullmatch(line)))


def rebuild_index(tx: Tx, name: str) -> None:
    """Make an index anew from its table. Raises sqlite3.IntegrityError when its rows do not allow it."""
    tx.conn.execute(f'REINDEX "{name}"')


def list_broken_references(conn: sqlite3.Connection) -> list[str]:
    """Rows that refer to a team that does not exist, at most MAX_LINES."""
    found = conn.execute("PRAGMA foreign_key_check").fetchmany(MAX_LINES)
    return [f"A row of {table} refers to a row of {parent} that does not exist." for table, _row, parent, _key in found]


def schema_versions(conn: sqlite3.Connection) -> tuple[int, int]:
    """The version of the file's schema, and the newest, which this program has."""
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    with contextlib.closing(_fresh()) as fresh:
        (newest,) = fresh.execute("PRAGMA user_version").fetchone()
    return version, newest


def compare_schema(conn: sqlite3.Connection) -> list[Difference]:
    """Tables, indexes and triggers that are missing or others than this version makes, and triggers that it does not.

    Other tables and indexes are left alone: tools for backups, for example, have tables of their own.
    """
    with contextlib.closing(_fresh()) as fresh:
        wanted, found = _objects(fresh), _objects(conn)
    differences = []
    for (type_, name), sql in wanted.items():
        if (type_, name) not in found:
            differences.append(Difference(type_, name, sql, f"The {type_} {name} is missing."))
        elif found[type_, name] != sql:
            differences.append(Difference(type_, name, sql, f"The {type_} {name} is not as this version makes it."))
    for type_, name in found.keys() - wanted.keys():
        if type_ == "trigger":
            differences.append(Difference(type_, name, None, f"The trigger {name} is not one of imgpro-lite."))
    return differences


def mend(tx: Tx, difference: Difference) -> bool:
    """Make an index or a trigger as it should be. False for what is not to be mended: a table, or what is not ours.

    Raises sqlite3.IntegrityError when the rows do not allow an index.
    """
    if difference.type == "table" or difference.sql is None:
        return False
    tx.conn.execute(f'DROP {difference.type} IF EXISTS "{difference.name}"')
    tx.conn.execute(difference.sql)
    return True


def measure_images(conn: sqlite3.Connection) -> tuple[int, int]:
    """How many images there are, deleted ones among them, and the place of the last in the order of insertion."""
    count, last_seq = conn.execute("SELECT count(*), coalesce(max(seq), 0) FROM media").fetchone()
    return count, last_seq


def list_unreadable(
    conn: sqlite3.Connection, formats: Sequence[str], first_seq: int, end_seq: int
) -> tuple[int, list[Unreadable]]:
    """How many images there are in this range, and those live ones of which no code can read all."""
    between = {"first": first_seq, "end": end_seq, "formats": json.dumps(formats)}
    (count,) = conn.execute("SELECT count(*) FROM media WHERE seq >= :first AND seq < :end", between).fetchone()
    rows = conn.execute(
        "SELECT seq, id, format_ok, tags_ok, metadata_ok FROM (SELECT seq, id, "
        "format IN (SELECT value FROM json_each(:formats)) AS format_ok, "
        "iif(json_valid(tags), json_type(tags) = 'array' AND NOT EXISTS "
        "(SELECT 1 FROM json_each(tags) WHERE type <> 'text'), 0) AS tags_ok, "
        "iif(json_valid(metadata), json_type(metadata) = 'object', 0) AS metadata_ok "
        "FROM media WHERE seq >= :first AND seq < :end AND deleted_at IS NULL) "
        "WHERE NOT (format_ok AND tags_ok AND metadata_ok)",
        between,
    )
    columns = ("format", *EMPTY_JSON)
    return count, [
        Unreadable(seq, media_id, [column for column, is_ok in zip(columns, ok, strict=True) if not is_ok])
        for seq, media_id, *ok in rows
    ]


def read_raw(conn: sqlite3.Connection, seq: int, column: str) -> bytes:
    """The bytes of a text of an image, which may be no text."""
    sql = f"SELECT CAST({column} AS BLOB) FROM media WHERE seq = ?"  # noqa: S608 - a column of EMPTY_JSON
    row = conn.execute(sql, (seq,)).fetchone()
    return bytes(row[0])


def empty_column(tx: Tx, seq: int, column: str) -> None:
    """Empty the tags or the metadata of an image. The counts and the index of tags are left as they are.

    Without the triggers, which would have to read the old ones.
    """
    triggers = tx.conn.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'media'"
    ).fetchall()
    for name, _ in triggers:
        tx.conn.execute(f'DROP TRIGGER "{name}"')
    sql = f"UPDATE media SET {column} = ? WHERE seq = ?"  # noqa: S608 - a column of EMPTY_JSON
    tx.conn.execute(sql, (EMPTY_JSON[column], seq))
    for _, trigger in triggers:
        tx.conn.execute(trigger)


def _fresh() -> sqlite3.Connection:
    """A new library, in memory."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    migrate(conn, Clock())
    return conn


def _objects(conn: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """What makes each table, index and trigger, tables first. What SQLite makes by itself has no SQL."""
    rows = conn.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' "
        "ORDER BY type <> 'table', name"
    )
    return {(type_, name): sql for type_, name, sql in rows}
