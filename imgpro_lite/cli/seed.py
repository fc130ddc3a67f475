"""`imgpro-lite seed`: a folder of images with a `seed.toml`, loaded into the library or written from it."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.making import open_maker, require_owner
from imgpro_lite.cli.offline import library_clock, open_library, require_database, settings_for_command
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.errors import ImgProError, OperatorError
from imgpro_lite.plans import PlanTable
from imgpro_lite.services.seed_export import Exported, export_library, make_export_folder
from imgpro_lite.services.seed_file import Seed, read_seed
from imgpro_lite.services.seeding import Library, Loaded, load_seed
from imgpro_lite.settings import BYTES_PER_MB, Settings
from imgpro_lite.store import seed_rows
from imgpro_lite.store.blobs import BlobStore
from imgpro_lite.store.data_dir import DATABASE_NAME, hold_if_stopped, make_data_dir, operator_errors
from imgpro_lite.store.db import open_database

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


@click.command()
@configuration_options
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--export", "is_export", is_flag=True, help="Write the library to DIR, which must be new or empty.")
def seed(config_path: Path | None, data_dir: Path | None, folder: Path, is_export: bool) -> None:
    """Load the images, teams and keys of the folder DIR, as its seed.toml says, also while the server runs.

    Only what is missing is added. With --export it is the other way round.
    """
    settings = settings_for_command(config_path, data_dir)
    if is_export:
        _export(settings, folder)
    else:
        _load(settings, folder)


def _load(settings: Settings, folder: Path) -> None:
    found = read_seed(folder)
    directory = make_data_dir(settings.data_dir)
    require_owner(directory)
    loaded = Loaded()
    is_interrupted = False
    with hold_if_stopped(directory) as is_alone, _progress("Loading", len(found.images)) as advance:
        try:
            asyncio.run(_load_all(settings, found, loaded, advance, is_alone=is_alone))
        except KeyboardInterrupt:
            is_interrupted = True
        except ImgProError as error:
            raise OperatorError(f"{error} What was loaded before stays.") from error
    click.echo(_summary(loaded, found))
    if is_interrupted:
        click.echo("Interrupted; running it again loads the rest.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    _tell(loaded.list_problems())


async def _load_all(
    settings: Settings, found: Seed, loaded: Loaded, advance: Callable[[], None], *, is_alone: bool
) -> None:
    directory = settings.data_dir.absolute()
    blobs = BlobStore(directory, settings.storage.min_free_mb * BYTES_PER_MB)
    if is_alone:  # else the server has done it, and uploads of its own may be arriving
        with operator_errors(directory):
            blobs.prepare()
    clock = library_clock(settings)
    async with (
        open_database(directory / DATABASE_NAME, clock) as db,
        open_maker(settings, blobs, is_alone=is_alone) as maker,
    ):
        library = Library(settings, PlanTable.from_settings(settings.plans), db, maker)
        await load_seed(library, found, loaded, advance)


def _export(settings: Settings, folder: Path) -> None:
    require_database(settings)
    make_export_folder(folder)
    blobs = BlobStore(settings.data_dir.absolute(), 0)
    exported = Exported()
    now = library_clock(settings).now()
    with open_library(settings) as conn, _progress("Exporting", seed_rows.count_live(conn, now)) as advance:
        export_library(conn, blobs, folder, now, exported, advance)
    click.echo(f"{_count(exported.images, 'image')} and {_count(exported.teams, 'team')} written to {folder}.")
    _tell(exported.problems)


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar, on a terminal: what to call after each image."""
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _summary(loaded: Loaded, found: Seed) -> str:
    made = f"{_count(loaded.teams, 'team')} and {_count(loaded.keys, 'key')} made"
    images = _count(len(found.images), "image")
    return f"{made}; {loaded.images:,} loaded, {loaded.present:,} already there, of {images}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _tell(problems: list[str]) -> None:
    """Say what could not be done, if anything could not."""
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(EXIT_SOME_FAILED)
