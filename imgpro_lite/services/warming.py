"""Making variants before anybody asks for them. A command does it, beside a running server or alone."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from imgpro_lite.errors import InternalError, NotFound, StorageFull, TransformFailed
from imgpro_lite.fields import is_text
from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Priority
from imgpro_lite.models import Media
from imgpro_lite.runtime import Maker
from imgpro_lite.services.making import Variant, make, variant_of
from imgpro_lite.store import media_lists

# The rest of the cache is left for what visitors ask for, so that nothing has to be evicted for what is made here.
FULL_SHARE = 0.9
# A running server and this command tell each other what they have made; meanwhile both may make the same, once.
MEET_EVERY_SECONDS = 5
PAGE_IMAGES = 200  # read at once, so that no transaction stays open while pictures are made


@dataclass(frozen=True)
class Selection:
    """Live images: of one address, of one namespace, the newest only, or all."""

    email: str | None = None
    namespace: str | None = None
    limit: int | None = None


def count_images(conn: sqlite3.Connection, selection: Selection, now: int) -> int:
    """How many images are selected."""
    email, namespace = _filters(selection)
    if not all(is_text(text or "") for text in (email, namespace)):
        return 0
    count = media_lists.count_all(conn, email, namespace, now)
    return count if selection.limit is None else min(count, selection.limit)


def list_images(conn: sqlite3.Connection, selection: Selection, now: int) -> Iterator[Media]:
    """The images selected, newest first."""
    email, namespace = _filters(selection)
    left, before_seq = count_images(conn, selection, now), media_lists.MAX_SEQ
    while left > 0:
        page = media_lists.list_all(
            conn, email, namespace, deleted=False, limit=min(left, PAGE_IMAGES), now=now, before_seq=before_seq
        )
        if not page:
            return
        yield from (media for media, _, _ in page)
        left, before_seq = left - len(page), page[-1][0].seq


def _filters(selection: Selection) -> tuple[str | None, str | None]:
    return selection.email and selection.email.strip().lower(), selection.namespace  # as addresses are stored


class Stop(Enum):
    """Why no more is made."""

    CACHE_FULL = auto()
    DISK_LOW = auto()


@dataclass
class Warmed:
    """What was done so far, and why not everything."""

    images: int = 0
    made: int = 0
    present: int = 0
    failed: int = 0
    stopped: Stop | None = None


@dataclass(frozen=True)
class Wanted:
    """Which variants to make of each image. The size None is the full one."""

    sizes: list[str | None]
    formats: list[Format]


@dataclass
class Warming:
    """Makes the variants of one image after the other, counts in `warmed`, and tells of each image and each failure.

    `limit_bytes` is the cap of the server's cache. The maker's own cache must have none: nothing is evicted here.
    """

    maker: Maker
    wanted: Wanted
    limit_bytes: int
    warmed: Warmed
    on_image: Callable[[], None]
    on_failure: Callable[[Variant, str], None]
    _met_at: float = field(default_factory=time.monotonic)

    async def run(self, images: Iterator[Media], parallel: int) -> None:
        """Go on until all is there, the cache is full, the disk is nearly so, or this is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(parallel):
                    group.create_task(self._work(images))
        except ExceptionGroup as failures:  # the database, for example, which fails for all of them
            raise failures.exceptions[0] from None
        finally:
            self.maker.cache.announce_change()

    async def _work(self, images: Iterator[Media]) -> None:
        """Take images, which others take too, and make what is missing of each."""
        for media in images:
            for variant in self._variants(media):
                if not self.warmed.stopped:
                    await self._ensure(variant)
                    await self._meet_server()
            if self.warmed.stopped:
                return
            self.warmed.images += 1
            self.on_image()
            await asyncio.sleep(0)  # so that Ctrl-C is heard where everything is there already

    def _variants(self, media: Media) -> list[Variant]:
        """The variants wanted of an image, each once, without those that its stored file serves."""
        variants: dict[str, Variant] = {}
        for target in self.wanted.formats:
            for size in self.wanted.sizes:
                try:
                    variant = variant_of(self.maker.settings, media, target, size)
                except NotFound:  # it has no such extension
                    continue
                if variant.name is not None:
                    variants[variant.name] = variant
        return list(variants.values())

    async def _ensure(self, variant: Variant) -> None:
        """Make a variant that is missing, if there is room."""
        name, cache = variant.etag, self.maker.cache
        if cache.has(name):
            self.warmed.present += 1
            return
        if cache.total_bytes >= self.limit_bytes * FULL_SHARE:
            self.warmed.stopped = Stop.CACHE_FULL
            return
        try:
            with contextlib.suppress(FileNotFoundError):  # a server that has just started has tidied up
                await make(self.maker, variant, name, Priority.BACKGROUND)
            if not cache.has(name):
                await make(self.maker, variant, name, Priority.BACKGROUND)
        except StorageFull:
            self.warmed.stopped = Stop.DISK_LOW
        except (TransformFailed, InternalError, FileNotFoundError) as error:
            self.warmed.failed += 1
            self.on_failure(variant, _reason(error))
        else:
            self.warmed.made += 1

    async def _meet_server(self) -> None:
        """Let a running server serve what was made, and learn what it has made and evicted, every few seconds."""
        if time.monotonic() - self._met_at >= MEET_EVERY_SECONDS:
            self._met_at = time.monotonic()
            self.maker.cache.announce_change()
            await self.maker.cache.rescan()


def _reason(error: Exception) -> str:
    """Why a variant could not be made, for the operator."""
    match error:
        case InternalError():
            return "its original is missing"
        case FileNotFoundError():
            return "the cache was removed meanwhile"
        case _:
            return str(error)
