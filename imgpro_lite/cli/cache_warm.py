"""`imgpro-lite cache warm`: variants made before anybody asks for them."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.offline import library_clock, open_library, require_database, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError
from imgpro_lite.formats import CONVERTIBLE_TO, SIZES_PX, Format, parse_extension
from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.process import WorkerDied
from imgpro_lite.models import Media
from imgpro_lite.runtime import Maker
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
from imgpro_lite.single_flight import SingleFlight
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.cache import VariantCache
from imgpro_lite.store.data_dir import CACHE_NAME, INTERMEDIATES_NAME, operator_errors
from imgpro_lite.store.files import yield_to_others

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

# Uploads are refused below the free-space mark, so this ends long before.
FREE_SPACE_FACTOR = 2
NO_LIMIT_BYTES = sys.maxsize


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
    _require_owner(settings.data_dir)
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
            async with _open_maker(settings) as maker:
                limit_bytes = settings.cache.max_mb * BYTES_PER_MB
                warming = Warming(maker, wanted, limit_bytes, warmed, lambda: progress.advance(task), tell_failure)
                await warming.run(images, parallel=len(maker.pool.pids))

        try:
            asyncio.run(warm_all())
        except KeyboardInterrupt:
            return warmed, True
    return warmed, False


@contextlib.asynccontextmanager
async def _open_maker(settings: Settings) -> AsyncIterator[Maker]:
    """Workers of the command's own, and the server's files. Raises OperatorError."""
    data_dir = settings.data_dir.absolute()
    blobs = BlobStore(data_dir, FREE_SPACE_FACTOR * settings.storage.min_free_mb * BYTES_PER_MB)
    cache, intermediates = (VariantCache(data_dir / name, NO_LIMIT_BYTES) for name in (CACHE_NAME, INTERMEDIATES_NAME))
    with operator_errors(data_dir):
        cache.prepare(beside_server=True)
        intermediates.prepare(beside_server=True)
    # Half as many as the server has, each with as much memory: together they are there besides the server's.
    count, memory_mb = share_out(settings.imaging, sandbox.count_cores(), sandbox.total_memory_mb())
    share = {"workers": max(1, count // 2), "worker_memory_mb": memory_mb}
    imaging = settings.imaging.model_copy(update=share)
    in_flight = SingleFlight()
    pool = WorkerPool(imaging)
    async with contextlib.AsyncExitStack() as stack:
        # Closed in reverse: what was under way ends with the workers, and removes its temporary file.
        stack.push_async_callback(in_flight.drain)
        stack.push_async_callback(pool.close)
        try:
            await pool.start()
        except (WorkerDied, TimeoutError) as error:
            raise OperatorError("The processes that decode pictures do not start.") from error
        yield Maker(imaging, blobs, cache, intermediates, pool, Clock(), in_flight)


def _require_owner(directory: Path) -> None:
    """Raise OperatorError for another user than the server's, who could not read what this one makes."""
    if hasattr(os, "geteuid") and directory.stat().st_uid != os.geteuid():
        raise OperatorError(
            f"The directory {directory.absolute()} belongs to another user. Run this as that user, so that the server "
            "can read what is made."
        )


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
