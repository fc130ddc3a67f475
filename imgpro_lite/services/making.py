"""Making a variant, once however many ask: from a reduced picture kept since the upload, else from the original."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from imgpro_lite.errors import InternalError, NotFound, TransformFailed
from imgpro_lite.formats import SIZES_PX, Format, can_make, intermediate_format
from imgpro_lite.imaging.jobs import INTERMEDIATE_EDGES_PX, PIPELINE_VERSION, Priority, Transform
from imgpro_lite.imaging.sizes import Size, variant_size
from imgpro_lite.models import Media
from imgpro_lite.runtime import Maker
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.store.files import disk_full_as_refusal

log = logging.getLogger("imgpro_lite.variants")

# Formats that a size on their own extension can be made in: those that workers can write.
_RESIZABLE = frozenset({Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.GIF})

# Formats in which PNG variants are encoded like their intermediates, which are PNG too.
_DRAWINGS = frozenset({Format.PNG, Format.TIFF, Format.BMP})


# Effort of the AVIF encoder for a first view, where somebody waits, and in the background, for ten times the time. At
# the same quality the second is more similar to the original and up to a tenth larger. With less, at 640 px: 3 less is
# SSIM .9690 and 6.6 KB, 5 less .9673 and 5.8 KB, against .9652 and 6.9 KB of the first; of a sharper photograph .9481
# and 32 KB, .9396 and 28 KB, against .9433 and 35 KB. So 4 less is about as similar, and a tenth smaller.
DRAFT_EFFORT = 1
FINE_EFFORT = 4
FINE_QUALITY_LESS = 4


@dataclass(frozen=True)
class Variant:
    """What an image URL stands for: the stored file itself, when `name` is None, or a file of the cache."""

    media: Media
    format: Format
    short_edge_px: int | None
    name: str | None
    effort: int = 0
    """How much work its encoder does, where that can be chosen: AVIF."""

    @property
    def etag(self) -> str:
        """Names the content and the variant, so it changes exactly when the bytes may."""
        return self.name or self.media.sha256.hex()

    @property
    def pixel_size(self) -> Size:
        """How large it is, or will be once it is made."""
        full = Size(self.media.width, self.media.height)
        if self.name is None:
            return full
        return variant_size(full, self.media.format, self.format, self.short_edge_px)


def variant_of(settings: ImagingSettings, media: Media, target: Format, size: str | None) -> Variant:
    """What this image is under an extension and a size. Raises NotFound for an extension that it does not have."""
    if not can_make(media.format, target):
        raise NotFound("There is no such image.")
    edge_px = short_edge_px(media, size)
    if target is media.format and (edge_px is None or media.format is Format.SVG):
        return Variant(media, target, None, None)
    if target is media.format and target not in _RESIZABLE:
        raise NotFound(f"There is no smaller .{target}; ask for .jpeg, .png, .webp or .avif.")
    effort = 0
    if target is Format.AVIF:
        effort = FINE_EFFORT if settings.refine_avif and edge_px is not None else DRAFT_EFFORT
    return _named(settings, Variant(media, target, edge_px, None, effort))


def draft_of(settings: ImagingSettings, variant: Variant) -> Variant | None:
    """What is shown while the variant itself takes too long to make for somebody who waits; None when it does not."""
    if variant.effort <= DRAFT_EFFORT:
        return None
    return _named(settings, replace(variant, effort=DRAFT_EFFORT))


def fine_of(settings: ImagingSettings, variant: Variant) -> Variant | None:
    """What a draft is to be replaced by; None for what is no draft."""
    is_draft = settings.refine_avif and variant.effort == DRAFT_EFFORT and variant.short_edge_px is not None
    return _named(settings, replace(variant, effort=FINE_EFFORT)) if is_draft else None


def variants_of(sha256: bytes) -> str:
    """How the names of all variants and intermediates of these bytes begin."""
    return f"{sha256.hex()}-"


def intermediate_name(sha256: bytes, edge_px: int) -> str:
    """The name of a reduced picture that is kept from an upload."""
    return f"{variants_of(sha256)}{edge_px}-v{PIPELINE_VERSION}"


async def make(maker: Maker, variant: Variant, name: str, priority: Priority = Priority.VIEW) -> Path:
    """The file of a variant in the cache, made now. Raises TransformFailed, Overloaded, StorageFull, and InternalError
    when the stored file is missing, which the caller tells the operator."""
    return await maker.in_flight.run(name, lambda: _make(maker, variant, name, priority))


async def _make(maker: Maker, variant: Variant, name: str, priority: Priority) -> Path:
    if maker.cache.is_known_failure(name, maker.clock.now()):
        raise TransformFailed("This picture cannot be made in that size or format.")
    maker.blobs.check_free_space()
    temporary = maker.cache.temporary(name)
    try:
        with disk_full_as_refusal():
            if not await _transform_intermediate(maker, variant, temporary, priority):
                await _transform_original(maker, variant, temporary, priority)
            return maker.cache.adopt(temporary, name, maker.clock.now())
    except TransformFailed:
        maker.cache.remember_failure(name, maker.clock.now())
        raise
    finally:
        temporary.unlink(missing_ok=True)


async def _transform_original(maker: Maker, variant: Variant, target: Path, priority: Priority) -> None:
    media = variant.media
    job = Transform(
        source=media.format,
        target=variant.format,
        short_edge_px=variant.short_edge_px,
        quality=_quality(maker.settings, variant),
        effort=variant.effort,
        sha256=media.sha256.hex(),
    )
    path = maker.blobs.path(media.sha256)
    try:
        await maker.pool.transform(path, target, job, priority=priority)
    except FileNotFoundError:
        if path.exists():  # then it is the cache's directory that somebody removed
            raise
        raise InternalError from None


async def _transform_intermediate(maker: Maker, variant: Variant, target: Path, priority: Priority) -> bool:
    """Make the variant from the smallest reduced picture that has enough pixels. False when there is none."""
    media, edge_px = variant.media, variant.short_edge_px
    kept_as = intermediate_format(media.format, has_alpha=media.has_alpha)
    if edge_px is None or media.frames > 1 or not _is_as_good(variant):
        return False
    for larger_px in sorted(edge for edge in INTERMEDIATE_EDGES_PX if edge >= edge_px):
        name = intermediate_name(media.sha256, larger_px)
        if under_way := maker.preparing.get(name):
            await under_way.wait()
        path = maker.intermediates.find(name, maker.clock.now())
        if path is None:
            continue
        job = Transform(
            source=kept_as,
            target=variant.format,
            short_edge_px=edge_px,
            quality=_quality(maker.settings, variant),
            effort=variant.effort,
            original_size=(media.width, media.height),
        )
        try:
            await maker.pool.transform(path, target, job, priority=priority)
        except (FileNotFoundError, TransformFailed) as error:
            log.info("the intermediate %s cannot be used: %s", name, error)
            maker.intermediates.remove(name)
        else:
            maker.intermediates.hits += 1
            return True
    maker.intermediates.misses += 1
    return False


def _is_as_good(variant: Variant) -> bool:
    """Whether an intermediate gives the same as the original. A lossless variant of a photograph would show what JPEG
    left, or be encoded like a drawing, which takes a fifth more bytes; a GIF is made of GIF alone."""
    return variant.format not in (Format.PNG, Format.GIF) or variant.media.format in _DRAWINGS


def short_edge_px(media: Media, size: str | None) -> int | None:
    """The size to make, or None when nothing would shrink. An SVG has no pixels of its own: it is drawn at any size."""
    wanted = SIZES_PX.get(size or "")
    if wanted is None or (media.format is not Format.SVG and min(media.width, media.height) <= wanted):
        return None
    return wanted


def _quality(settings: ImagingSettings, variant: Variant) -> int:
    qualities = {
        Format.JPEG: settings.jpeg_quality,
        Format.WEBP: settings.webp_quality,
        Format.AVIF: settings.avif_quality,
    }
    quality = qualities.get(variant.format, 0)
    return max(1, quality - FINE_QUALITY_LESS) if variant.effort == FINE_EFFORT else quality


def _named(settings: ImagingSettings, variant: Variant) -> Variant:
    """The variant with its cache key: everything that the bytes depend on. A new pipeline version misses, and nothing
    is migrated."""
    size = variant.short_edge_px or "full"
    effort = f"-e{variant.effort}" if variant.format is Format.AVIF else ""
    quality = _quality(settings, variant)
    stem = f"{variants_of(variant.media.sha256)}{size}-q{quality}{effort}-v{PIPELINE_VERSION}"
    return replace(variant, name=f"{stem}.{variant.format}")
