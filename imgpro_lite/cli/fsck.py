"""`imgpro-lite fsck`: whether everything that is stored is as it should be. Works beside a running server or alone."""

import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from textwrap import indent

import rich_click as click

from imgpro_lite.cli.fsck_progress import show_progress
from imgpro_lite.cli.offline import date_text, require_database, settings_for_command, size_text, wait_until_noticed
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.cli.output import OutputFailed, echo
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError, Overloaded, StorageFull
from imgpro_lite.services.fsck import check_everything
from imgpro_lite.services.fsck.checkup import BrokenImage, Checkup, Counted, Kind, Options, Problem
from imgpro_lite.store.data_dir import DATABASE_NAME, operator_errors
from imgpro_lite.store.files import is_writable, yield_to_others
from imgpro_lite.store.set_aside import SET_ASIDE_NAME
from imgpro_lite.store.sqlite_file import APPLICATION_ID, connect_file, connect_unwritable, database_errors, is_damaged

EXIT_PROBLEMS = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
# Of each kind, for people; --json has all of them.
SHOWN_PROBLEMS = 20

# What the shell makes of a damaged database. `.recover` of SQLite 3.40 gives nothing for generated columns, and `.dump`
# ends with taking back all that it could read, and leaves out what marks the file as ours.
SALVAGE = f"""\
sqlite3 {DATABASE_NAME} .dump | sed 's/^ROLLBACK;.*/COMMIT;/' > saved.sql
echo "PRAGMA application_id = {APPLICATION_ID};" >> saved.sql
echo "PRAGMA user_version = $(sqlite3 {DATABASE_NAME} 'PRAGMA user_version');" >> saved.sql
sqlite3 saved.db < saved.sql"""

# What each kind is called, and what becomes of it.
_KINDS: dict[Kind, tuple[str, str]] = {
    Kind.DATABASE: (
        "The database is damaged",
        "--repair makes indexes anew. For the rest, stop the server and restore the database from a backup; or run "
        "`imgpro-lite rebuild`, which makes it anew from manifests/. Where there is neither, save what can still be "
        "read of it; in the data directory, with the sqlite3 command:\n\n"
        f"{indent(SALVAGE, '    ')}\n\n"
        f"  Then move {DATABASE_NAME}, {DATABASE_NAME}-wal and {DATABASE_NAME}-shm away, rename saved.db to "
        f"{DATABASE_NAME}, and run `imgpro-lite fsck --repair`. Nothing else was looked at.",
    ),
    Kind.SCHEMA: (
        "The database has not the tables of this version",
        "--repair makes indexes and triggers anew; for tables, restore a backup.",
    ),
    Kind.ROW: (
        "Rows that cannot be right",
        f"--repair empties tags and metadata that cannot be read, and keeps what they were in {SET_ASIDE_NAME}/rows/; "
        "--repair --remove-broken marks images of an unknown format as deleted. For the rest, restore a backup.",
    ),
    Kind.COUNT: ("Wrong counts", "--repair counts again."),
    Kind.MISSING_FILE: (
        "Missing files",
        "Restore them from a backup to the same path, or upload the same pictures again. Where neither is possible, "
        "--repair --remove-broken marks their images as deleted.",
    ),
    Kind.DAMAGED_FILE: (
        "Damaged files",
        "Restore them from a backup to the same path, or upload the same pictures again, and then empty the cache. "
        "Where neither is possible, --repair --remove-broken marks their images as deleted and sets the files aside.",
    ),
    Kind.WRONG_LENGTH: ("Lengths that are not those of the files", "--repair takes those of the files."),
    Kind.FILE_WITHOUT_IMAGE: (
        "Files without an image",
        f"--repair moves them to {SET_ASIDE_NAME}/, unless there are no images at all: then restore the database.",
    ),
    Kind.MANIFEST: (
        "Manifests that are missing or wrong",
        f"--repair moves wrong ones to {SET_ASIDE_NAME}/, and has the server write them anew.",
    ),
    Kind.STRAY: ("What does not belong to the stored files", f"--repair moves it to {SET_ASIDE_NAME}/."),
    Kind.LEFTOVER: (
        "Leftovers of uploads",
        "--repair removes them, as the next start of the server does with files, and moves what is no file to "
        f"{SET_ASIDE_NAME}/.",
    ),
    Kind.CACHE: ("Wrong files in the cache", "--repair removes them; what is needed is made again."),
    Kind.ACCESS: (
        "Permissions, links and disks",
        "--repair corrects modes, and as root owners too; the rest is yours to change. The data directory is for the "
        "server's user only, and all of it on one disk.",
    ),
    Kind.START: (
        "What keeps the server from starting",
        f"--repair moves to {SET_ASIDE_NAME}/ what is in the place of something else, which the next start makes anew.",
    ),
}


