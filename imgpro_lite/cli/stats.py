"""`imgpro-lite stats`: what the library holds. It only reads, beside a running server or on a stopped library."""

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import library_clock, print_table, require_database, settings_for_command, size_text
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.services.stats import SOON_DAYS, CacheUse, Stats, TeamShare, gather
from imgpro_lite.store.data_dir import DATABASE_NAME, operator_errors
from imgpro_lite.store.sqlite_file import database_errors

LARGEST = 5


@click.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show how many images, teams and bytes there are, what grows, and what will go soon. Changes nothing."""
    settings = settings_for_command(config_path, data_dir)
    with operator_errors(settings.data_dir):
        require_database(settings)
        with database_errors(settings.data_dir / DATABASE_NAME):
            found = gather(settings, library_clock(settings), LARGEST)
    if as_json:
        click.echo(json.dumps(asdict(found)))
        return
    _show_totals(found)
    _show_formats(found)
    _show_teams(found)
    _show_namespaces(found)


def _show_totals(found: Stats) -> None:
    uploads = found.uploads
    table = Table(show_header=False, box=None)
    for name, value in (
        ("Images", f"{found.images:,}"),
        ("As uploaded", size_text(found.uploaded_bytes)),
        ("As stored", f"{size_text(found.stored_bytes)}, equal files once and deleted ones too"),
        ("Stored in 24 hours", f"{uploads.last_day:,}"),
        ("In 7 days, 30 days", f"{uploads.last_7_days:,}, {uploads.last_30_days:,}"),
        ("Charged this month", f"{found.month_uploads:,} uploads"),
        (f"Ending in {SOON_DAYS} days", f"{found.expiring_soon:,}"),
        ("Deleted, in grace", f"{found.deleted_images:,}, {size_text(found.deleted_bytes)}"),
        ("Teams", ", ".join(f"{_teams(found, kind):,} {kind}" for kind in ("verified", "unverified"))),
        ("Anonymous images", size_text(sum(one.storage_bytes for one in found.teams if one.kind == "anonymous"))),
        ("Variants", _cache_text(found.variants)),
        ("Intermediates", _cache_text(found.intermediates)),
        ("Mail waiting", f"{found.mails_waiting:,}"),
        ("Database", size_text(found.database_bytes)),
        ("Free disk", size_text(found.free_bytes)),
    ):
        table.add_row(name, value)
    print_table(table)


def _teams(found: Stats, kind: str) -> int:
    return sum(group.teams for group in found.teams if group.kind == kind)


def _cache_text(cache: CacheUse) -> str:
    return f"{cache.files:,} files, {size_text(cache.size_bytes)} of {size_text(cache.limit_bytes)}"


def _show_formats(found: Stats) -> None:
    if not found.formats:
        return
    table = Table("Format", "Images", "Size", box=None)
    for use in found.formats:
        table.add_row(use.format, f"{use.images:,}", size_text(use.size_bytes))
    click.echo()
    print_table(table)


def _show_teams(found: Stats) -> None:
    if not found.largest_teams:
        return
    table = Table("Largest teams", "Address", "Plan", "Stored", "Uploads this month", box=None)
    for team in found.largest_teams:
        plan = team.plan if team.kind == "verified" else f"{team.plan}, {team.kind}"
        table.add_row(team.team, team.email or "", plan, _stored_text(team), _of(team.uploads_used, team.uploads_limit))
    click.echo()
    print_table(table)


def _stored_text(team: TeamShare) -> str:
    limit = team.storage_limit_bytes
    stored = size_text(team.storage_bytes)
    return stored if limit is None else f"{stored} of {size_text(limit)}"


def _of(used: int, limit: int | None) -> str:
    return f"{used:,}" if limit is None else f"{used:,} of {limit:,}"


def _show_namespaces(found: Stats) -> None:
    if not found.largest_namespaces:
        return
    table = Table("Largest namespaces", "Team", "Images", "Stored", box=None)
    for use in found.largest_namespaces:
        table.add_row(use.namespace, use.team, f"{use.images:,}", size_text(use.storage_bytes))
    click.echo()
    print_table(table)
