"""`imgpro-lite rebuild`: the database anew, from the manifests, when it is lost."""

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from imgpro_lite.cli.fsck_progress import show_progress
from imgpro_lite.cli.offline import library_clock, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.cli.output import echo
from imgpro_lite.errors import OperatorError, StorageFull
from imgpro_lite.services.rebuild import Kind, Options, Problem, Rebuilt
from imgpro_lite.services.rebuild import rebuild as rebuild_library
from imgpro_lite.store.data_dir import operator_errors
from imgpro_lite.store.files import disk_full_as_refusal

EXIT_PROBLEMS = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
# Of each kind, for people; --json has all of them.
SHOWN_PROBLEMS = 20

# What each kind is called, and what becomes of it.
_KINDS: dict[Kind, tuple[str, str]] = {
    Kind.DAMAGED_MANIFEST: (
        "Damaged manifests",
        "What they said is not in the new database. The files are still there, as files of no image.",
    ),
    Kind.OTHER_LIBRARY: ("Manifests of another library", "They were left out."),
    Kind.MISSING_TEAM: (
        "Teams that no manifest has",
        "Their images are there. For each: `imgpro-lite teams set-email TEAM ADDRESS`, with its five characters as "
        "TEAM, then `imgpro-lite keys create --verified --email ADDRESS`; if it had another plan, `teams set-plan`.",
    ),
    Kind.CONFLICT: ("Rows that cannot be as they were", "Only one of two can have the same id or address."),
    Kind.BROKEN_FILE: ("Images without their file", "Restore the file from a backup; `imgpro-lite fsck` says more."),
    Kind.FILE_WITHOUT_IMAGE: (
        "Files of no image",
        "They stay where they are. `imgpro-lite fsck --repair` sets them aside.",
    ),
}
_LOST = """\
Not rebuilt: what was done in the last second or so, sessions, mail that was waiting, requests for plans, attempts of
rate limits. Signed links that were used and sessions that were signed out may work again until they end by themselves;
`imgpro-lite secrets rotate --forget-old` ends them all."""


@click.command()
@configuration_options
@click.option("--dry-run", is_flag=True, help="Only say what would be there again.")
@click.option("--verify", is_flag=True, help="Read every stored file, and compare its checksum.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: each problem, and last a summary.")
def rebuild(config_path: Path | None, data_dir: Path | None, dry_run: bool, verify: bool, as_json: bool) -> None:
    """Make the database anew when it is lost. Ends with 1 when something could not be made as it was.

    It needs the directories blobs and manifests, and no running server. A damaged database is moved to set-aside.
    """
    settings = settings_for_command(config_path, data_dir)
    directory = settings.data_dir.absolute()
    if not directory.is_dir():
        raise OperatorError(f"There is no library in {directory}. Say where it is with --data-dir.")
    outcome = _Outcome(as_json)
    try:
        with show_progress() as progress, operator_errors(directory), disk_full_as_refusal():
            options = Options(verify=verify, dry_run=dry_run)
            rebuilt = rebuild_library(directory, options, outcome.add, progress, library_clock(settings))
    except KeyboardInterrupt:
        click.echo("Interrupted. Nothing was changed.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except StorageFull as error:
        raise OperatorError(f"The disk of {directory} is full; make room first. Nothing was changed.") from error
    outcome.show(rebuilt, dry_run=dry_run)
    sys.exit(EXIT_PROBLEMS if outcome.found.total() else 0)


class _Outcome:
    """What could not be made as it was. For people it is kept until the end, so much of it as they can read."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._kept: dict[Kind, list[Problem]] = {kind: [] for kind in Kind}
        self.found: Counter[Kind] = Counter()

    def add(self, problem: Problem) -> None:
        """Take a problem that was just found."""
        self.found[problem.kind] += 1
        if self._as_json:
            echo(json.dumps(problem.as_json(), ensure_ascii=False))
        elif len(self._kept[problem.kind]) < SHOWN_PROBLEMS:
            self._kept[problem.kind].append(problem)

    def show(self, rebuilt: Rebuilt, *, dry_run: bool) -> None:
        """Print the report, or for scripts its last line."""
        if self._as_json:
            summary = {"ok": not self.found.total(), "dry_run": dry_run, "problems": self.found.total()}
            echo(json.dumps(summary | asdict(rebuilt)))
            return
        for kind, found in self.found.items():
            self._show_kind(kind, found)
        echo(
            f"The database was {rebuilt.database_was}. {'There would be again' if dry_run else 'There are again'} "
            f"{rebuilt.images:,} images, {rebuilt.deleted_images:,} deleted ones that can be restored, "
            f"{rebuilt.teams:,} teams, {rebuilt.keys:,} keys and {rebuilt.blocked_files:,} blocked files."
        )
        if rebuilt.set_aside:
            echo(f"What there was of the old one is in {', '.join(rebuilt.set_aside)}.")
        echo(_LOST)
        if not dry_run:
            echo("Run `imgpro-lite fsck`, and start the server.")

    def _show_kind(self, kind: Kind, found: int) -> None:
        title, advice = _KINDS[kind]
        echo(f"{title}: {found:,}")
        for problem in self._kept[kind]:
            echo(f"  {problem.message}")
        if found > len(self._kept[kind]):
            echo(f"  and {found - len(self._kept[kind]):,} more; --json shows all")
        echo(f"  {advice}")
        echo()
