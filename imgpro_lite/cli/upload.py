"""`imgpro-lite upload`: files and folders to any server of this API."""

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.targets import find_key, find_server
from imgpro_lite.client.uploader import Outcome, Result, Target, Uploader, find_files
from imgpro_lite.errors import OperatorError
from imgpro_lite.logs import escape

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--recursive", "-r", is_flag=True, help="Upload the images in folders, and in folders in them.")
@click.option("--namespace", help="Namespace of every image.")
@click.option("--tags", help="Comma-separated tags of every image.")
@click.option("--server", help="Address of the server. Default: IMGPRO_URL, else the local server.")
@click.option("--key", help="API key. Default: IMGPRO_KEY, else the upload is anonymous.")
@click.option("--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Uploads at the same time.")
@click.option("--src", is_flag=True, help="Print the address of each picture's bytes, not of its page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each file, a line each.")
def upload(
    paths: tuple[Path, ...],
    recursive: bool,
    namespace: str | None,
    tags: str | None,
    server: str | None,
    key: str | None,
    parallel: int,
    src: bool,
    as_json: bool,
) -> None:
    """Upload files and folders, and print the address of each picture's page.

    With a key, running the same command again after an interruption uploads only what is missing. What is there already
    stays as it is: a namespace or tags are given to new images only.
    """
    fields = {name: value for name, value in {"namespace": namespace, "tags": tags}.items() if value}
    target = Target(find_server(server), find_key(key, server), fields)
    files, refused = find_files(list(paths), recursive=recursive)
    show = partial(_print, shown="src" if src else "url", as_json=as_json)
    for result in refused:
        show(result)
    if not files and not refused:
        raise OperatorError("There is no image in these folders.")
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results: list[Result] = []
    interrupted = False
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Uploading", total=len(files))
        uploader = Uploader(target, parallel, lambda seconds: console.print(f"The server asks to wait {seconds} s."))
        try:
            for result in uploader.run(files):
                results.append(result)
                progress.advance(task)
                show(result)
        except KeyboardInterrupt:
            interrupted = True
    console.print(_summary(refused + results, not_tried=len(files) - len(results)))
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if any(result.outcome is Outcome.FAILED for result in refused + results):
        sys.exit(EXIT_SOME_FAILED)


def _print(result: Result, *, shown: str, as_json: bool) -> None:
    """Tell what became of a file; of one that is there, the address that `shown` names."""
    if as_json:
        about = {"path": escape(str(result.path)), "outcome": str(result.outcome), "error": result.error or None}
        click.echo(json.dumps({**about, "media": result.media or None}, ensure_ascii=False))
    elif result.outcome is Outcome.FAILED:
        click.echo(f"{escape(str(result.path))}: {result.error}" + (f" {result.link}" if result.link else ""), err=True)
    else:
        click.echo(result.media.get(shown, ""))


def _summary(results: list[Result], not_tried: int) -> str:
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    if not_tried:
        parts.append(f"{not_tried} not tried")
    return ", ".join(parts)
