"""The database itself: its pages, its tables, and rows that cannot be what this version has written."""

import sqlite3

from imgpro_lite.formats import Format
from imgpro_lite.services.fsck.checkup import Checkup, Kind, Problem
from imgpro_lite.store import integrity, media_rows
from imgpro_lite.store.integrity import Difference
from imgpro_lite.store.set_aside import keep_aside
from imgpro_lite.store.sqlite_file import migrate

# Images that are looked at in one step: some 50 ms, after which a running server's log can be folded.
STEP_IMAGES = 20_000


def check_database(checkup: Checkup) -> bool:
    """Whether the rest can be looked at: the file is sound, and has the tables of this version."""
    checkup.progress.begin("Database")
    if not _check_integrity(checkup):
        return False
    for line in integrity.list_broken_references(checkup.conn):
        checkup.tell(Problem(Kind.ROW, line))
    return _check_schema(checkup)


def _check_integrity(checkup: Checkup) -> bool:
    """Whether pages and indexes are sound, or are now. Rows that break a rule are told, and keep nobody from the rest:
    counting again may mend them."""
    damage = integrity.list_damage(checkup.conn, quick=checkup.options.quick)
    is_repairable = checkup.options.repair and all(found.index_name or found.is_row for found in damage)
    rebuilt = {
        name: is_repairable and _rebuild(checkup, name) for name in {found.index_name for found in damage} if name
    }
    for found in damage:
        repaired = found.index_name is not None and rebuilt[found.index_name]
        checkup.tell(Problem(Kind.ROW if found.is_row else Kind.DATABASE, found.message, repaired))
    return all(rebuilt.values()) and all(found.index_name or found.is_row for found in damage)


def _rebuild(checkup: Checkup, index: str) -> bool:
    try:
        with checkup.write() as tx:
            integrity.rebuild_index(tx, index)
    except sqlite3.DatabaseError:  # two rows where only one may be, or worse
        return False
    return True


def _check_schema(checkup: Checkup) -> bool:
    version, newest = integrity.schema_versions(checkup.conn)
    if not version:  # a new one would make every file one without an image
        checkup.tell(Problem(Kind.DATABASE, "It is empty."))
        return False
    if version < newest:
        if checkup.options.repair:
            migrate(checkup.conn, checkup.clock)
        message = f"It has the tables of an earlier version (schema {version}; this one has {newest})."
        checkup.tell(Problem(Kind.SCHEMA, message, repaired=checkup.options.repair))
        if not checkup.options.repair:
            return False
    lacks_a_table = False
    for difference in integrity.compare_schema(checkup.conn):
        repaired = checkup.options.repair and _mend(checkup, difference)
        checkup.tell(Problem(Kind.SCHEMA, difference.message, repaired))
        lacks_a_table |= difference.type == "table"
    return not lacks_a_table


def _mend(checkup: Checkup, difference: Difference) -> bool:
    try:
        with checkup.write() as tx:
            return integrity.mend(tx, difference)
    except sqlite3.IntegrityError:  # rows that a unique index would not have let in
        return False


def check_rows(checkup: Checkup) -> None:
    """Every live image has a known format, and tags and metadata that can be read."""
    checkup.counted.images, last_seq = integrity.measure_images(checkup.conn)
    checkup.progress.begin("Rows", checkup.counted.images)
    for seq in range(0, last_seq + 1, STEP_IMAGES):
        images, unreadable = integrity.list_unreadable(checkup.conn, list(Format), seq, seq + STEP_IMAGES)
        for image in unreadable:
            repaired = checkup.options.repair and _mend_row(checkup, image.seq)
            message = f"The {' and the '.join(image.columns)} of image {image.id} cannot be read."
            checkup.tell(Problem(Kind.ROW, message, repaired))
        checkup.progress.advance(images)


def _mend_row(checkup: Checkup, seq: int) -> bool:
    """Empty what cannot be read, after it was written to a file; the counts are counted again after this."""
    with checkup.write() as tx:
        _, unreadable = integrity.list_unreadable(tx.conn, list(Format), seq, seq + 1)
        for image in unreadable:
            for column in set(image.columns) & integrity.EMPTY_JSON.keys():
                name = checkup.data_dir / "rows" / f"{image.id}.{column}"
                keep_aside(checkup.data_dir, name, integrity.read_raw(tx.conn, seq, column))
                integrity.empty_column(tx, seq, column)
            if "format" in image.columns:
                if not checkup.options.remove_broken:
                    return False
                media_rows.mark_deleted(tx.conn, [seq], tx.now)
    return True
