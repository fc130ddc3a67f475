"""What `imgpro-lite push` and `pull` say: the images on standard output, everything else on standard error."""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from imgpro_lite.cli.offline import date_text, size_text
from imgpro_lite.cli.output import echo
from imgpro_lite.client.transfer.copying import Outcome, Result
from imgpro_lite.client.transfer.images import shown_text
from imgpro_lite.client.transfer.planning import Plan
from imgpro_lite.client.transfer.sides import Usage

RATE_FROM_IMAGES = 100  # fewer say nothing about those that would follow
LINE_EVERY_SECONDS = 10  # in a log


class Report:
    """Tells what happens, and counts."""

    def __init__(self, *, as_json: bool) -> None:
        self.counts: Counter[Outcome] = Counter()
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._copied_bytes = 0
        self._not_tried = 0
        self._is_ended = False
        self._begun_at = self._told_at = time.monotonic()
        self._advance: Any = None

    def say(self, text: str) -> None:
        """A line for the one who runs the command."""
        self._console.print(text)

    def note_wait(self, seconds: int) -> None:
        """A server asks to wait."""
        self.say(f"A server asks to wait {seconds} s.")

    def note_listed(self, count: int) -> None:
        """So many images were listed; of many, that is told now and then."""
        if time.monotonic() - self._told_at > LINE_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self.say(f"Listing: {count:,} images so far")

    def plan_item(self, media_id: str, item: Mapping[str, Any]) -> None:
        """An image that would be copied."""
        name, size_bytes = item.get("name"), item.get("filesize")
        shown_bytes = size_bytes if isinstance(size_bytes, int) else 0
        if self._as_json:
            line = {"id": media_id, "outcome": Outcome.PLANNED, "name": name, "filesize": shown_bytes}
            echo(json.dumps(line, ensure_ascii=True))
        else:
            echo(f"{media_id}  {size_text(shown_bytes):>9}  {shown_text(name)}")

    def begin(self, plan: Plan, usage: Usage, key_days: int | None) -> None:
        """What is about to be copied, and whether the destination can take it. `key_days`: when images of the source's
        key end."""
        self.say(f"To copy: {plan.new_images:,} of {len(plan.ids):,} images, {size_text(plan.new_bytes)}")
        self._not_tried = len(plan.ids)
        self._begun_at = time.monotonic()
        left, room_bytes = usage.uploads_remaining, usage.storage_left_bytes
        if left is not None and left < plan.new_images:
            until = f", and more from {date_text(usage.resets_at)} UTC on" if usage.resets_at else ""
            self.say(f"The destination takes {left:,} of them this month{until}. A larger plan lets all of them in.")
        if room_bytes is not None and room_bytes < plan.new_bytes:
            self.say(f"The destination has room for {size_text(room_bytes)}. A larger plan has more.")
        if key_days is not None:
            self.say(
                f"The source's key is not verified: images end {key_days:,} days after their upload. The copies do "
                "not; an image with another end of its own keeps that."
            )
        if not usage.verified:
            self.say("The destination's key is not verified: it keeps images for a limited time only.")

    @contextlib.contextmanager
    def progress(self, plan: Plan) -> Iterator[None]:
        """A bar on a terminal; in a log, each image has a line anyway."""
        columns = (TextColumn("Copying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[size]}"))
        disable = not self._console.is_terminal
        with Progress(
            *columns, TimeRemainingColumn(), console=self._console, transient=True, disable=disable
        ) as progress:
            task = progress.add_task("", total=len(plan.ids), size="")
            self._advance = lambda: progress.update(task, advance=1, size=size_text(self._copied_bytes))
            yield

    def take(self, result: Result) -> None:
        """Tell what became of an image."""
        self.counts[result.outcome] += 1
        self._not_tried -= 1
        if result.outcome is Outcome.COPIED and result.image is not None:
            self._copied_bytes += result.image.filesize_bytes
        self._advance()
        if result.note:
            self.say(f"{result.old_id}: {result.note}")
        if self._as_json:
            self._print(json.dumps(_line_of(result)))
        elif result.error:
            if not (result.ends_all and self._is_ended):  # those under way are refused for the same reason
                self.say(f"{result.old_id}: {result.outcome}: {shown_text(result.error)}")
            self._is_ended = self._is_ended or result.ends_all
        elif result.outcome is not Outcome.PRESENT:
            old = result.image.url if result.image else result.old_id
            self._print(f"{shown_text(old)} {shown_text(result.media.get('url') or result.media.get('id'))}")

    def _print(self, line: str) -> None:
        """A line of standard output; where that is the terminal with the bar, above the bar."""
        if self._console.is_terminal and sys.stdout.isatty():
            self.say(line)
        else:
            echo(line)

    def sum_up(self) -> None:
        """Counts and rate, once."""
        parts = [f"{self.counts[outcome]:,} {outcome}" for outcome in Outcome if self.counts[outcome]]
        if self._not_tried and self.counts:
            parts.append(f"{self._not_tried:,} not tried")
        copied, seconds = self.counts[Outcome.COPIED], max(time.monotonic() - self._begun_at, 0.001)
        if copied >= RATE_FROM_IMAGES:
            parts.append(f"{copied / seconds:,.0f} images and {size_text(int(self._copied_bytes / seconds))} a second")
        if parts:
            self.say(", ".join(parts))
        if self._not_tried and self.counts:
            self.say("Run the same command again for the rest: it goes on where it ended.")


def _line_of(result: Result) -> dict[str, Any]:
    image = result.image
    shown = {name: result.media.get(name) for name in ("id", "src", "url")}
    return {
        "id": result.old_id,
        "outcome": result.outcome,
        "name": image.name if image else None,
        "filesize": image.filesize_bytes if image else None,
        "src": image.src if image else None,
        "url": image.url if image else None,
        "new": {name: value if isinstance(value, str) else None for name, value in shown.items()},
        "error": result.error or None,
    }
