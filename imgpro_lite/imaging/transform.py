"""Making a variant: the steps, in the order they happen."""

import hashlib
import os

from imgpro_lite.formats import Format, can_make
from imgpro_lite.imaging import budget
from imgpro_lite.imaging.encoders import encode
from imgpro_lite.imaging.jobs import Damaged, Limits, Refused, Transform, Transformed
from imgpro_lite.imaging.loaders import Picture, open_picture
from imgpro_lite.imaging.rendering import decode, upright_srgb
from imgpro_lite.imaging.sizes import Size, variant_size

_ANIMATED = (Format.GIF, Format.WEBP)


def transform(job: Transform, limits: Limits, source: int, target: int) -> Transformed:
    """Write the variant to the descriptor. Raises Refused, Damaged, or whatever a library raises."""
    if not can_make(job.source, job.target) or job.target == Format.SVG:
        raise Refused(f"{job.source.upper()} pictures are not converted to {job.target.upper()}.")
    if job.sha256 is not None:
        _check_hash(source, job.sha256)
    picture = open_picture(source, job.source, limits)
    original = Size(*job.original_size) if job.original_size else Size(picture.width, picture.height)
    size = variant_size(original, job.source, job.target, job.short_edge_px)
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


def _frames(picture: Picture, job: Transform) -> int:
    """How many frames the variant has: all or one (decision 44)."""
    animated = job.target in _ANIMATED and budget.fits_animation(picture.frames, picture.width, picture.height)
    return picture.frames if animated else 1
