"""Copying one image after the other, several at a time.

    read it at the source → done before? ends soon? → its original → its turn → noted → uploaded → noted

Those without a date are uploaded in turn, the oldest first, as lists order them by when they came; what comes before
the upload, and all of those with a date, is done in parallel.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imgpro_lite.client.transfer.errors import Doubtful, Stopped, TransferError, Unreachable, Unusable
from imgpro_lite.client.transfer.images import (
    Image,
    changes_of,
    ends_by_itself,
    fields_of,
    form_of,
    parse_image,
    remaining_seconds,
)
from imgpro_lite.client.transfer.journal import Doubt, Journal, doubt_about
from imgpro_lite.client.transfer.originals import Original, Originals
from imgpro_lite.client.transfer.patience import ATTEMPTS, Patience
from imgpro_lite.client.transfer.settling import SLACK_SECONDS, find_arrived, is_changed
from imgpro_lite.client.transfer.sides import Answer, Side
from imgpro_lite.client.transfer.turns import Turns

# What a server says of a key, or of its own state, and not of an image; the last two after it was waited for.
_FOR_ALL = frozenset({401, 403, 429, 503})

_CHANGED = (
    "its upload was cut off, and the destination has it with another size, as it does where it takes metadata out"
)


class Outcome(StrEnum):
    """What became of an image."""

    COPIED = "copied"
    UPDATED = "updated"
    PRESENT = "already there"
    SKIPPED = "skipped"
    FAILED = "failed"
    PLANNED = "to be copied"


@dataclass(frozen=True)
class Result:
    """An image and what became of it. `media` is the new one, as far as it is known; `error` says why there is none,
    and `note` what is to be known of it.

    `ends_all` is a refusal that every other image would get too.
    """

    old_id: str
    outcome: Outcome
    image: Image | None = None
    media: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    ends_all: bool = False
    note: str = ""


@dataclass(frozen=True)
class Choices:
    """What the one who copies may choose."""

    parallel: int
    created_as_date: bool = False
    update: bool = False


class Copying:
    """A transfer that is under way."""

    def __init__(
        self,
        source: Side,
        destination: Side,
        originals: Originals,
        journal: Journal,
        choices: Choices,
        patience: Patience,
    ) -> None:
        self._source = source
        self._destination = destination
        self._originals = originals
        self._journal = journal
        self._choices = choices
        self._patience = patience
        self._key_days: int | None = None
        self._turns = Turns(patience)
        self._settling = threading.Lock()

    def settle(self) -> int:
        """Find at the destination what an earlier run has left in doubt: how many had arrived. Raises TransferError."""
        doubts = list(self._journal.doubts.values())
        found = find_arrived(self._destination, self._journal, doubts)
        for doubt in doubts:
            if doubt.old_id in found:
                self._journal.finish(doubt, found[doubt.old_id])
            else:
                self._journal.refuse(doubt.old_id)
        return len(found)

    def run(self, ids: Sequence[str], key_days: int | None = None) -> Iterator[Result]:
        """The result of each image, as it is there. When the caller stops, or a server refuses in a way that holds for
        every image, those under way are the last. `key_days`: an end so many days after the upload is not the image's
        own, but that of every image of an unverified key, and is not taken along."""
        self._key_days = key_days
        under_way: set[Future[Result | None]] = set()
        with ThreadPoolExecutor(self._choices.parallel) as pool:
            try:
                number = 0
                for old_id in ids:
                    if self._patience.is_stopped:
                        break
                    if old_id in self._journal.known and not self._choices.update:
                        yield Result(old_id, Outcome.PRESENT, media={"id": self._journal.known[old_id]})
                        continue
                    under_way.add(pool.submit(self._in_turn, number, old_id))
                    number += 1
                    if len(under_way) == self._choices.parallel:
                        yield from self._finished(under_way)
                while under_way:
                    yield from self._finished(under_way)
            except KeyboardInterrupt:
                self._patience.stop()
                while under_way:  # the servers have what they did, so it is told
                    yield from self._finished(under_way)
                raise
            finally:
                if under_way:
                    self._patience.stop()

    def _finished(self, under_way: set[Future[Result | None]]) -> Iterator[Result]:
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            under_way.remove(future)
            if (result := future.result()) is not None:
                if result.ends_all:
                    self._patience.stop()
                yield result

    def _in_turn(self, number: int, old_id: str) -> Result | None:
        """The result of an image; None when it was not tried any more."""
        image: Image | None = None
        try:
            answer = self._source.get(f"/v1/media/{old_id}")
            if answer.status == 404:
                return Result(old_id, Outcome.SKIPPED, error="it has been deleted at the source meanwhile")
            if answer.status != 200:
                return Result(old_id, Outcome.FAILED, error=answer.reason, ends_all=answer.status in _FOR_ALL)
            image = parse_image(answer.body)
            if image.id != old_id:
                raise Unusable("the source shows another image under its id")
            if old_id in self._journal.known:
                return self._update(image, self._journal.known[old_id])
            return self._copy(number, image)
        except Stopped:
            return None
        except TransferError as error:
            return Result(old_id, Outcome.FAILED, image, error=str(error), ends_all=isinstance(error, Unreachable))
        finally:
            self._turns.leave(number)

    def _copy(self, number: int, image: Image) -> Result:
        ttl_seconds = None
        if ends_by_itself(image, self._key_days):
            ttl_seconds = remaining_seconds(image, self._source.now())
            if ttl_seconds is None:
                return Result(image.id, Outcome.SKIPPED, image, error="it ends within the hour")
        form = form_of(fields_of(image, created_as_date=self._choices.created_as_date), ttl_seconds)
        if "date" in form:
            self._turns.leave(number)
        with self._originals.open(image) as original:
            if "date" not in form:
                self._turns.wait(number)
            return self._upload(image, original, form)

    def _upload(self, image: Image, original: Original, form: Mapping[str, str]) -> Result:
        doubt = doubt_about(image, original.size_bytes, self._destination.now())
        if image.external_id is None:
            self._journal.begin(doubt)
        answer = self._send(image, original, form, doubt)
        if not isinstance(answer, Answer):
            note = _CHANGED if is_changed(doubt, answer) else ""
            return Result(image.id, Outcome.COPIED, image, answer, note=note)
        if answer.status == 201:
            self._journal.finish(doubt, answer.body)
            return Result(image.id, Outcome.COPIED, image, answer.body)
        if image.external_id is None:
            self._journal.refuse(image.id)
        elif answer.status == 409:
            return self._duplicate(image, doubt, answer)
        is_for_all = answer.status in _FOR_ALL or answer.code == "quota_exceeded"
        return Result(image.id, Outcome.FAILED, image, error=answer.reason, ends_all=is_for_all)

    def _send(
        self, image: Image, original: Original, form: Mapping[str, str], doubt: Doubt
    ) -> Answer | Mapping[str, Any]:
        """The answer to an upload; or the image, when it had arrived although the answer did not."""
        files = {"file": (f"{image.id}.{original.format}", original.file)}
        for attempt in range(1, ATTEMPTS):
            try:
                is_repeatable = image.external_id is not None
                return self._destination.send(
                    "POST", "/v1/upload", is_repeatable=is_repeatable, data=dict(form), files=files
                )
            except Doubtful:
                self._patience.pause(attempt)
            with self._settling:  # so that of two alike each finds its own
                found = find_arrived(self._destination, self._journal, [doubt])
                if found:
                    self._journal.finish(doubt, found[image.id])
                    return found[image.id]
        raise Unreachable(f"{self._destination.title} loses every upload")

    def _duplicate(self, image: Image, doubt: Doubt, answer: Answer) -> Result:
        """The destination has an image with this external id: the same, if it is as large. It is what we have just sent
        if that answer was lost, and it came about now."""
        media = answer.body.get("media")
        shown = media if isinstance(media, dict) else answer.body
        there = parse_image(shown)
        if (there.width, there.height) != (image.width, image.height):
            error = f"the destination has another picture with its external id: {there.id}"
            return Result(image.id, Outcome.FAILED, image, error=error)
        self._journal.finish(doubt, shown)
        if answer.after_loss and there.created_at >= doubt.at - SLACK_SECONDS:
            return Result(image.id, Outcome.COPIED, image, shown)
        if self._choices.update:
            return self._update(image, there.id)
        return Result(image.id, Outcome.PRESENT, image, {"id": there.id, "src": there.src, "url": there.url})

    def _update(self, image: Image, new_id: str) -> Result:
        path = f"/v1/media/{new_id}"
        answer = self._destination.get(path)
        if answer.status == 200:
            fields = fields_of(image, created_as_date=self._choices.created_as_date)
            changes = changes_of(fields, parse_image(answer.body))
            form_of(changes, None)  # raises Unusable for what JSON cannot say
            answer = self._destination.send("PATCH", path, is_repeatable=True, json=changes)
        if answer.status == 404:
            return Result(image.id, Outcome.SKIPPED, image, error="it has been deleted at the destination")
        if answer.status != 200:
            return Result(image.id, Outcome.FAILED, image, error=answer.reason, ends_all=answer.status in (401, 403))
        return Result(image.id, Outcome.UPDATED, image, answer.body)
