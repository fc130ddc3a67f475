"""Looking at a file that was just uploaded: is it what it seems, small enough, complete, and what does it show."""

import os
from collections.abc import Iterator, Sequence

import pyvips

from imgpro_lite.formats import Format
from imgpro_lite.imaging import budget
from imgpro_lite.imaging.completeness import check_complete
from imgpro_lite.imaging.intermediates import Intermediates
from imgpro_lite.imaging.jobs import Limits, Probed, Refused
from imgpro_lite.imaging.loaders import Picture, open_picture

# The size of the picture that is made to see whether the whole file decodes. Any would do; small is quick.
_TRIAL_PX = 64


def probe(
    format_: Format, limits: Limits, source: int, targets: Sequence[int], intermediates_px: Sequence[int]
) -> tuple[Probed, Iterator[int]]:
    """Decode the whole file once and say what it is.

    `targets` are descriptors to write to: of an SVG, one for the sanitised document; of other pictures, one for each
    of `intermediates_px`, which are written while the iterator is run, as it yields them. Raises Refused, or whatever
    the decoder raises on a broken file.
    """
    if format_ == Format.SVG:
        source = _sanitise(source, *targets)
        picture = _open_svg(source, limits)
    else:
        picture = open_picture(source, format_, limits)
    check_complete(source, format_)
    intermediates = Intermediates(picture, format_, intermediates_px)
    if not intermediates:
        _decode_all(picture)
    probed = Probed(format_, picture.width, picture.height, picture.has_alpha, picture.frames)
    return probed, intermediates.save(intermediates_px, targets) if intermediates else iter(())


def _open_svg(source: int, limits: Limits) -> Picture:
    """The size of an SVG, which nothing is drawn for: a refusal leaves the worker fit for more."""
    from imgpro_lite.imaging import svg

    try:
        picture = open_picture(source, Format.SVG, limits)
    except pyvips.Error as error:
        raise Refused("The SVG has no size, or nothing that could be drawn.") from error
    if max(picture.width, picture.height) > svg.MAX_SIDE_PX:
        raise Refused(f"The SVG is larger than {svg.MAX_SIDE_PX:,} pixels wide or high.")
    return picture


def _sanitise(source: int, sanitized: int) -> int:
    """Check, sanitise and write; what is looked at from then on is the document that will be stored."""
    from imgpro_lite.imaging import svg  # here: few pictures are drawings, and it takes 20 ms

    svg.check(source)
    with os.fdopen(os.dup(sanitized), "wb") as file:
        file.write(svg.sanitise(source))
    return sanitized


def _decode_all(picture: Picture) -> None:
    """Read every pixel (of every frame, if it will be served animated), through the decoder's own reduction."""
    frames = picture.frames if budget.fits_animation(picture.frames, picture.width, picture.height) else 1
    shrink = max(1.0, min(picture.width, picture.height) / _TRIAL_PX)
    image = picture.decode(shrink, frames)
    image.thumbnail_image(_TRIAL_PX, height=_TRIAL_PX * frames, size="down", no_rotate=True).copy_memory()
