"""`imgpro-lite push` and `pull`: a team's images from one server of this API to another, with what is said of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import rich_click as click

from imgpro_lite.cli.transfer_report import Report
from imgpro_lite.cli.transfer_sides import Place, far_place, near_place
from imgpro_lite.client.transfer.copying import Choices, Copying, Outcome
from imgpro_lite.client.transfer.errors import TransferError
from imgpro_lite.client.transfer.journal import Journal, default_path
from imgpro_lite.client.transfer.originals import Originals
from imgpro_lite.client.transfer.patience import Patience
from imgpro_lite.client.transfer.planning import Plan, check_apart, check_journal, list_images
from imgpro_lite.client.transfer.sides import Side
from imgpro_lite.errors import OperatorError

EXIT_SOME_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--key", help="API key of the other server. Default: IMGPRO_FAR_KEY."),
    click.option("--server", help="Address of our own server. Default: IMGPRO_URL, else the local server."),
    click.option("--server-key", help="API key of our own server. Default: IMGPRO_KEY."),
    click.option("--namespace", help="Copy only the images of a namespace."),
    click.option("--tags", help="Copy only images with all of these comma-separated tags."),
    click.option("--created-as-date", is_flag=True, help="Images without a date get the time of their upload as one."),
    click.option("--update", is_flag=True, help="Also bring the fields of images that are there already up to date."),
    click.option(
        "--take-converted", is_flag=True, help="Where an original cannot be had, take what browsers are shown."
    ),
    click.option("--unverified", is_flag=True, help="Copy even if the destination's key keeps images only for a time."),
    click.option("--dry-run", is_flag=True, help="Only list what would be copied."),
    click.option(
        "--map", "map_path", type=click.Path(path_type=Path), help="Write old and new addresses to a CSV file."
    ),
    click.option("--journal", "journal_path", type=click.Path(path_type=Path), help="File that notes what is copied."),
    click.option(
        "--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Images at the same time."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each image, a line each."),
)


def _with_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class _Wishes:
    """The options that both commands have."""

    key: str | None
    server: str | None
    server_key: str | None
    namespace: str | None
    tags: str | None
    created_as_date: bool
    update: bool
    take_converted: bool
    unverified: bool
    dry_run: bool
    map_path: Path | None
    journal_path: Path | None
    parallel: int
    as_json: bool


@click.command()
@click.option("--to", required=True, metavar="URL", help="Address of the server that gets the images.")
@_with_options
def push(to: str, **options: Any) -> None:
    """Copy a team's images from our server to another one.

    Names, tags, namespaces, metadata, dates, visibility and external ids are kept; ids and addresses are new. Running
    the same command again copies only what is missing. Nothing is deleted on either side.
    """
    wishes = _Wishes(**options)
    _transfer(near_place(wishes.server, wishes.server_key), far_place(to, wishes.key), wishes)


@click.command()
@click.option("--from", "from_", required=True, metavar="URL", help="Address of the server that has the images.")
@_with_options
def pull(from_: str, **options: Any) -> None:
    """Copy a team's images from another server to ours.

    Names, tags, namespaces, metadata, dates, visibility and external ids are kept; ids and addresses are new. Running
    the same command again copies only what is missing. Nothing is deleted on either side.
    """
    wishes = _Wishes(**options)
    _transfer(far_place(from_, wishes.key), near_place(wishes.server, wishes.server_key), wishes)


def _transfer(origin: Place, target: Place, wishes: _Wishes) -> None:
    report = Report(as_json=wishes.as_json)
    patience = Patience(report.note_wait)
    for place in (origin, target):
        if place.is_overheard:
            report.say(
                f"Warning: the key goes unencrypted to {place.server}, for everybody on the way to read. Use https."
            )
    try:
        with _sides(origin, target, wishes, patience) as (source, destination, originals, journal):
            _copy(source, destination, originals, journal, wishes, patience, report)
    except TransferError as error:
        raise OperatorError(str(error)) from None
    except KeyboardInterrupt:
        report.sum_up()
        sys.exit(EXIT_INTERRUPTED)
    if report.counts[Outcome.FAILED]:
        sys.exit(EXIT_SOME_FAILED)


@contextmanager
def _sides(
    origin: Place, target: Place, wishes: _Wishes, patience: Patience
) -> Iterator[tuple[Side, Side, Originals, Journal]]:
    """Everything that is open during a transfer."""
    path = wishes.journal_path or default_path((origin.server, origin.key), (target.server, target.key))
    tls = httpx2.create_ssl_context()  # for all connections: each takes 20 ms to make
    with ExitStack() as stack:
        journal = Journal(path, origin.server, target.server)
        stack.callback(journal.close)
        source = Side("The source", origin.server, origin.key, wishes.parallel, patience, tls)
        stack.callback(source.close)
        destination = Side("The destination", target.server, target.key, wishes.parallel, patience, tls)
        stack.callback(destination.close)
        originals = Originals(origin.server, wishes.parallel, patience, tls, may_be_converted=wishes.take_converted)
        stack.callback(originals.close)
        yield source, destination, originals, journal


def _copy(
    source: Side,
    destination: Side,
    originals: Originals,
    journal: Journal,
    wishes: _Wishes,
    patience: Patience,
    report: Report,
) -> None:
    """Check both sides, list, and copy. Raises OperatorError, TransferError, KeyboardInterrupt."""
    source.on_listed = destination.on_listed = report.note_listed
    source_usage, usage = source.usage(), destination.usage()
    destination.check_writing()
    if not (usage.verified or wishes.unverified or wishes.dry_run):
        raise OperatorError(
            "The destination's key is not verified: it keeps images for a limited time, and deletes them then. Verify "
            "it first. To copy all the same, add --unverified."
        )
    check_apart(source, destination)
    check_journal(destination, journal)
    choices = Choices(wishes.parallel, wishes.created_as_date, wishes.update)
    copying = Copying(source, destination, originals, journal, choices, patience)
    if (in_doubt := len(journal.doubts)) and not wishes.dry_run:
        report.say(f"Uploads under way when the last run ended: {in_doubt}; arrived: {copying.settle()}")
    plan = _plan(source, journal, wishes, report)
    key_days = None if source_usage.verified else plan.longest_days
    report.begin(plan, usage, key_days)
    if not wishes.dry_run:
        with report.progress(plan):
            for result in copying.run(plan.ids, key_days):
                report.take(result)
    if wishes.map_path:
        report.say(f"{wishes.map_path}: {journal.write_map(wishes.map_path)} old and new addresses")
    report.sum_up()


def _plan(source: Side, journal: Journal, wishes: _Wishes, report: Report) -> Plan:
    query = {"namespace": wishes.namespace, "tags": wishes.tags}
    on_item = report.plan_item if wishes.dry_run else None
    return list_images(source, {name: value for name, value in query.items() if value}, journal.known, on_item)
