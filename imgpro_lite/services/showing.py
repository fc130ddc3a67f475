"""What a page shows of an image: which variants, and how large each is. Nothing is made here."""

from dataclasses import dataclass

from imgpro_lite.formats import CONVERTIBLE_TO, MEDIA_TYPES, SIZES_PX, Format
from imgpro_lite.models import Media
from imgpro_lite.services.making import short_edge_px, variant_of
from imgpro_lite.settings import ImagingSettings

# Of all frames together. A page shows no full size beyond that: a first visitor would wait a second for its encoder,
# and a screen of 3840 x 2160 has no more.
MAX_ENCODED_PIXELS = 9_000_000

# Other sites fetch a preview for whoever writes to somebody: Facebook takes none beyond 8 MB, others even less.
MAX_MOVING_PREVIEW_BYTES = 8_000_000

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


Offer = dict[Format, list[Shown]]


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


def offer(settings: ImagingSettings, media: Media) -> Offer:
    """Every format that browsers show, in every size that differs. The last size of each is the full one."""
    formats = [one for one in _OFFERED if one in CONVERTIBLE_TO or one is media.format]
    # A drawing has no pixels of its own, so every size of it differs.
    sizes = [size for size in SIZES_PX if short_edge_px(media, size) is not None]
    return {one: [_shown(settings, media, one, size) for size in (*sizes, None)] for one in formats}


def previews(media: Media, offered: Offer) -> list[Shown]:
    """Pictures for other programs, the largest first: in a format that all know, and none above size l. A GIF that
    moves is only its own file: many programs show that it moves, and no frame has to be made for it."""
    if media.format is Format.GIF and media.frames > 1 and media.filesize_bytes <= MAX_MOVING_PREVIEW_BYTES:
        return offered[Format.GIF][-1:]
    full, *smaller = reversed(offered[_still_format(media)])
    return smaller if smaller and smaller[0].size == "l" else [full, *smaller]


def picture(media: Media, offered: Offer) -> Picture:
    """What the image's page shows. An SVG is shown as itself: sharp on every screen, and what is in an <img> runs and
    fetches nothing. An animation stays one."""
    if media.format is Format.SVG:
        # As large as its author drew it; an icon is enlarged, because nothing is lost by it.
        medium = next(one for one in offered[Format.PNG] if one.size == "m")
        width, height = max((media.width, media.height), (medium.width, medium.height))
        return Picture([offered[Format.SVG][-1:]], width, height)
    if media.frames > 1:
        lists = [offered[media.format][-1:]]
        if media.width * media.height * media.frames <= MAX_ENCODED_PIXELS:  # a tenth of the GIF's bytes
            lists.insert(0, offered[Format.WEBP])
    else:
        lists = [_affordable(offered[one]) for one in (*_MODERN, _still_format(media))]
    return Picture(lists, media.width, media.height)


def _affordable(sizes: list[Shown]) -> list[Shown]:
    """Without the full size where that is very large, and not the only one."""
    full = sizes[-1]
    return sizes if full.width * full.height <= MAX_ENCODED_PIXELS or len(sizes) == 1 else sizes[:-1]


def _shown(settings: ImagingSettings, media: Media, target: Format, size: str | None) -> Shown:
    pixels = variant_of(settings, media, target, size).pixel_size
    return Shown(target, size, pixels.width, pixels.height)


def _still_format(media: Media) -> Format:
    """What every program can show, without losing transparency."""
    return Format.PNG if media.has_alpha else Format.JPEG
