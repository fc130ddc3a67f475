"""How large a variant is, in pixels. Only arithmetic: workers make it so, and pages announce it before it is made."""

from dataclasses import dataclass

from imgpro_lite.formats import Format

# Larger results are scaled down to fit (decision 45). WebP has 14 bits for a side; AVIF takes the AV1 encoder's memory
# and time; an SVG has no pixels that could be lost, and can be as long and thin as its author likes.
_MAX_SIDE_PX = {Format.WEBP: 16_383, Format.AVIF: 16_383, Format.JPEG: 65_500, Format.GIF: 65_535}
_MAX_SVG_SIDE_PX = 16_383
_MAX_AVIF_PIXELS = 16_000_000


@dataclass(frozen=True)
class Size:
    """Upright, in pixels, of one frame."""

    width: int
    height: int

    @property
    def short_edge(self) -> int:
        """The smaller of the two."""
        return min(self.width, self.height)

    @property
    def pixels(self) -> int:
        """The area."""
        return self.width * self.height

    def scaled(self, factor: float) -> "Size":
        """The size times a factor, rounded to the nearest pixel (decision 42), at least 1 x 1."""
        return Size(max(1, round(self.width * factor)), max(1, round(self.height * factor)))


def variant_size(original: Size, source: Format, target: Format, short_edge_px: int | None) -> Size:
    """The size of a variant of a picture: what was asked for, or the largest below it that its format takes."""
    return _clamp(_wanted_size(original, source, short_edge_px), source, target)


def _wanted_size(original: Size, source: Format, short_edge_px: int | None) -> Size:
    """The size that was asked for: the short edge exactly, the long edge rounded to the nearest pixel."""
    if short_edge_px is None or (original.short_edge <= short_edge_px and source != Format.SVG):
        return original
    return original.scaled(short_edge_px / original.short_edge)


def _clamp(size: Size, source: Format, target: Format) -> Size:
    """The largest size that the format takes, if that is smaller."""
    longest = max(size.width, size.height)
    limit = _MAX_SIDE_PX.get(target, longest)
    if source == Format.SVG:
        limit = min(limit, _MAX_SVG_SIDE_PX)
    factor = min(1.0, limit / longest)
    if target == Format.AVIF:
        factor = min(factor, (_MAX_AVIF_PIXELS / size.pixels) ** 0.5)
    return size if factor == 1.0 else size.scaled(factor)
