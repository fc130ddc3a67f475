"""`imgpro-lite cache …`: the cache of variants, from the operator's side. Works beside a running server."""

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.cache_warm import warm
from imgpro_lite.cli.offline import date_text, print_table, require_database, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.formats import SIZES_PX
from imgpro_lite.services.cache_stats import CacheStats, Share, summarize
from imgpro_lite.settings import BYTES_PER_MB
from imgpro_lite.store.cache_files import CacheFiles
from imgpro_lite.store.data_dir import CACHE_NAME, INTERMEDIATES_NAME, operator_errors

_SIZE_ORDER = [*SIZES_PX, "full"]


@click.group()
def cache() -> None:
    """Show, empty and fill the cache of resized and converted pictures, also while the server runs."""


cache.add_command(warm)


@cache.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show what the cache holds. Pictures that could not be made are remembered by the server only."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with operator_errors(settings.data_dir):
        found = summarize(CacheFiles(settings.data_dir / CACHE_NAME).read())
        intermediates = summarize(CacheFiles(settings.data_dir / INTERMEDIATES_NAME).read()).total
    limit_bytes = settings.cache.max_mb * BYTES_PER_MB
    intermediates_limit_bytes = settings.cache.intermediates_mb * BYTES_PER_MB
    if as_json:
        shown = _share_json(found.total, limit_bytes) | {
            "least_recently_used_at": found.least_recently_used_at,
            "kinds": [{"format": kind[0], "size": kind[1], **_share_json(share)} for kind, share in _kinds(found)],
            "outdated": _share_json(found.outdated),
            "intermediates": _share_json(intermediates, intermediates_limit_bytes),
        }
        click.echo(json.dumps(shown))
        return
    click.echo(f"Variants:      {_share_text(found.total, limit_bytes)}")
    click.echo(f"Intermediates: {_share_text(intermediates, intermediates_limit_bytes)}")
    if found.outdated.variants:
        click.echo(f"Outdated:      {found.outdated.variants:,} of earlier versions, for which nobody will ask again")
    if found.least_recently_used_at is not None:
        click.echo(f"Oldest use:    {date_text(found.least_recently_used_at)} UTC")
    if found.kinds:
        table = Table("Format", "Size", "Variants", "MB", box=None)
        for (format_, size), share in _kinds(found):
            table.add_row(format_, size, f"{share.variants:,}", _mb(share.size_bytes))
        print_table(table)


@cache.command()
@configuration_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(config_path: Path | None, data_dir: Path | None, yes: bool) -> None:
    """Remove all variants and intermediates. They are made again when they are asked for; no original is touched."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    if not yes:
        click.confirm(f"Remove all resized and converted pictures in {settings.data_dir.absolute()}?", abort=True)
    files = size_bytes = 0
    for name in (CACHE_NAME, INTERMEDIATES_NAME):
        directory = CacheFiles(settings.data_dir / name)
        with operator_errors(settings.data_dir):
            try:
                removed = directory.remove_all()
            finally:
                directory.announce_change()
        files += removed.files
        size_bytes += removed.size_bytes
    click.echo(f"Removed {files:,} files, {_mb(size_bytes)} MB.")


def _kinds(found: CacheStats) -> list[tuple[tuple[str, str], Share]]:
    """The formats by name, and their sizes from the smallest on."""
    return sorted(found.kinds.items(), key=lambda item: (item[0][0], _SIZE_ORDER.index(item[0][1])))


def _share_json(share: Share, limit_bytes: int | None = None) -> dict[str, Any]:
    counts = {"variants": share.variants, "bytes": share.size_bytes}
    return counts if limit_bytes is None else {**counts, "limit_bytes": limit_bytes}


def _share_text(share: Share, limit_bytes: int) -> str:
    full_percent = 100 * share.size_bytes / limit_bytes if limit_bytes else 0
    return (
        f"{share.variants:,} files, {_mb(share.size_bytes)} of {limit_bytes // BYTES_PER_MB:,} MB "
        f"({full_percent:.0f} % full)"
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / BYTES_PER_MB:,.1f}"
