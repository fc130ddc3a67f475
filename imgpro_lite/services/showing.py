"""What a page shows of an image: which variants, and how large each is. Nothing is made here."""

from dataclasses import dataclass

from imgpro_lite.formats import CONVERTIBLE_TO, MEDIA_TYPES, SIZES_PX, Format
from imgpro_lite.imaging.sizes import Size
from imgpro_lite.models import Media
from imgpro_lite.services.making import short_edge_px, variant_of
from imgpro_lite.settings import ImagingSettings

# Of all frames together. A page shows no full size beyond that: a first visitor would wait a second for its encoder,
# and a screen of 3840 x 2160 has no more.
MAX_ENCODED_PIXELS = 9_000_000

# What browsers show without help, the best compression first.
_MODERN = (Format.AVIF, Format.WEBP)

# In the order in which people are offered them.
_OFFERED = (Format.SVG, Format.GIF, Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF)


@dataclass(frozen=True)
class Shown:
    """A picture that a page shows or links to: an extension and a size of an address, and its pixels."""

    format: Format
    size: str | None
    width: int
    height: int

    @property
    def media_type(self) -> str:
        """`image/webp`"""
        return MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Picture:
    """A picture for screens of every kind. Each list has one format in all its sizes, the smallest first; a browser
    takes the first list that it understands, and of it what is large enough. The last list is for every browser."""

    lists: list[list[Shown]]
    width: int
    height: int

    @property
    def fallback(self) -> Shown:
        """What a browser shows that understands nothing of it."""
        return self.lists[-1][-1]


def offered(settings: ImagingSettings, media: Media) -> dict[Format, list[Shown]]:
    """Every format that browsers show, in every size that differs; the last one is the full size."""
    formats = [one for one in _OFFERED if one in CONVERTIBLE_TO or one is media.format]
    sizes = [*_sizes(media), None]
    return {one: [_shown(settings, media, one, size) for size in sizes] for one in formats}


def preview(settings: ImagingSettings, media: Media) -> list[Shown]:
    """Still pictures for other programs, the largest first: in a format that all know, and none above size l."""
    sizes = ["l", *(size for size in reversed(_sizes(media)) if size != "l")]
    return [_shown(settings, media, _still_format(media), size) for size in sizes]


def picture(settings: ImagingSettings, media: Media) -> Picture:
    """What the image's page shows. An SVG is shown as itself: sharp on every screen, and what is in an <img> runs and
    fetches nothing. An animation stays one."""
    if media.format is Format.SVG:
        # As large as its author drew it; an icon is enlarged, because nothing is lost by it.
        least = _shown(settings, media, Format.PNG, "m")
        width, height = max((media.width, media.height), (least.width, least.height))
        return Picture([[Shown(Format.SVG, None, media.width, media.height)]], width, height)
    stored = _shown(settings, media, media.display, None)
    if media.frames > 1:
        lists = [[stored]]
        if media.width * media.height * media.frames <= MAX_ENCODED_PIXELS:  # a tenth of the GIF's bytes
            lists.insert(0, _candidates(settings, media, Format.WEBP))
    else:
        lists = [_candidates(settings, media, one) for one in (*_MODERN, _still_format(media))]
    return Picture(lists, media.width, media.height)


def _candidates(settings: ImagingSettings, media: Media, target: Format) -> list[Shown]:
    """The sizes of one format that a page may show, the smallest first."""
    sizes = _sizes(media)
    found = [_shown(settings, media, target, size) for size in sizes]
    full = _shown(settings, media, target, None)
    if not found or full.width * full.height <= MAX_ENCODED_PIXELS:
        found.append(full)
    return found


def _shown(settings: ImagingSettings, media: Media, target: Format, size: str | None) -> Shown:
    pixels: Size = variant_of(settings, media, target, size).pixel_size
    return Shown(target, size, pixels.width, pixels.height)


def _sizes(media: Media) -> list[str]:
    """The sizes that make the picture smaller; all of them for a drawing, which has no pixels of its own."""
    return [size for size in SIZES_PX if short_edge_px(media, size) is not None]


def _still_format(media: Media) -> Format:
    """What every program can show, without losing transparency."""
    return Format.PNG if media.has_alpha else Format.JPEG
