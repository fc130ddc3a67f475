"""What the operator's commands share: they work on the data directory itself, beside a running server or alone."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from imgpro_lite.cli.options import load
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.store.data_dir import DATABASE_NAME, FOLLOW_EVERY_SECONDS, is_running, refuse_unfinished_restore
from imgpro_lite.store.dev_dir import clock_of
from imgpro_lite.store.manifests import MANIFESTS_NAME
from imgpro_lite.store.sqlite_file import Tx, open_for_command, write_transaction

# Wide enough for every column when the output goes to a file or a pipe.
PIPE_WIDTH_CHARS = 250


def settings_for_command(config_path: Path | None, data_dir: Path | None) -> Settings:
    """The settings that a command works with. Raises ConfigError."""
    return load(config_path, {"data_dir": data_dir}).settings


def require_database(settings: Settings) -> None:
    """Raise OperatorError where there is no library, so that a mistyped directory is not a new, empty one, and where a
    restore has not ended."""
    refuse_unfinished_restore(settings.data_dir)
    if not (settings.data_dir / DATABASE_NAME).exists():
        if (settings.data_dir / MANIFESTS_NAME).exists():
            raise OperatorError(
                f"The database of {settings.data_dir.absolute()} is missing. Restore {DATABASE_NAME} from a backup, or "
                "run `imgpro-lite rebuild`, which makes it anew."
            )
        raise OperatorError(f"There is no library in {settings.data_dir.absolute()}. Say where it is with --data-dir.")


def open_library(settings: Settings) -> AbstractContextManager[sqlite3.Connection]:
    """A connection of the command's own. Raises OperatorError."""
    return open_for_command(settings.data_dir / DATABASE_NAME, library_clock(settings))


def library_clock(settings: Settings) -> Clock:
    """The time that the server has: beside one in dev mode, its. Raises OperatorError."""
    return clock_of(settings.data_dir)


@contextmanager
def transaction(settings: Settings) -> Iterator[Tx]:
    """A write transaction on a connection of the command's own. Raises OperatorError."""
    with open_library(settings) as conn, write_transaction(conn, library_clock(settings)) as tx:
        yield tx


def wait_until_noticed(settings: Settings) -> None:
    """Return when a running server has forgotten what it knew of images that a command has just removed."""
    if is_running(settings.data_dir):
        time.sleep(2 * FOLLOW_EVERY_SECONDS)


def date_text(at: int) -> str:
    """A Unix time for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def size_text(size_bytes: int) -> str:
    """A size for people, as plans have it: 1 GB is 1,024 MB."""
    mb = size_bytes / BYTES_PER_MB
    if 0 < mb < 0.1:
        return f"{mb * 1024:.1f} KB"  # so that what is there is not 0.0
    return f"{mb / 1024:.1f} GB" if mb >= 1024 else f"{mb:.1f} MB"


def print_table(table: Table) -> None:
    """Print a table, on a terminal as wide as that is."""
    width = None if Console().is_terminal else PIPE_WIDTH_CHARS
    Console(width=width, markup=False, highlight=False).print(table)
