"""Views of images in tests: what is kept from uploads and of views, and what an answer can have been made from."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyvips
from conftest import Api
from images import open_image
from library import blob_path
from running import until

from imgpro_lite.runtime import Runtime

WAIT_SECONDS = 20  # for what happens within a second; only a hanging test waits so long
INTERMEDIATES = {640, 1080}


def runtime_of(api: Api) -> Runtime:
    """What this test's server is made of."""
    rt: Runtime = api.client.app.state.runtime  # type: ignore[attr-defined]
    return rt


def call(api: Api, function: Callable[..., Any], *args: Any) -> Any:
    """Do something in the server's event loop."""
    portal: Any = api.client.portal
    return portal.call(function, *args)


def put(api: Api, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> str:
    """Upload a picture: its address without the extension, on this server."""
    answer = api.upload(content, headers, **fields)
    assert answer.status_code == 201, answer.text
    src: str = answer.json()["src"]
    return src.removeprefix("http://localhost:4647").rsplit(".", 1)[0]


def id_of(stem: str) -> str:
    """The id of an image, from its address."""
    return stem.rsplit("/", 1)[1]


def wait_until_prepared(api: Api) -> None:
    """Return when nothing is made of uploads any more."""
    until(lambda: not runtime_of(api).maker.preparing)


def files_below(directory: Path, pattern: str = "*") -> list[Path]:
    """The files in a directory and in those below it."""
    return sorted(path for path in directory.rglob(pattern) if path.is_file())


def original(api: Api, content: bytes) -> Path:
    """The stored file of a picture."""
    return blob_path(api.data_dir, hashlib.sha256(content).hexdigest())


def variants(api: Api, pattern: str = "*") -> list[Path]:
    """The files of the cache."""
    return files_below(api.data_dir / "cache", pattern)


def intermediates(api: Api, content: bytes) -> dict[int, Path]:
    """The reduced pictures that are kept of a picture, by short edge, complete or not."""
    paths = files_below(api.data_dir / "intermediates", f"{hashlib.sha256(content).hexdigest()}-*")
    return {int(path.name.split("-")[1]): path for path in paths}


def forget_variants(api: Api) -> None:
    """Have every variant made again."""
    for path in variants(api):
        path.unlink()
    call(api, runtime_of(api).hot.clear)


def get_picture(api: Api, address: str) -> pyvips.Image:
    """A picture that is served, decoded."""
    answer = api.client.get(address)
    assert answer.status_code == 200, answer.text
    return open_image(answer.content)


@contextmanager
def being_made(api: Api, address: str) -> Iterator["Future[Any]"]:
    """Ask for a picture; its worker stands still in the midst of it until the block ends, and then goes on."""
    wait_until_prepared(api)
    workers = runtime_of(api).pool.pids
    with ThreadPoolExecutor(1) as threads:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        try:
            asked = threads.submit(api.client.get, address)
            until(lambda: variants(api, "*.tmp") or asked.done())
            assert not asked.done()
            yield asked
        finally:
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)
