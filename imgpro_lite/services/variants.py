"""Image bytes: the stored file itself, or a variant of it from the cache, or one made now."""

import contextlib
import os
from pathlib import Path

from imgpro_lite.errors import NotFound, Overloaded
from imgpro_lite.formats import Format
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.making import Variant, make, missing_original, variant_of
from imgpro_lite.store import media_rows

# A variant that is evicted before it can be opened is made again; only a cache far too small evicts it once more.
OPEN_ATTEMPTS = 3
RETRY_AFTER_EVICTION_SECONDS = 5


async def find_variant(rt: Runtime, team_hash: str, media_id: str, target: Format, size: str | None) -> Variant:
    """What an image URL stands for, without making it. Raises NotFound."""
    media = await rt.db.read(media_rows.find_media, media_id, rt.clock.now())
    if media is None or media.team_hash != team_hash:
        raise NotFound("There is no such image.")
    return variant_of(rt.settings.imaging, media, target, size)


async def open_variant(rt: Runtime, variant: Variant) -> int:
    """A descriptor of the bytes, made now if need be; from then on the cache may evict them. The caller closes it.

    Raises TransformFailed, Overloaded, StorageFull.
    """
    if variant.name is None:
        try:
            return _open(rt.blobs.path(variant.media.sha256))
        except FileNotFoundError:
            raise missing_original(variant.media) from None
    for _ in range(OPEN_ATTEMPTS):
        descriptor = rt.maker.cache.open(variant.name, rt.clock.now())
        if descriptor is None:
            await _make(rt, variant, variant.name)
            descriptor = rt.maker.cache.open(variant.name, rt.clock.now())
        if descriptor is not None:
            return descriptor
    raise Overloaded(RETRY_AFTER_EVICTION_SECONDS, "The cache is too small for what is asked for at once.")


async def _make(rt: Runtime, variant: Variant, name: str) -> None:
    """Make a variant. Raises NotFound when its image was deleted meanwhile, and leaves nothing behind when its bytes
    were purged."""
    with contextlib.suppress(FileNotFoundError):  # somebody emptied the directory, or purged the image
        await make(rt.maker, variant, name)
    if not await rt.db.read(media_rows.is_used, variant.media.sha256):
        rt.maker.cache.remove(name)
    if await rt.db.read(media_rows.find_media, variant.media.id, rt.clock.now()) is None:
        raise NotFound("There is no such image.")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
