"""Making a variant: the steps, in the order they happen."""

import hashlib
import os

from imgpro_lite.formats import Format, can_make
from imgpro_lite.imaging import budget
from imgpro_lite.imaging.encoders import encode
from imgpro_lite.imaging.jobs import Damaged, Limits, Refused, Transform, Transformed
from imgpro_lite.imaging.loaders import Picture, open_picture
from imgpro_lite.imaging.rendering import Size, decode, upright_srgb

# Larger results are scaled down to fit (decision 45). WebP has 14 bits for a side; AVIF takes the AV1 encoder's memory
# and time; an SVG has no pixels that could be lost, and can be as long and thin as its author likes.
_MAX_SIDE_PX = {Format.WEBP: 16_383, Format.AVIF: 16_383, Format.JPEG: 65_500, Format.GIF: 65_535}
_MAX_SVG_SIDE_PX = 16_383
_MAX_AVIF_PIXELS = 16_000_000

_ANIMATED = (Format.GIF, Format.WEBP)


def transform(job: Transform, limits: Limits, source: int, target: int) -> Transformed:
    """Write the variant to the descriptor. Raises Refused, Damaged, or whatever a library raises."""
    if not can_make(job.source, job.target) or job.target == Format.SVG:
        raise Refused(f"{job.source.upper()} pictures are not converted to {job.target.upper()}.")
    if job.sha256 is not None:
        _check_hash(source, job.sha256)
    picture = open_picture(source, job.source, limits)
    original = Size(*job.original_size) if job.original_size else Size(picture.width, picture.height)
    size = _clamp(_wanted_size(original, job), job)
    image = decode(picture, size, _frames(picture, job))
    image = upright_srgb(image, size)
    encode(image, job.source, job.target, job.quality, target, avif_effort=job.effort)
    return Transformed(size.width, size.height)


def _check_hash(source: int, expected: str) -> None:
    """Decoders make something of most damaged files: half a picture, or one with a grey lower half. So make sure that
    the disk still has what arrived: 0.7 ms for each megabyte."""
    os.lseek(source, 0, os.SEEK_SET)
    with os.fdopen(os.dup(source), "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise Damaged(f"its SHA-256 is {actual} instead of {expected}.")


def _wanted_size(original: Size, job: Transform) -> Size:
    """The size that was asked for: the short edge exactly, the long edge rounded to the nearest pixel."""
    if job.short_edge_px is None or (original.short_edge <= job.short_edge_px and job.source != Format.SVG):
        return original
    return original.scaled(job.short_edge_px / original.short_edge)


def _clamp(size: Size, job: Transform) -> Size:
    """The largest size that the format takes, if that is smaller."""
    longest = max(size.width, size.height)
    limit = _MAX_SIDE_PX.get(job.target, longest)
    if job.source == Format.SVG:
        limit = min(limit, _MAX_SVG_SIDE_PX)
    factor = min(1.0, limit / longest)
    if job.target == Format.AVIF:
        factor = min(factor, (_MAX_AVIF_PIXELS / size.pixels) ** 0.5)
    return size if factor == 1.0 else size.scaled(factor)


def _frames(picture: Picture, job: Transform) -> int:
    """How many frames the variant has: all or one (decision 44)."""
    animated = job.target in _ANIMATED and budget.fits_animation(picture.frames, picture.width, picture.height)
    return picture.frames if animated else 1