@click.command()
@configuration_options
@click.option("--quick", is_flag=True, help="Do not read the files, only look at their lengths.")
@click.option("--repair", is_flag=True, help="Put right what can be put right without losing anything.")
@click.option(
    "--remove-broken", is_flag=True, help="With --repair: mark images as deleted whose file is missing or damaged."
)
@click.option("--force", is_flag=True, help="With --remove-broken: also when more than half of the files are missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: each problem, and last a summary.")
def fsck(
    config_path: Path | None,
    data_dir: Path | None,
    quick: bool,
    repair: bool,
    remove_broken: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Check the database, the files, the counts and the cache. Ends with 1 when a problem is left.

    It works beside a running server, with low priority, and reads every stored file.
    """
    if remove_broken and not repair:
        raise click.UsageError("--remove-broken goes with --repair.")
    if force and not remove_broken:
        raise click.UsageError("--force goes with --remove-broken.")
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    yield_to_others()
    outcome = _Outcome(as_json)
    options = Options(quick, repair, remove_broken, force)
    try:
        complete, counted = _run(settings.data_dir.absolute(), options, outcome)
    except KeyboardInterrupt:
        click.echo("Interrupted; what was found until then:", err=True)
        outcome.show(None, complete=False)
        sys.exit(EXIT_INTERRUPTED)
    except OutputFailed:
        raise
    except OperatorError:
        outcome.show(None, complete=False)
        raise
    if remove_broken:
        wait_until_noticed(settings)
    outcome.show(counted, complete=complete)
    sys.exit(EXIT_PROBLEMS if outcome.left else 0)


def _run(data_dir: Path, options: Options, outcome: "_Outcome") -> tuple[bool, Counted | None]:
    """Look at everything: whether the database allowed that, and how much it was. Raises OperatorError."""
    path = data_dir / DATABASE_NAME
    read_only = not is_writable(data_dir)
    if read_only and options.repair:
        raise OperatorError(f"Nothing can be written to {data_dir}, so nothing can be repaired.")
    if read_only:
        click.echo(
            f"Nothing can be written to {data_dir}: whether a server could start there is not looked at.", err=True
        )
    try:
        with database_errors(path):
            conn = connect_unwritable(path) if read_only else connect_file(path)
    except OperatorError as error:
        if not is_damaged(error.__cause__):
            raise
        outcome.add(Problem(Kind.DATABASE, f"It cannot be opened: {error.__cause__}."))
        return False, None
    try:
        # Read through SQLite's own cache: mapped, the whole file would count as this process's memory.
        conn.execute("PRAGMA mmap_size = 0")
        with show_progress() as progress, operator_errors(data_dir):
            checkup = Checkup(data_dir, conn, options, outcome.add, progress, Clock(), read_only)
            return check_everything(checkup), checkup.counted
    except Overloaded as error:
        raise OperatorError(f"The database {path} is held by another program. Try again when it has ended.") from error
    except StorageFull as error:
        raise OperatorError("The disk is full; make room first.") from error
    except sqlite3.DatabaseError as error:
        raise OperatorError(f"The database {path} failed: {error}. What was repaired before stays repaired.") from error
    finally:
        conn.close()


class _Outcome:
    """What was found. For people it is kept until the end, so much of it as they can read."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._kept: dict[Kind, list[Problem]] = {kind: [] for kind in Kind}
        self._found: Counter[Kind] = Counter()
        self._repaired: Counter[Kind] = Counter()

    @property
    def left(self) -> int:
        """How many problems were not repaired."""
        return self._found.total() - self._repaired.total()

    def add(self, problem: Problem) -> None:
        """Take a problem that was just found."""
        self._found[problem.kind] += 1
        self._repaired[problem.kind] += problem.repaired
        if self._as_json:
            echo(json.dumps(problem.as_json(), ensure_ascii=False))
        elif len(self._kept[problem.kind]) < SHOWN_PROBLEMS:
            self._kept[problem.kind].append(problem)

    def show(self, counted: Counted | None, *, complete: bool) -> None:
        """Print the report, or for scripts its last line."""
        if self._as_json:
            summary = {"ok": complete and not self.left, "complete": complete, "found": self._found.total()}
            echo(json.dumps({**summary, "repaired": self._repaired.total(), "left": self.left}))
            return
        for kind, found in self._found.items():
            self._show_kind(kind, found)
        if counted is not None:
            echo(
                f"Looked at {counted.images:,} images, {counted.files:,} files and {counted.cache_files:,} in the "
                f"cache; read {size_text(counted.checksum_bytes)}."
            )
        echo(self._verdict(complete))

    def _show_kind(self, kind: Kind, found: int) -> None:
        title, advice = _KINDS[kind]
        echo(f"{title}: {found:,}" + (f", {self._repaired[kind]:,} repaired" if self._repaired[kind] else ""))
        for problem in self._kept[kind]:
            echo(f"  {problem.message}{' Repaired.' if problem.repaired else ''}")
            for image in problem.images:
                echo(f"    {image_text(image)}")
            if problem.image_count > len(problem.images):
                echo(f"    and {problem.image_count - len(problem.images):,} more images")
        if found > len(self._kept[kind]):
            echo(f"  and {found - len(self._kept[kind]):,} more; --json shows all")
        if found > self._repaired[kind]:
            echo(f"  {advice}")
        echo()

    def _verdict(self, complete: bool) -> str:
        if self.left:
            return f"Problems {'left' if self._repaired.total() else 'found'}: {self.left:,}."
        if not complete:
            return "Not everything was looked at."
        return f"Everything was repaired: {self._found.total():,}." if self._found else "Everything is as it should be."


def image_text(image: BrokenImage) -> str:
    """An image, for people."""
    return f"{image.id} {image.name!r}, of {image.email or 'somebody anonymous'}, since {date_text(image.created_at)}"
