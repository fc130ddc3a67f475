"""The clock, on which quotas, expiries and links depend."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.services.diagnosis.holes import KNOWN_UNTIL
from imgpro_lite.store import metric_rows
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.machine import is_clock_synchronized
from imgpro_lite.store.sqlite_file import connect_to_read

# Two readings of a clock that is right may differ by so much: the newest image is of this moment.
TOLERANCE_SECONDS = 60

_WHY = "Quotas, expiry and signed links go by it."
_TODO = "Have the system keep it: timedatectl set-ntp true, or chrony."


def check_clock(directory: Path, clock: Clock) -> list[Finding]:
    """Whether the clock is plausible, and whether the system keeps it right."""
    return [*_plausible(directory, clock.now()), _synchronized(is_clock_synchronized())]


def _synchronized(synchronized: bool | None) -> Finding:
    if synchronized is None:
        return Finding(Level.NOTE, Area.CLOCK, "Whether the clock is kept right, this system does not tell.")
    if synchronized:
        return Finding(Level.OK, Area.CLOCK, "The clock is synchronised.")
    why = f"{_WHY} Some virtual machines are kept right by their host, and do not say so."
    return Finding(Level.WARNING, Area.CLOCK, "The clock is not synchronised, says the system.", why, _TODO)


def _plausible(directory: Path, now: int) -> Iterator[Finding]:
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M")
    if now < datetime.fromisoformat(f"{KNOWN_UNTIL}T00:00:00+00:00").timestamp():
        what = f"The clock says {shown} UTC, which is before this version was made ({KNOWN_UNTIL})."
        yield Finding(Level.WARNING, Area.CLOCK, what, _WHY, _TODO)
    newest_at = _newest_image_at(directory / DATABASE_NAME)
    if newest_at is not None and now < newest_at - TOLERANCE_SECONDS:
        what = f"The clock says {shown} UTC, which is before the newest image was stored."
        yield Finding(Level.WARNING, Area.CLOCK, what, f"It is wrong now, or was then. {_WHY}", _TODO)


def _newest_image_at(database: Path) -> int | None:
    """When the newest image was stored; None where that cannot be told, of which others tell."""
    try:
        if not database.exists():
            return None
        conn = connect_to_read(database)
        try:
            return metric_rows.find_newest_at(conn)
        finally:
            conn.close()
    except (OSError, OperatorError, sqlite3.Error):
        return None
