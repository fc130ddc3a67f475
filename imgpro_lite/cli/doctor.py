"""`imgpro-lite doctor`: what works on this machine. Needs no data directory, and works beside a running server."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import print_table, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.imaging.samples import list_samples
from imgpro_lite.services.doctor import Report, examine
from imgpro_lite.store.data_dir import Exposed, list_exposed
from imgpro_lite.store.files import can_rename

EXIT_SOMETHING_FAILS = 1

# The packages that decode and encode, without what else is installed.
_INSTALL = "pip install --upgrade --force-reinstall pyvips-binary pillow pillow-heif tinycss2"


@click.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Try out every image format, and show libraries, protections and limits. Ends with 1 when a format fails."""
    settings = settings_for_command(config_path, data_dir)
    report = asyncio.run(examine(settings.imaging, list_samples()))
    data_dir = settings.data_dir.absolute()
    exposed = [_exposed_text(found) for found in list_exposed(data_dir)]
    separate = _list_separate(data_dir)
    if as_json:
        click.echo(json.dumps({"ok": report.ok} | asdict(report) | {"exposed": exposed, "separate": separate}))
    else:
        for title, show in _SECTIONS.items():
            click.echo(title)
            show(report)
            click.echo()
        for line in exposed + separate:
            click.echo(line)
        click.echo(_verdict(report, has_warning=bool(exposed or separate)))
    sys.exit(0 if report.ok else EXIT_SOMETHING_FAILS)


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


def _exposed_text(found: Exposed) -> str:
    """A warning, with the command that ends its reason."""
    return (
        f"Other users of this machine may read {found.path} (mode {found.mode:o}). "
        f"Make it private: chmod {found.private_mode:o} {found.path}"
    )


def _list_separate(data_dir: Path) -> list[str]:
    """A warning of disks that keep uploads from being stored."""
    try:
        if can_rename(data_dir / "tmp", data_dir / "blobs"):
            return []
    except OSError:  # there is no library, or it is not for this user, as `serve` would say
        return []
    return [
        f"{data_dir / 'blobs'} and {data_dir / 'tmp'} are on different file systems, so that no upload can be stored. "
        f"Mount the disk at {data_dir} instead, with everything in it."
    ]


def _verdict(report: Report, *, has_warning: bool) -> str:
    """Whether all is well, and what to do if not."""
    broken = sum(1 for check in report.formats if check.problem)
    missing = sum(1 for check in report.protections if not check.in_force)
    if broken:
        return (
            f"{broken} of {len(report.formats)} samples fail; the reasons are below the first table.\n"
            f"Where a library is missing or broken, install it again: {_INSTALL}"
        )
    if missing:
        return f"Every format works. {missing} of {len(report.protections)} protections are not in force; see above."
    if has_warning:
        return "Every format works, and every protection is in force; but mind the warning above."
    return "All is well: every format works, and every protection is in force."


def _yes_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[value]
