"""`imgpro-lite doctor`: what works on this machine. Needs no data directory, and works beside a running server."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import library_clock, print_table
from imgpro_lite.cli.options import configuration_options, load
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.imaging.samples import list_samples
from imgpro_lite.services.diagnosis import diagnose
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.services.doctor import Report, examine
from imgpro_lite.settings import Settings
from imgpro_lite.store.data_dir import list_exposed
from imgpro_lite.store.files import can_rename

EXIT_SOMETHING_FAILS = 1

# The packages that decode and encode, without what else is installed.
_INSTALL = "pip install --upgrade --force-reinstall pyvips-binary pillow pillow-heif tinycss2"


@click.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Try out every image format, and look at libraries, protections, disk, access, clock and settings. Ends with 1
    when a format or anything else fails."""
    configuration = load(config_path, {"data_dir": data_dir})
    # As the system knows it, so that what is told of it can be pasted anywhere.
    real_dir = Path(os.path.realpath(configuration.settings.data_dir))
    settings = configuration.settings.model_copy(update={"data_dir": real_dir})
    report = asyncio.run(examine(settings.imaging, list_samples()))
    findings = diagnose(settings, configuration.path, report.libraries, _clock(settings))
    ok = report.ok and not any(finding.level is Level.FAILURE for finding in findings)
    if as_json:
        warnings = {"exposed": _list_exposed(settings.data_dir), "separate": _list_separate(settings.data_dir)}
        shown = asdict(report) | warnings | {"findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps({"ok": ok} | shown))
    else:
        for title, show in _SECTIONS.items():
            click.echo(title)
            show(report)
            click.echo()
        _show_findings(findings)
        click.echo(_verdict(report, findings))
    sys.exit(0 if ok else EXIT_SOMETHING_FAILS)


def _clock(settings: Settings) -> Clock:
    """The time of the library: beside a server in dev mode, its."""
    try:
        return library_clock(settings)
    except (OperatorError, OSError):  # not for this user
        return Clock()


def _show_findings(findings: Sequence[Finding]) -> None:
    for area in Area:
        click.echo(area)
        for finding in findings:
            if finding.area is area:
                click.echo(f" {finding.level:<7}  {finding.what}")
                for line in filter(None, (finding.why, finding.todo)):
                    click.echo(f"          {line}")
        click.echo()


def _show_formats(report: Report) -> None:
    versions = {library.name: library.version for library in report.libraries}
    table = Table("Format", "Sample", "Reads", "Writes", "Decoded by", box=None)
    for check in report.formats:
        decoder = f"{check.library} {versions.get(check.library) or ''}" if check.library else ""
        table.add_row(str(check.format), check.sample, _yes_no(check.reads), _yes_no(check.writes), decoder)
    print_table(table)
    for check in report.formats:
        if check.problem:
            click.echo(f"  {check.format}, {check.sample}: {check.problem}")


def _show_libraries(report: Report) -> None:
    table = Table("Library", "Version", "Part of", box=None)
    for library in report.libraries:
        table.add_row(library.name, library.version or "not found", library.inside or "")
    print_table(table)
    click.echo(
        "  libvips has its own JPEG, PNG, WebP, GIF, AVIF, TIFF and SVG codecs, which do not tell their versions."
    )


def _show_protections(report: Report) -> None:
    table = Table("Protection", "In force", box=None)
    for check in report.protections:
        table.add_row(check.name, _yes_no(check.in_force))
    print_table(table)
    for check in report.protections:
        if not check.in_force:
            click.echo(f'  Without "{check.name}": {check.advice}')


def _show_limits(report: Report) -> None:
    table = Table("Format", "Kind", "Megapixels at most", box=None)
    for largest in report.largest_pictures:
        table.add_row(str(largest.format), largest.kind, str(largest.megapixels))
    print_table(table)
    workers = report.workers
    click.echo(f"  `serve` starts {workers.count} of these workers, each with {workers.memory_mb} MB of address space.")


# In the order in which they are printed.
_SECTIONS: dict[str, Callable[[Report], None]] = {
    "Formats": _show_formats,
    "Libraries": _show_libraries,
    "Protections of the workers": _show_protections,
    "Limits of the workers": _show_limits,
}


def _list_exposed(data_dir: Path) -> list[str]:
    """What others may read, with the commands that end it. It is among the findings too; programs know it from here."""
    try:
        exposed = list_exposed(data_dir.absolute())
    except OSError:
        return []
    return [
        f"Other users of this machine may read {found.path} (mode {found.mode:o}). "
        f"Make it private: chmod {found.private_mode:o} {found.path}"
        for found in exposed
    ]


def _list_separate(data_dir: Path) -> list[str]:
    """A warning of disks that keep uploads from being stored; the same is true of it."""
    data_dir = data_dir.absolute()
    try:
        if can_rename(data_dir / "tmp", data_dir / "blobs"):
            return []
    except OSError:  # there is no library, or it is not for this user, as `serve` would say
        return []
    return [
        f"{data_dir / 'blobs'} and {data_dir / 'tmp'} are on different file systems, so that no upload can be stored. "
        f"Mount the disk at {data_dir} instead, with everything in it."
    ]


def _verdict(report: Report, findings: Sequence[Finding]) -> str:
    """Whether all is well, and what to do if not."""
    broken = sum(1 for check in report.formats if check.problem)
    missing = sum(1 for check in report.protections if not check.in_force)
    if broken:
        return (
            f"{broken} of {len(report.formats)} samples fail; the reasons are below the first table.\n"
            f"Where a library is missing or broken, install it again: {_INSTALL}"
        )
    failures = sum(1 for finding in findings if finding.level is Level.FAILURE)
    warnings = sum(1 for finding in findings if finding.level is Level.WARNING)
    if failures:
        return f"Every format works. But the server cannot do its work: {_count(failures, 'failure')}; see above."
    if missing:
        return f"Every format works. {missing} of {len(report.protections)} protections are not in force; see above."
    if warnings:
        return f"Every format works. Every protection is in force; but mind {_count(warnings, 'warning')} above."
    return "All is well: every format works, and every protection is in force."


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _yes_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[value]
