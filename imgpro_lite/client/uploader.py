"""Uploading many files to any server of this API, in parallel, so that it can be interrupted and run again."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx2

from imgpro_lite.formats import SNIFF_BYTES, sniff

# A server that is busy or limits us says how long to wait; an hourly window is the longest that is worth waiting for.
MAX_WAIT_SECONDS = 3_700
# Other failures that may pass by themselves: a lost connection, a proxy without its server.
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5
CONNECT_SECONDS = 10
PAGE_IMAGES = 100  # the most that a list gives at once
ANSWER_SECONDS = 120  # a large file on a slow line; no bytes for so long means that the connection is dead


class Outcome(StrEnum):
    """What became of a file."""

    UPLOADED = "uploaded"
    PRESENT = "already there"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """A file and what became of it; `media` is the image as the server shows it, unless it failed.

    `ends_all` is a refusal that every other file would get too; `link` is a page of the server that helps with it.
    """

    path: Path
    outcome: Outcome
    media: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    link: str = ""
    ends_all: bool = False


@dataclass(frozen=True)
class Target:
    """A server, and what every image gets."""

    server: str
    key: str | None
    fields: dict[str, str]


_NOT_IN_ADDRESSES = frozenset("?#@\\ ")


def is_server_address(text: str) -> bool:
    """Whether this is an http(s) address with a host, that a path can be put behind: without user name, query and
    fragment. Programs differ in whom they take `http://one#@other` for, and the key would go there."""
    if _NOT_IN_ADDRESSES & set(text):
        return False
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def find_files(paths: list[Path], *, recursive: bool) -> tuple[list[Path], list[Result]]:
    """The files to upload and what cannot be. In folders only images count, by their content; hidden ones do not."""
    files: list[Path] = []
    refused: list[Result] = []
    for path in paths:
        if path.is_file():
            files.append(path)
        elif path.is_dir() and recursive:
            found, unreadable = _find_images(path)
            files += found
            refused += unreadable
        else:
            reason = "is a folder; use --recursive" if path.is_dir() else "there is no such file"
            refused.append(Result(path, Outcome.FAILED, error=reason))
    return list(dict.fromkeys(files)), refused


def _find_images(folder: Path) -> tuple[list[Path], list[Result]]:
    """The images in a folder and the folders in it, and what cannot be read."""
    images: list[Path] = []
    unreadable: list[Result] = []

    def note(error: OSError) -> None:
        unreadable.append(Result(Path(error.filename), Outcome.FAILED, error=error.strerror or str(error)))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in sorted(Path(parent, name) for name in names if not name.startswith(".")):
            try:
                if path.is_file() and _is_image(path):
                    images.append(path)
            except OSError as error:
                unreadable.append(Result(path, Outcome.FAILED, error=error.strerror or str(error)))
    return images, unreadable


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return sniff(file.read(SNIFF_BYTES)) is not None


class Uploader:
    """Uploads files with some threads. `on_wait` hears of every wait that the server asks for, in seconds."""

    def __init__(self, target: Target, parallel: int, on_wait: Callable[[int], None]) -> None:
        self._target = target
        self._parallel = parallel
        self._on_wait = on_wait
        self._stopped = threading.Event()
        self._present: dict[str, dict[str, Any]] = {}
        headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
        self._client = httpx2.Client(
            base_url=target.server,
            headers=headers,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=parallel),
            follow_redirects=False,
        )

    def run(self, files: list[Path]) -> Iterator[Result]:
        """The result of each file, as it is there. When the caller stops, or the server refuses in a way that holds
        for every file, those under way are the last."""
        with self._client, ThreadPoolExecutor(self._parallel) as pool:
            futures: list[Future[Result | None]] = []
            told: set[Future[Result | None]] = set()
            try:
                self._present = self._find_present(len(files))
                futures += [pool.submit(self._upload, path) for path in files]
                for future in as_completed(futures):
                    told.add(future)
                    if (result := future.result()) is not None:
                        yield result
            except KeyboardInterrupt:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                for future in futures:  # those that were under way have ended by now, and the server has their images
                    if future not in told and not future.cancelled() and (result := future.result()) is not None:
                        yield result
                raise
            finally:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)

    def _find_present(self, files: int) -> dict[str, dict[str, Any]]:
        """Images that the server has, by external_id, so that their bytes need not be sent again to hear a 409.

        What cannot be found out, or only with more requests than there are files, is left to the 409.
        """
        present: dict[str, dict[str, Any]] = {}
        query = {"limit": str(PAGE_IMAGES)} | {
            name: value for name, value in self._target.fields.items() if name == "namespace"
        }
        for _ in range(files if self._target.key else 0):
            try:
                answer = self._client.get("/v1/media", params=query)
            except httpx2.RequestError:
                break
            page = _body(answer)
            if answer.status_code != 200 or not isinstance(page.get("items"), list):
                break
            present |= {item["external_id"]: item for item in page["items"] if item.get("external_id")}
            if not page.get("cursor"):
                break
            query["cursor"] = page["cursor"]
        return present

    def _upload(self, path: Path) -> Result | None:
        """The result of one file; None when it was not tried any more."""
        if self._stopped.is_set():
            return None
        pause_seconds = FIRST_PAUSE_SECONDS
        error, ends_all = "", False
        for attempt in range(ATTEMPTS):
            if attempt:
                if self._stopped.wait(pause_seconds):
                    break
                pause_seconds *= 2
            try:
                external_id = _external_id(path) if self._target.key else None
                if external_id in self._present:
                    return Result(path, Outcome.PRESENT, self._present[external_id])
                answer = self._send(path, external_id)
            except OSError as failure:
                return Result(path, Outcome.FAILED, error=failure.strerror or str(failure))
            except httpx2.RequestError as failure:
                error = f"{self._target.server} cannot be reached: {failure or type(failure).__name__}"
                ends_all = isinstance(failure, httpx2.ConnectError)
                if external_id or isinstance(failure, httpx2.ConnectError):
                    continue
                break  # it may have arrived all the same, and without a key it would be stored twice
            if answer.status_code not in (502, 504):
                result = _result(path, answer)
                if result.ends_all:
                    self._stopped.set()
                return result
            error = f"{self._target.server} answered {answer.status_code}"
        if ends_all:  # a server that is not there is not there for the other files either
            self._stopped.set()
        return Result(path, Outcome.FAILED, error=error or "interrupted")

    def _send(self, path: Path, external_id: str | None) -> httpx2.Response:
        """Send the file until the server no longer asks to wait."""
        fields = self._target.fields | ({"external_id": external_id} if external_id else {})
        waited_seconds = 0
        while True:
            with path.open("rb") as file:
                answer = self._client.post("/v1/upload", data=fields, files={"file": (_text(path.name), file)})
            wait_seconds = _wait_seconds(answer)
            waited_seconds += wait_seconds
            if not wait_seconds or waited_seconds > MAX_WAIT_SECONDS:
                return answer
            self._on_wait(wait_seconds)
            if self._stopped.wait(wait_seconds):
                return answer


def _text(name: str) -> str:
    """A file name as text; bytes of it that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _external_id(path: Path) -> str:
    """A name by content, so that running again after an interruption uploads nothing twice."""
    with path.open("rb") as file:
        return f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _wait_seconds(answer: httpx2.Response) -> int:
    """How long the server asks to wait before the same request may succeed; 0 when it does not."""
    if answer.status_code not in (429, 503):
        return 0
    action = _body(answer).get("action") or {}
    if isinstance(action, dict) and isinstance(seconds := action.get("seconds"), int):
        return max(1, seconds)
    retry_after = answer.headers.get("retry-after", "")
    return max(1, int(retry_after)) if retry_after.isascii() and retry_after.isdigit() else 5


def _result(path: Path, answer: httpx2.Response) -> Result:
    body = _body(answer)
    if answer.status_code == 201:
        return Result(path, Outcome.UPLOADED, body)
    if answer.status_code == 409 and isinstance(media := body.get("media"), dict):
        return Result(path, Outcome.PRESENT, media)
    message = body.get("message") or f"the server answered {answer.status_code}"
    action = body.get("action")
    link = str(action.get("url") or "") if isinstance(action, dict) else ""
    ends_all = answer.status_code in (401, 413)
    return Result(path, Outcome.FAILED, error=str(message), link=link, ends_all=ends_all)


def _body(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
