"""Image bytes: the stored file itself, or a variant of it from the cache, or one made now."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.errors import InternalError, NotFound, Overloaded, TransformFailed
from imgpro_lite.formats import SIZES_PX, Format, can_make
from imgpro_lite.imaging.jobs import PIPELINE_VERSION, Transform
from imgpro_lite.models import Media
from imgpro_lite.runtime import Runtime
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.store import media_rows

log = logging.getLogger("imgpro_lite.variants")

# A variant that is evicted before it can be opened is made again; only a cache far too small evicts it once more.
OPEN_ATTEMPTS = 3
RETRY_AFTER_EVICTION_SECONDS = 5

# Formats that a size on their own extension can be made in: those that workers can write.
_RESIZABLE = frozenset({Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.GIF})


@dataclass(frozen=True)
class Variant:
    """What an image URL stands for: the stored file itself, when `name` is None, or a file of the cache."""

    media: Media
    format: Format
    short_edge_px: int | None
    name: str | None

    @property
    def etag(self) -> str:
        """Names the content and the variant, so it changes exactly when the bytes may."""
        return self.name or self.media.sha256.hex()


async def find_variant(rt: Runtime, team_hash: str, media_id: str, target: Format, size: str | None) -> Variant:
    """What an image URL stands for, without making it. Raises NotFound."""
    media = await rt.db.read(media_rows.find_media, media_id, rt.clock.now())
    if media is None or media.team_hash != team_hash or not can_make(media.format, target):
        raise NotFound("There is no such image.")
    short_edge_px = _short_edge_px(media, size)
    if target is media.format and (short_edge_px is None or media.format is Format.SVG):
        return Variant(media, target, None, None)
    if target is media.format and target not in _RESIZABLE:
        raise NotFound(f"There is no smaller .{target}; ask for .jpeg, .png, .webp or .avif.")
    name = _variant_name(rt.settings.imaging, media, target, short_edge_px)
    return Variant(media, target, short_edge_px, name)


async def open_variant(rt: Runtime, variant: Variant) -> int:
    """A descriptor of the bytes, made now if need be; from then on the cache may evict them. The caller closes it.

    Raises TransformFailed, Overloaded, StorageFull.
    """
    if variant.name is None:
        try:
            return _open(rt.blobs.path(variant.media.sha256))
        except FileNotFoundError:
            log.error("the file of image %s is missing: %s", variant.media.id, variant.media.sha256.hex())
            raise InternalError from None
    for _ in range(OPEN_ATTEMPTS):
        descriptor = rt.cache.open(variant.name, rt.clock.now())
        if descriptor is None:
            await _make_once(rt, variant, variant.name)
            descriptor = rt.cache.open(variant.name, rt.clock.now())
        if descriptor is not None:
            return descriptor
    raise Overloaded(RETRY_AFTER_EVICTION_SECONDS, "The cache is too small for what is asked for at once.")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def _short_edge_px(media: Media, size: str | None) -> int | None:
    """The size to make, or None when nothing would shrink. An SVG has no pixels of its own: it is drawn at any size."""
    wanted = SIZES_PX.get(size or "")
    if wanted is None or (media.format is not Format.SVG and min(media.width, media.height) <= wanted):
        return None
    return wanted


def variants_of(sha256: bytes) -> str:
    """How the names of all variants of these bytes begin."""
    return f"{sha256.hex()}-"


def _quality(settings: ImagingSettings, target: Format) -> int:
    qualities = {
        Format.JPEG: settings.jpeg_quality,
        Format.WEBP: settings.webp_quality,
        Format.AVIF: settings.avif_quality,
    }
    return qualities.get(target, 0)


def _variant_name(settings: ImagingSettings, media: Media, target: Format, short_edge_px: int | None) -> str:
    """The cache key: everything that the bytes depend on. A new pipeline version misses, and nothing is migrated."""
    size = short_edge_px or "full"
    return f"{variants_of(media.sha256)}{size}-q{_quality(settings, target)}-v{PIPELINE_VERSION}.{target}"


async def _make_once(rt: Runtime, variant: Variant, name: str) -> Path:
    """Make a variant, once however many ask."""
    return await rt.in_flight.run(name, lambda: _make(rt, variant, name))


async def _make(rt: Runtime, variant: Variant, name: str) -> Path:
    """Make a variant and put it into the cache."""
    media = variant.media
    if rt.cache.is_known_failure(name, rt.clock.now()):
        raise TransformFailed("This picture cannot be made in that size or format.")
    rt.blobs.check_free_space()
    quality = _quality(rt.settings.imaging, variant.format)
    job = Transform(media.format, variant.format, variant.short_edge_px, quality)
    temporary = rt.cache.temporary(name)
    try:
        await rt.pool.transform(rt.blobs.path(media.sha256), temporary, job)
        return rt.cache.adopt(temporary, name, rt.clock.now())
    except TransformFailed:
        rt.cache.remember_failure(name, rt.clock.now())
        raise
    finally:
        temporary.unlink(missing_ok=True)
