"""One of the two servers of a transfer: requests with its key, answers of a limited size, and when to ask again."""

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

import httpx2

from imgpro_lite.client.transfer.errors import Doubtful, Unreachable, Unusable
from imgpro_lite.client.transfer.images import parse_id, shown_text
from imgpro_lite.client.transfer.patience import ATTEMPTS, MAX_WAIT_SECONDS, Patience, asked_seconds
from imgpro_lite.clock import Clock
from imgpro_lite.errors import OperatorError

CONNECT_SECONDS = 10
ANSWER_SECONDS = 120  # a large file on a slow line; no bytes for so long means that the connection is dead
# A page of 100 images with 16 KB of metadata each, which the contract does not have there, would be 1.6 MB.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# All of an answer: a byte every two minutes would never be silent for long enough.
MAX_ANSWER_SECONDS = 600
PAGE_IMAGES = 100  # the most that a list gives at once
MAX_IMAGES = 2_000_000  # of which the ids take some 300 MB; a list that goes on has no end
# Pages with less than a tenth of that, though there are more behind them: a server may give less than asked for, but to
# give one image each time, for hours, is no list.
MAX_THIN_PAGES = 1_000
MAX_CURSOR_CHARS = 4096

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """What a server answered. The body is empty where it is no JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    after_loss: bool = False
    """Whether the request was sent before, and nobody knows whether it was carried out then."""

    @property
    def code(self) -> str:
        """The error that it tells of, as the contract names it."""
        return str(self.body.get("error") or "")

    @property
    def reason(self) -> str:
        """Why it is a refusal, in its own words where it has some, with the page that helps."""
        if self.status in _REDIRECTS:
            where = shown_text(self.headers.get("location", "elsewhere"))
            return f"it answers with a redirect to {where}: give the address that it leads to"
        said = shown_text(self.body.get("message") or f"the server answered {self.status}")
        action = self.body.get("action")
        url = action.get("url") if isinstance(action, dict) else None
        return f"{said} {shown_text(url)}" if isinstance(url, str) and url else said


@dataclass(frozen=True)
class Usage:
    """What a team has left. None is no limit."""

    verified: bool
    uploads_remaining: int | None
    storage_left_bytes: int | None
    resets_at: int | None


class Side:
    """A server and a key of it. Threads may share it."""

    def __init__(
        self, title: str, server: str, key: str, parallel: int, patience: Patience, tls: ssl.SSLContext
    ) -> None:
        """`title` is what messages call it."""
        self.title = title
        self.server = server
        self.key = key
        self.clock_ahead_seconds = 0
        """How far its clock is ahead of ours."""
        self.on_listed: Callable[[int], None] = lambda count: None
        """Hears of every page of a list, with the number of images so far."""
        self._patience = patience
        self._client = httpx2.Client(
            base_url=server,
            verify=tls,
            # Not compressed, so that what was counted is what was sent.
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=parallel, max_keepalive_connections=parallel),
            follow_redirects=False,  # elsewhere nobody is to have the key
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def usage(self) -> Usage:
        """What the team may still use. Raises OperatorError for a key that will not do, TransferError."""
        answer = self.get("/v1/usage")
        if answer.status == 403:
            raise OperatorError(f"The key for {self.title.lower()} lacks the ability read: {answer.reason}")
        if answer.status == 401:
            raise OperatorError(f"{self.title} does not know the key: {answer.reason}")
        if answer.status != 200 or "verified" not in answer.body:
            raise OperatorError(f"{self.title} does not answer as a server of this API: {answer.reason}")
        body = answer.body
        numbers = {name: value for name, value in body.items() if isinstance(value, int)}
        limit, used = numbers.get("storage_limit_bytes"), numbers.get("storage_used_bytes", 0)
        return Usage(
            verified=body["verified"] is True,
            uploads_remaining=numbers.get("uploads_remaining"),
            storage_left_bytes=None if limit is None else max(0, limit - used),
            resets_at=numbers.get("resets_at"),
        )

    def check_writing(self) -> None:
        """Raise OperatorError when the key may not upload. An upload without a file stores nothing, and a key that may
        is told that the file is missing."""
        answer = self.send("POST", "/v1/upload", is_repeatable=True, files={"name": (None, "probe")})
        if answer.status in (401, 403):
            raise OperatorError(f"The key for {self.title.lower()} lacks the ability write: {answer.reason}")

    def pages(self, query: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        """The team's images, a page at a time. Raises TransferError, also for a list that goes round in circles."""
        cursor, count, thin_pages = None, 0, 0
        cursors: set[int] = set()
        while True:
            answer = self.get(
                "/v1/media", {"limit": str(PAGE_IMAGES), **query} | ({"cursor": cursor} if cursor else {})
            )
            items = answer.body.get("items")
            if answer.status != 200 or not isinstance(items, list):
                raise Unusable(f"{self.title} does not list its images: {answer.reason}")
            yield [item for item in items if isinstance(item, dict)]
            count += len(items)
            thin_pages += len(items) < PAGE_IMAGES // 10
            self.on_listed(count)
            cursor = answer.body.get("cursor")
            if not cursor or answer.body.get("has_more") is False:
                return
            if not isinstance(cursor, str) or len(cursor) > MAX_CURSOR_CHARS or hash(cursor) in cursors or not items:
                raise Unusable(f"{self.title} lists its images without an end: a page leads back to an earlier one")
            if count > MAX_IMAGES:
                raise Unusable(f"{self.title} lists more than {MAX_IMAGES:,} images")
            if thin_pages > MAX_THIN_PAGES:
                raise Unusable(f"{self.title} lists only {count:,} images on {len(cursors) + 1:,} pages")
            cursors.add(hash(cursor))

    def owns_image(self, media_id: str) -> bool:
        """Whether the team has an image of this id. Raises TransferError. To change nothing of it is 404 for those of
        others; to look would not tell, as public ones are shown to everybody."""
        return self.send("PATCH", f"/v1/media/{media_id}", is_repeatable=True, json={}).status != 404

    def first_ids(self) -> set[str]:
        """The ids on the first page of the list. Raises TransferError."""
        return {parse_id(item) for item in next(self.pages({}))}

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """The answer to a GET. Raises Unreachable, Unusable, Stopped."""
        return self.send("GET", path, is_repeatable=True, params=dict(query or {}))

    def send(self, method: str, path: str, *, is_repeatable: bool, **content: Any) -> Answer:
        """The answer, once the server no longer asks to wait and failures that pass have passed.

        Raises Unreachable, Unusable and Stopped; and Doubtful for a request that is not repeatable, when nobody knows
        whether it was carried out.
        """
        attempt = waited_seconds = 0
        was_lost = False
        while True:
            try:
                self._patience.check()
                answer = replace(self._send_once(method, path, **content), after_loss=was_lost)
                wait_seconds = asked_seconds(answer.status, answer.body, answer.headers)
                if wait_seconds:
                    waited_seconds += wait_seconds
                    if waited_seconds > MAX_WAIT_SECONDS:
                        return answer
                    self._patience.wait(wait_seconds)
                    continue
                if answer.status < 500 or (is_repeatable and attempt + 1 == ATTEMPTS):
                    return answer
                error: Exception | None = None
            except httpx2.RequestError as failure:
                error = failure
            attempt += 1
            said = (str(error) or type(error).__name__) if error else f"it answered {answer.status}"
            if not is_repeatable and not isinstance(error, _NOT_SENT):
                raise Doubtful(f"{self.title} failed: {shown_text(said)}") from error
            if attempt == ATTEMPTS:
                if isinstance(error, _NOT_SENT):
                    raise Unreachable(f"{self.title} cannot be reached: {shown_text(said)}") from error
                raise Unusable(f"{self.title} breaks off: {shown_text(said)}") from error
            was_lost = was_lost or not isinstance(error, _NOT_SENT)
            self._patience.pause(attempt)

    def _send_once(self, method: str, path: str, **content: Any) -> Answer:
        _rewind(content)
        received = bytearray()
        deadline = time.monotonic() + MAX_ANSWER_SECONDS
        with self._client.stream(method, path, **content) as response:
            for part in response.iter_raw():
                received += part
                if len(received) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                    raise Unusable(f"{self.title} sends an answer without end")
        self._note_clock(response.headers.get("date", ""))
        try:
            body = json.loads(received)
        except (ValueError, RecursionError):
            body = {}
        return Answer(response.status_code, body if isinstance(body, dict) else {}, response.headers)

    def _note_clock(self, date: str) -> None:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            self.clock_ahead_seconds = int(parsedate_to_datetime(date).timestamp()) - Clock().now()

    def now(self) -> int:
        """The time at the server, in Unix seconds."""
        return Clock().now() + self.clock_ahead_seconds


def _rewind(content: Mapping[str, Any]) -> None:
    """Have files sent from their start, also at the second attempt."""
    for part in content.get("files", {}).values():
        file: BinaryIO | str = part[1]
        if not isinstance(file, str):
            file.seek(0)
