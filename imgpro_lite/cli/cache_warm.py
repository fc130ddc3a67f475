"""`imgpro-lite cache warm`: variants made before anybody asks for them."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.making import open_maker, require_owner
from imgpro_lite.cli.offline import library_clock, open_library, require_database, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.formats import CONVERTIBLE_TO, SIZES_PX, Format, parse_extension
from imgpro_lite.models import Media
from imgpro_lite.services.making import Variant
from imgpro_lite.services.warming import (
    FULL_SHARE,
    Selection,
    Stop,
    Wanted,
    Warmed,
    Warming,
    count_images,
    list_images,
)
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.files import yield_to_others

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

# Uploads are refused below the free-space mark, so this ends long before.
FREE_SPACE_FACTOR = 2


@click.command()
@configuration_options
@click.option("--email", help="Only images of this address.")
@click.option("--namespace", help="Only images of this namespace.")
@click.option("--limit", type=click.IntRange(min=1), help="How many images at most, the newest first. Default: all.")
@click.option("--size", "sizes", default="m", show_default=True, help="Comma-separated sizes: s, m, l, full.")
@click.option(
    "--format", "formats", default="webp", show_default=True, help="Comma-separated formats: jpeg, png, webp, avif."
)
def warm(
    config_path: Path | None,
    data_dir: Path | None,
    email: str | None,
    namespace: str | None,
    limit: int | None,
    sizes: str,
    formats: str,
) -> None:
    """Make the variants that are missing, the newest images first, until the cache is nearly full.

    The default is what most pages show: pictures of medium size as WebP. Running it again after an interruption makes
    only what is still missing.
    """
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    require_owner(settings.data_dir)
    wanted = Wanted(_sizes(sizes), _formats(formats))
    selection = Selection(email, namespace, limit)
    yield_to_others()
    with open_library(settings) as conn:
        now = library_clock(settings).now()
        warmed, interrupted = _run(
            settings, wanted, list_images(conn, selection, now), count_images(conn, selection, now)
        )
    click.echo(_summary(warmed, settings))
    if interrupted:
        click.echo("Interrupted; running it again makes the rest.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if warmed.failed:
        sys.exit(EXIT_SOME_FAILED)


def _run(settings: Settings, wanted: Wanted, images: Iterator[Media], count: int) -> tuple[Warmed, bool]:
    """Make the variants of these images with a progress bar: what was done, and whether Ctrl-C ended it."""
    warmed = Warmed()
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Warming", total=count)

        def tell_failure(variant: Variant, reason: str) -> None:
            console.print(f"{_address(variant)}: {reason}", soft_wrap=True)

        async def warm_all() -> None:
            blobs = BlobStore(
                settings.data_dir.absolute(), FREE_SPACE_FACTOR * settings.storage.min_free_mb * BYTES_PER_MB
            )
            async with open_maker(settings, blobs) as maker:
                limit_bytes = settings.cache.max_mb * BYTES_PER_MB
                warming = Warming(maker, wanted, limit_bytes, warmed, lambda: progress.advance(task), tell_failure)
                await warming.run(images, parallel=len(maker.pool.pids))

        try:
            asyncio.run(warm_all())
        except KeyboardInterrupt:
            return warmed, True
    return warmed, False


def _sizes(text: str) -> list[str | None]:
    """The sizes of --size. Raises BadParameter."""
    names = [part.strip().lower() for part in text.split(",")]
    if not set(names) <= {*SIZES_PX, "full"}:
        raise click.BadParameter(f"choose from {', '.join(SIZES_PX)} and full", param_hint="--size")
    return [None if name == "full" else name for name in names]


def _formats(text: str) -> list[Format]:
    """The formats of --format. Raises BadParameter."""
    formats = [parse_extension(part.strip()) for part in text.split(",")]
    known = [format_ for format_ in formats if format_ in CONVERTIBLE_TO]
    if len(known) < len(formats):
        raise click.BadParameter(f"choose from {', '.join(sorted(CONVERTIBLE_TO))}", param_hint="--format")
    return known


def _address(variant: Variant) -> str:
    """What a variant's address ends with."""
    media = variant.media
    edge = f" at {variant.short_edge_px} px" if variant.short_edge_px else ""
    return f"{media.id}.{variant.format}{edge}"


def _summary(warmed: Warmed, settings: Settings) -> str:
    """One line for what was done, and one for why it stopped."""
    parts = [f"{warmed.made:,} made", f"{warmed.present:,} already there"]
    if warmed.failed:
        parts.append(f"{warmed.failed:,} could not be made")
    lines = [f"{', '.join(parts)}, of {warmed.images:,} images."]
    match warmed.stopped:
        case Stop.CACHE_FULL:
            lines.append(
                f"Stopped: the cache has reached {FULL_SHARE:.0%} of its {settings.cache.max_mb:,} MB. "
                "Raise [cache] max_mb, or make room with `imgpro-lite cache clear`."
            )
        case Stop.DISK_LOW:
            lines.append("Stopped: little disk space is left, and uploads need it.")
    return "\n".join(lines)
