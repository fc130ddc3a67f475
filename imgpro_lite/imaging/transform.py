"""Making a variant: the steps, in the order they happen."""

from dataclasses import dataclass
from typing import Any

import pyvips

from imgpro_lite.formats import Format, can_make
from imgpro_lite.imaging import budget
from imgpro_lite.imaging.colour import before_resizing, to_srgb
from imgpro_lite.imaging.frames import is_animated, resize_frames
from imgpro_lite.imaging.jobs import Limits, Refused, Transform, Transformed
from imgpro_lite.imaging.loaders import Picture, open_picture

# Larger results are scaled down to fit (decision 45). WebP has 14 bits for a side; AVIF takes the AV1 encoder's memory
# and time; an SVG has no pixels that could be lost, and can be as long and thin as its author likes.
_MAX_SIDE_PX = {Format.WEBP: 16_383, Format.AVIF: 16_383, Format.JPEG: 65_500, Format.GIF: 65_535}
_MAX_SVG_SIDE_PX = 16_383
_MAX_AVIF_PIXELS = 16_000_000

_ANIMATED = (Format.GIF, Format.WEBP)

# WebP, 640 px from 12 megapixels: effort 2 takes 22 ms, 4 takes 49.
WEBP_EFFORT = 2

# AVIF, 12 megapixels: effort 4 takes 11.8 CPU seconds, 2 takes 1.5, 0 takes 0.5. So little effort for large results.
_AVIF_LARGE_PIXELS = 2_000_000

# Optimised JPEG tables are 5 % smaller, but the whole picture is kept as coefficients: 6 MB for each megapixel.
_JPEG_LARGE_PIXELS = 16_000_000


@dataclass(frozen=True)
class _Size:
    """Upright, in pixels, of one frame."""

    width: int
    height: int


def transform(job: Transform, limits: Limits, source: int, target: int) -> Transformed:
    """Write the variant to the descriptor. Raises Refused, or whatever a library raises."""
    if not can_make(job.source, job.target) or job.target == Format.SVG:
        raise Refused(f"{job.source.upper()} pictures are not converted to {job.target.upper()}.")
    picture = open_picture(source, job.source, limits)
    size = _clamp(_wanted_size(picture, job), job)
    frames = _frames(picture, job)

    image = _decode(picture, size, frames)
    image = before_resizing(image)
    image = _resize_upright(image, size)
    image = to_srgb(image)
    if job.target == Format.JPEG:
        image = _flatten(image)
    _save(image, job, target)
    return Transformed(size.width, size.height)


def _wanted_size(picture: Picture, job: Transform) -> _Size:
    """The size that was asked for: the short edge exactly, the long edge rounded to the nearest pixel."""
    short = min(picture.width, picture.height)
    if job.short_edge_px is None or (short <= job.short_edge_px and job.source != Format.SVG):
        return _Size(picture.width, picture.height)
    return _scaled(picture.width, picture.height, job.short_edge_px / short)


def _scaled(width: int, height: int, factor: float) -> _Size:
    return _Size(max(1, round(width * factor)), max(1, round(height * factor)))


def _clamp(size: _Size, job: Transform) -> _Size:
    """The largest size that the format takes, if that is smaller."""
    longest = max(size.width, size.height)
    limit = _MAX_SIDE_PX.get(job.target, longest)
    if job.source == Format.SVG:
        limit = min(limit, _MAX_SVG_SIDE_PX)
    factor = min(1.0, limit / longest)
    if job.target == Format.AVIF:
        factor = min(factor, (_MAX_AVIF_PIXELS / (size.width * size.height)) ** 0.5)
    return size if factor == 1.0 else _scaled(size.width, size.height, factor)


def _frames(picture: Picture, job: Transform) -> int:
    """How many frames the variant has: all or one (decision 44)."""
    animated = job.target in _ANIMATED and budget.fits_animation(picture.frames, picture.width, picture.height)
    return picture.frames if animated else 1


def _decode(picture: Picture, size: _Size, frames: int) -> pyvips.Image:
    return picture.decode(min(picture.width / size.width, picture.height / size.height), frames)


def _resize_upright(image: pyvips.Image, size: _Size) -> pyvips.Image:
    """Turn by the EXIF orientation and resize to exactly this size, premultiplied, to 8 bits."""
    if is_animated(image):
        return resize_frames(image, size.width, size.height)
    return image.thumbnail_image(size.width, height=size.height, size="force")


def _flatten(image: pyvips.Image) -> pyvips.Image:
    """Transparent becomes white (decision 43)."""
    return image.flatten(background=255) if image.hasalpha() else image


def _save(image: pyvips.Image, job: Transform, descriptor: int) -> None:
    """Encode, without EXIF, XMP, IPTC or GPS. A profile that is still there after `to_srgb` is needed."""
    target = pyvips.Target.new_to_descriptor(descriptor)
    options: dict[str, Any] = {"keep": "icc"}
    pixels = image.width * image.height
    match job.target:
        case Format.JPEG:
            optimise = pixels <= _JPEG_LARGE_PIXELS
            image.jpegsave_target(target, Q=job.quality, optimize_coding=optimise, **options)
        case Format.PNG:
            image.pngsave_target(target, compression=6, palette=_is_palette(image), **options)
        case Format.WEBP:
            # Effort 4 takes twice the time of 2 for files 2 % smaller.
            image.webpsave_target(target, Q=job.quality, effort=WEBP_EFFORT, **options)
        case Format.AVIF:
            effort = 0 if pixels > _AVIF_LARGE_PIXELS else 2
            image.heifsave_target(target, Q=job.quality, compression="av1", effort=effort, bitdepth=8, **options)
        case Format.GIF:
            image.gifsave_target(target, **options)
        case _:
            raise ValueError(f"{job.target} is not made from other formats")


def _is_palette(image: pyvips.Image) -> bool:
    return bool(image.get_typeof("palette"))
