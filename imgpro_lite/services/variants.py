"""Image bytes: the stored file itself, or a variant of it from the cache, or one made now."""

import contextlib
import logging
import os

from imgpro_lite.errors import InternalError, NotFound, Overloaded, TransformFailed
from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Priority
from imgpro_lite.models import Media
from imgpro_lite.runtime import Maker, Runtime
from imgpro_lite.services.making import Variant, draft_of, fine_of, make, variant_of
from imgpro_lite.store import media_rows

log = logging.getLogger("imgpro_lite.variants")

# A variant that is evicted before it can be opened is made again; only a cache far too small evicts it once more.
OPEN_ATTEMPTS = 3
RETRY_AFTER_EVICTION_SECONDS = 5

# For the log: one such file is seldom alone.
_WHAT_TO_DO = "Restore it from a backup; `imgpro-lite fsck` finds all that are missing or damaged."


async def find_variant(rt: Runtime, team_hash: str, media_id: str, target: Format, size: str | None) -> Variant:
    """What an image URL stands for, without making it. Raises NotFound."""
    media = await rt.db.read(media_rows.find_media, media_id, rt.clock.now())
    if media is None or media.team_hash != team_hash:
        raise NotFound("There is no such image.")
    variant = variant_of(rt.settings.imaging, media, target, size)
    draft = draft_of(rt.settings.imaging, variant)
    if draft is None or variant.name is None or rt.maker.cache.has(variant.name):
        return variant
    return draft


async def open_variant(rt: Runtime, variant: Variant) -> int:
    """A descriptor of the bytes, made now if need be; from then on the cache may evict them. The caller closes it.

    Raises NotFound when the image is deleted meanwhile, TransformFailed, also when the stored file is damaged or gone,
    Overloaded, StorageFull.
    """
    try:
        if variant.name is None:
            return _open_original(rt, variant.media)
        descriptor = await _open_made(rt, variant, variant.name)
        fine = fine_of(rt.settings.imaging, variant)
        if fine is not None and fine.name is not None:
            rt.refinements.add(fine.name, fine)
        return descriptor
    except InternalError:
        await _check_exists(rt, variant.media)
        path = rt.blobs.path(variant.media.sha256)
        log.error("the file of image %s is missing: %s %s", variant.media.id, path, _WHAT_TO_DO)
        raise TransformFailed("The stored file of this picture is missing.") from None


def _open_original(rt: Runtime, media: Media) -> int:
    """The stored file. Only its length is checked: reading all of a large one would take longer than sending it."""
    path = rt.blobs.path(media.sha256)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InternalError from None
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes == media.filesize_bytes:
        return descriptor
    os.close(descriptor)
    log.error("%s is damaged: %d bytes instead of %d. %s", path, size_bytes, media.filesize_bytes, _WHAT_TO_DO)
    raise TransformFailed("The stored file of this picture is damaged.")


async def _open_made(rt: Runtime, variant: Variant, name: str) -> int:
    for _ in range(OPEN_ATTEMPTS):
        descriptor = rt.maker.cache.open(name, rt.clock.now())
        rt.maker.cache.hits += descriptor is not None
        rt.maker.cache.misses += descriptor is None
        if descriptor is None:
            await make_checked(rt, rt.maker, variant, name)
            descriptor = rt.maker.cache.open(name, rt.clock.now())
        if descriptor is not None:
            return descriptor
    raise Overloaded(RETRY_AFTER_EVICTION_SECONDS, "The cache is too small for what is asked for at once.")


async def make_checked(
    rt: Runtime, maker: Maker, variant: Variant, name: str, priority: Priority = Priority.VIEW
) -> None:
    """Make a variant. Raises as `make`, and NotFound when its image was deleted meanwhile. Leaves nothing behind when
    its bytes were purged."""
    with contextlib.suppress(FileNotFoundError):  # somebody emptied the directory, or purged the image
        await make(maker, variant, name, priority)
    if not await rt.db.read(media_rows.is_used, variant.media.sha256):
        rt.maker.cache.remove(name)
    await _check_exists(rt, variant.media)


async def _check_exists(rt: Runtime, media: Media) -> None:
    """Raise NotFound for an image that is gone by now."""
    if await rt.db.read(media_rows.find_media, media.id, rt.clock.now()) is None:
        raise NotFound("There is no such image.")
