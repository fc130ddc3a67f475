"""`imgpro-lite backup`: a backup is made beside a running server, verified, and listed."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.table import Table

from imgpro_lite import __version__
from imgpro_lite.cli.backup_report import Report
from imgpro_lite.cli.fsck_progress import show_progress
from imgpro_lite.cli.offline import date_text, print_table, require_database, settings_for_command, size_text
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.cli.output import echo
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.backup.copying import Made
from imgpro_lite.services.backup.disks import disk_errors
from imgpro_lite.services.backup.making import EARLIER_STAY, Making, make_backup
from imgpro_lite.services.backup.verifying import Verification, verify
from imgpro_lite.store.backup_dir import BackupDir
from imgpro_lite.store.backup_place import (
    hold_backup_dir,
    make_backup_dir,
    open_backup_dir,
    refuse_overlap,
)
from imgpro_lite.store.data_dir import DATABASE_NAME
from imgpro_lite.store.files import is_writable, yield_to_others
from imgpro_lite.store.library_rows import get_library_id
from imgpro_lite.store.sqlite_file import connect_file, connect_unwritable, database_errors, refuse_lost, schema_version

EXIT_PROBLEMS = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
# The first schema in which a library has a name of its own.
LEAST_SCHEMA = 5

_DIRECTORY = click.argument("dest", metavar="DEST", type=click.Path(path_type=Path))
_AT = click.option("--at", metavar="TIME", help="The backup, as `backup list` names it, or how its name begins.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line: problems, and a summary.")


class _Backup(click.RichGroup):
    """`backup DEST` makes a backup; only `verify` and `list` are commands. A directory of such a name is `./verify`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in ("verify", "list", *ctx.help_option_names):
            args = ["DEST", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Backup)
def backup() -> None:
    """Copy the library to another disk, also while the server runs."""


class _Make(click.RichCommand):
    """Has its argument as its name."""

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != "DEST"]


@backup.command("DEST", cls=_Make)
@configuration_options
@_DIRECTORY
@click.option("--keep", type=click.IntRange(1), default=7, show_default=True, help="How many backups to keep.")
@_JSON
def make(config_path: Path | None, data_dir: Path | None, dest: Path, keep: int, as_json: bool) -> None:
    """Make a backup in the directory DEST: the database, and the files that it does not have yet."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    yield_to_others()
    report, begun_at = Report(as_json), time.monotonic()
    library, root = settings.data_dir.absolute(), dest.absolute()
    with _interruptible(EARLIER_STAY), _open(library) as conn:
        refuse_overlap(root, library)
        with disk_errors(root, EARLIER_STAY):
            directory = make_backup_dir(root, get_library_id(conn), f"imgpro-lite {__version__}", library)
        if root.stat().st_dev == library.stat().st_dev:
            click.echo(f"{root} is on the same disk as the library: a backup there is lost with that disk.", err=True)
        with hold_backup_dir(directory), show_progress() as progress:
            made = make_backup(Making(conn, library, directory, keep, report.add, progress, Clock()))
    seconds = time.monotonic() - begun_at
    report.end({"seconds": round(seconds, 3), **asdict(made)}, *_lines(made, directory, seconds))
    sys.exit(EXIT_PROBLEMS if report.found else 0)


@contextmanager
def _interruptible(what_is_left: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Interrupted. {what_is_left}", err=True)
        sys.exit(EXIT_INTERRUPTED)


@contextmanager
def _open(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The library, as it is. Raises OperatorError."""
    path = data_dir / DATABASE_NAME
    with database_errors(path):
        conn = connect_file(path, read_only=True) if is_writable(data_dir) else connect_unwritable(path)
    with closing(conn):
        with database_errors(path):
            version = schema_version(conn)
        if not version:
            refuse_lost(conn)
        if version < LEAST_SCHEMA:
            raise OperatorError(
                f"The database {path} is of an older version. Start the server once with this one, which keeps a copy "
                "of it and brings it up to date; then make the backup."
            )
        yield conn


def _lines(made: Made, directory: BackupDir, seconds: float) -> list[str]:
    lines = [
        f"Backup {made.name} of {_count(made.images, 'image')} is made: copied {_count(made.copied_files, 'file')} "
        f"({size_text(made.copied_bytes)}) and the database ({size_text(made.database_bytes)}); "
        f"{made.there_files:,} files ({size_text(made.there_bytes)}) were there. It took {seconds:.1f} s.",
        f"{directory.root} has {_count(made.kept_backups, 'backup')}"
        + (
            f"; {made.removed_backups:,} older ones and {made.removed_files:,} files went."
            if made.removed_backups
            else "."
        ),
    ]
    if made.missing_files:
        return [
            *lines,
            f"{made.missing_files:,} files are missing or damaged in the library, and not in this backup: "
            "`imgpro-lite fsck` says what to do.",
        ]
    return [*lines, f"Now and then: imgpro-lite backup verify {directory.root}"]


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


@backup.command("verify")
@_DIRECTORY
@_AT
@click.option("--quick", is_flag=True, help="Do not read the files, only look at their lengths.")
@_JSON
def verify_(dest: Path, at: str | None, quick: bool, as_json: bool) -> None:
    """Read everything that the backups in DEST need, or that one needs. Ends with 1 when something is damaged."""
    yield_to_others()
    report = Report(as_json)
    with _interruptible("What was found until then is above."):
        directory = open_backup_dir(dest.absolute())
        with hold_backup_dir(directory), disk_errors(directory.root, ""), show_progress() as progress:
            newest = directory.find(at)
            backups = [newest] if at else directory.list_backups()
            verified = verify(Verification(directory, quick, report.add, progress), backups)
    verdict = "Everything is as it was copied."
    if report.found:
        verdict = (
            f"Problems found: {report.found.total():,}. Make a backup again: it copies from the library what is "
            "damaged or missing here, unless it lacks that itself, which `imgpro-lite fsck` tells. "
            "A backup whose database is damaged cannot be mended; remove its folder."
        )
    looked = f"Looked at {_count(verified.files, 'file')} of {_count(verified.backups, 'backup')}"
    report.end(asdict(verified), f"{looked}; read {size_text(verified.read_bytes)}.", verdict)
    sys.exit(EXIT_PROBLEMS if report.found else 0)


@backup.command("list")
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(dest: Path, as_json: bool) -> None:
    """List the backups in DEST, oldest first."""
    directory = open_backup_dir(dest.absolute())
    with disk_errors(directory.root, ""):
        backups = directory.list_backups()
    if as_json:
        echo(json.dumps([{"name": backup.name, **asdict(backup.about)} for backup in backups]))
        return
    table = Table("Name", "Made (UTC)", "Images", "Files", "Size", "Missing files", "Version", box=None)
    for found in backups:
        about = found.about
        table.add_row(
            found.name,
            date_text(about.made_at),
            f"{about.images:,}",
            f"{about.files:,}",
            size_text(about.size_bytes + about.database_bytes),
            f"{about.missing_files:,}",
            about.version,
        )
    print_table(table)
