"""The manifests against their rows. One that is known to be out of date is written by the next server."""

import os
from collections.abc import Iterator

from imgpro_lite.services.fsck.checkup import Checkup, Kind
from imgpro_lite.services.fsck.looking import tell_unreadable
from imgpro_lite.store import manifest_rows
from imgpro_lite.store.manifests import Manifests


def check_manifests(checkup: Checkup) -> None:
    """Every manifest says what its rows are, and there is nothing else among them. Not in the quick way: it reads all.

    Where there are none yet, the next server writes them.
    """
    manifests = Manifests(checkup.data_dir)
    if checkup.options.quick or not manifests.has_library():
        return
    checkup.progress.begin("Manifests")
    try:
        for name in _list_names(checkup):
            _check(checkup, manifests, name)
        _check_others(checkup, manifests)
    except OSError as error:
        tell_unreadable(checkup, manifests.root, error)


def _list_names(checkup: Checkup) -> Iterator[str]:
    number = manifest_rows.find_number(checkup.conn, 0)
    while number is not None:
        yield f"images/{number}"
        number = manifest_rows.find_number(checkup.conn, number + 1)
    yield from manifest_rows.list_others(checkup.conn)


def _check(checkup: Checkup, manifests: Manifests, name: str) -> None:
    """What looks wrong is looked at again in a write transaction: a server may have changed the rows meanwhile."""
    if manifests.is_written(name, manifest_rows.read_lines(checkup.conn, name)):
        return
    path, failure = manifests.path(name), None
    with checkup.write() as tx:
        lines = manifest_rows.read_lines(tx.conn, name)
        if manifest_rows.is_due(tx.conn, name) or manifests.is_written(name, lines):
            return
        is_there = os.path.lexists(path)
        if not (lines or is_there):
            return
        if checkup.options.repair:
            # It may be of a newer database, in the place of which an older one was put.
            failure = checkup.set_aside(path) if is_there else None
            manifest_rows.insert_due(tx.conn, name)
    what = "says something else than the database" if is_there else "is missing"
    checkup.tell_outcome(
        Kind.MANIFEST, f"{checkup.relative(path)} {what}.", failure, wants_repair=checkup.options.repair
    )


def _check_others(checkup: Checkup, manifests: Manifests) -> None:
    """Manifests of which there are no rows at all, and what is none."""
    for path, name in manifests.walk():
        if name is None:
            checkup.tell_misplaced(Kind.STRAY, path, f"{checkup.relative(path)} does not belong there.")
        elif not manifest_rows.read_lines(checkup.conn, name):
            _check(checkup, manifests, name)
