"""`imgpro-lite restore`: a backup becomes the library."""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import rich_click as click

from imgpro_lite.cli.backup import EXIT_INTERRUPTED, EXIT_PROBLEMS
from imgpro_lite.cli.backup_report import Report
from imgpro_lite.cli.fsck_progress import show_progress
from imgpro_lite.cli.offline import settings_for_command, size_text
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.services.backup.restoring import Restored, Restoring, check_backup, restore_backup
from imgpro_lite.store.backup_dir import Backup, normalize_time
from imgpro_lite.store.backup_place import hold_backup_dir, open_backup_dir, refuse_overlap
from imgpro_lite.store.data_dir import hold_data_dir
from imgpro_lite.store.restoring_dir import RestoringDir


@click.command()
@configuration_options
@click.argument("dest", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--at", metavar="TIME", help="The backup, as `backup list` names it, or how its name begins.")
@click.option("--replace", is_flag=True, help="Also where there is something: it is moved to set-aside/, and kept.")
@click.option("--skip-damaged", is_flag=True, help="Also a backup that lacks files, without these.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line: problems, and a summary.")
def restore(
    config_path: Path | None,
    data_dir: Path | None,
    dest: Path,
    at: str | None,
    replace: bool,
    skip_damaged: bool,
    as_json: bool,
) -> None:
    """Make a backup in the directory DEST the library, in a data directory that is empty or new.

    No server may run there. Everything is copied and checked before anything is changed.
    """
    settings = settings_for_command(config_path, data_dir)
    target, report, begun_at = settings.data_dir.absolute(), Report(as_json), time.monotonic()
    if RestoringDir(target).is_moving:
        _finish(target, report, dest, at)
        return
    try:
        directory = open_backup_dir(dest.absolute())
        refuse_overlap(directory.root, target)
        with hold_backup_dir(directory), show_progress() as progress:
            backup = directory.find(at)
            restoring = Restoring(directory, backup, target, replace, skip_damaged, report.add, progress, Clock())
            check_backup(restoring)
            restored = _restore(restoring)
    except KeyboardInterrupt:
        click.echo("Interrupted. Running it again goes on where it was.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except OperatorError:
        report.end_problems()
        raise
    seconds = time.monotonic() - begun_at
    summary = {**asdict(restored), "aside": restored.aside and str(restored.aside), "seconds": round(seconds, 3)}
    report.end({"backup": backup.name, **summary}, *_lines(restoring, backup, restored, seconds))
    sys.exit(EXIT_PROBLEMS if report.found else 0)


def _finish(data_dir: Path, report: Report, dest: Path, at: str | None) -> None:
    """Finish an earlier restore. Ends with 1 when it was not the one that is asked for now."""
    source = RestoringDir(data_dir).read_source()
    with hold_data_dir(data_dir, to_restore=True):
        pass
    done = f"An earlier restore, which was interrupted at its end, was finished: of the backup {source.backup} in "
    done = f"{done}{source.directory}."
    is_asked = Path(source.directory) == dest.absolute() and source.backup.startswith(normalize_time(at))
    report.end({"ok": is_asked, "finished": True, "backup": source.backup, "directory": source.directory}, done)
    if not is_asked:
        raise OperatorError("That is not what was asked for now. Run the same again, with --replace, to restore that.")


def _restore(restoring: Restoring) -> Restored:
    """Restore into a data directory of this process alone; one that is made for it goes again when that fails."""
    is_new = not restoring.data_dir.exists()
    try:
        with hold_data_dir(restoring.data_dir, to_restore=True):
            return restore_backup(restoring)
    except OperatorError:
        if is_new and not RestoringDir(restoring.data_dir).root.exists():
            (restoring.data_dir / "lock").unlink(missing_ok=True)
            restoring.data_dir.rmdir()
        raise


def _lines(restoring: Restoring, backup: Backup, restored: Restored, seconds: float) -> list[str]:
    lines = [
        f"Restored the backup {backup.name} with {restored.images:,} images to {restoring.data_dir}: "
        f"{restored.files:,} files ({size_text(restored.size_bytes)})"
        + (f", and {restored.there_files:,} from before an interruption" if restored.there_files else "")
        + f". It took {seconds:.1f} s."
    ]
    if restored.aside:
        lines.append(f"What was there before is in {restored.aside}; remove it when you do not need it any more.")
    if restored.broken_files:
        lines.append(f"{restored.broken_files:,} files are missing: `imgpro-lite fsck` shows their images.")
    if restored.lost_secret:
        lines.append("Its secret is left out: the next start makes another, and links that were given out do not work.")
    if hasattr(os, "geteuid") and os.geteuid() == 0 and restoring.data_dir.stat().st_uid == 0:
        lines.append(
            f"Everything belongs to root: chown -R it to the server's user, unless that is root: {restoring.data_dir}"
        )
    return [*lines, "Start the server now. Its configuration file is not part of a backup."]
