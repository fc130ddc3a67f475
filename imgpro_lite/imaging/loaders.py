"""Opening pictures: which library reads which format, what its header says, and its pixels as a libvips image.

The `pyvips[binary]` wheel reads most formats; it has no HEVC (HEIC), no BMP, and no AVIF of more than 8 bits. Those go
through pillow-heif and Pillow (`pillow_loaders`), and become libvips images too, so that everything after is the same.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyvips

from imgpro_lite.formats import Format
from imgpro_lite.imaging import budget
from imgpro_lite.imaging.colour import PROFILE_FIELD, with_profile
from imgpro_lite.imaging.jobs import Limits, Refused
from imgpro_lite.imaging.told_colours import find_told_profile

# The loader of each format: its class in libvips, and its function in pyvips.
_LOADERS = {
    Format.JPEG: ("VipsForeignLoadJpeg", "jpegload_source"),
    Format.PNG: ("VipsForeignLoadPng", "pngload_source"),
    Format.GIF: ("VipsForeignLoadNsgif", "gifload_source"),
    Format.WEBP: ("VipsForeignLoadWebp", "webpload_source"),
    Format.AVIF: ("VipsForeignLoadHeif", "heifload_source"),
    Format.TIFF: ("VipsForeignLoadTiff", "tiffload_source"),
    Format.SVG: ("VipsForeignLoadSvg", "svgload_source"),
}

# In an SVG 1in is 96px (CSS Values and Units, 6.2), but for libvips 72 by default. Its other resolutions are right in
# this, but enlarge the whole drawing, which the scale takes back.
_CSS_PX_PER_INCH = 96
_UNENLARGED = 72 / _CSS_PX_PER_INCH


@dataclass(frozen=True)
class Picture:
    """An opened picture, of which only the header was read. `width` and `height` are upright, in pixels, of one frame.
    `decode(shrink, frames)` reads the pixels, not yet upright: reduced by about `shrink` where the format can do that
    while decoding (an SVG is drawn at exactly that scale), with `frames` frames below each other. `library` is the one
    that decodes it, by name."""

    width: int
    height: int
    has_alpha: bool
    frames: int
    mb_per_megapixel: float
    decode: Callable[[float, int], pyvips.Image]
    library: str


def set_up() -> None:
    """Prepare libvips in this process: no operation cache, and no loader but those above, also not by accident."""
    pyvips.cache_set_max(0)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader_class, _function in _LOADERS.values():
        pyvips.operation_block_set(loader_class, False)


def open_picture(descriptor: int, format_: Format, limits: Limits) -> Picture:
    """Read the header, without decoding. Raises Refused when it is too large to decode, or whatever the library raises
    on a broken file."""
    if format_ == Format.WEBP:
        # libvips makes room for the whole picture when it reads the header, so look before that.
        budget.check_pixels(limits, format_, *_webp_size(descriptor), budget.MB_PER_MEGAPIXEL[format_])
    picture = _open(descriptor, format_)
    budget.check_pixels(limits, format_, picture.width, picture.height, picture.mb_per_megapixel)
    return picture


def _open(descriptor: int, format_: Format) -> Picture:
    if format_ in (Format.HEIC, Format.BMP):
        from imgpro_lite.imaging import pillow_loaders

        return pillow_loaders.open_heic(descriptor) if format_ == Format.HEIC else pillow_loaders.open_bmp(descriptor)
    if format_ == Format.AVIF:
        return _open_avif(descriptor)
    if format_ == Format.TIFF:
        return _open_tiff(descriptor)
    header = _load(descriptor, format_, **_options(format_, 1, 1))
    return _describe(header, format_, partial(_decode, descriptor, format_))


def _webp_size(descriptor: int) -> tuple[int, int]:
    """Width and height from the first chunk (RFC 9649, 2.5 to 2.7), in pixels; zeros when it is none of the three."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    head = os.read(descriptor, 30).ljust(30, b"\0")
    match head[12:16]:
        case b"VP8X":  # 24 bits of width - 1, then of height - 1
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8L":  # after a signature byte, 14 bits of width - 1, then of height - 1
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":  # after the frame tag and start code, 14 bits of width, 2 of scale, then the same of height
            width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _open_avif(descriptor: int) -> Picture:
    """AVIF: libvips for 8 bits, Pillow for more."""
    header = _load(descriptor, Format.AVIF)
    if _field(header, "bits-per-sample", 8) > 8:
        from imgpro_lite.imaging import pillow_loaders

        return pillow_loaders.open_deep_avif(descriptor)
    return _describe(header, Format.AVIF, partial(_decode, descriptor, Format.AVIF))


def _open_tiff(descriptor: int) -> Picture:
    """TIFF: libvips, but for CIELab of 8 bits, of which it mixes up the bands."""
    try:
        header = _load(descriptor, Format.TIFF)
    except pyvips.Error as error:
        from imgpro_lite.imaging import pillow_loaders

        picture = pillow_loaders.find_lab_tiff(descriptor)
        if picture is None:
            raise error
        return picture
    return _describe(header, Format.TIFF, partial(_decode, descriptor, Format.TIFF))


def _describe(header: pyvips.Image, format_: Format, decode: Callable[[float, int], pyvips.Image]) -> Picture:
    width, height = header.width, header.height
    if is_turned(header) and _frames(header, format_) == 1:
        width, height = height, width
    return Picture(
        width=width,
        height=height,
        has_alpha=bool(header.hasalpha()),
        frames=_frames(header, format_),
        mb_per_megapixel=_mb_per_megapixel(header, format_),
        decode=decode,
        library="libvips",
    )


def _frames(header: pyvips.Image, format_: Format) -> int:
    return int(_field(header, "n-pages", 1)) if format_ in (Format.GIF, Format.WEBP) else 1


def is_turned(image: pyvips.Image) -> bool:
    """Whether the EXIF orientation exchanges width and height."""
    return bool(5 <= _field(image, "orientation", 1) <= 8)


def _mb_per_megapixel(header: pyvips.Image, format_: Format) -> float:
    if format_ == Format.JPEG and _field(header, "jpeg-multiscan", 0):
        halved = _field(header, "jpeg-chroma-subsample", "") == "4:2:0"
        return budget.PROGRESSIVE_JPEG_MB if halved else budget.PROGRESSIVE_JPEG_444_MB
    if format_ == Format.PNG and _field(header, "interlaced", 0):
        return budget.INTERLACED_PNG_MB
    return budget.MB_PER_MEGAPIXEL[format_]


def _decode(descriptor: int, format_: Format, shrink: float, frames: int) -> pyvips.Image:
    image = _load(descriptor, format_, **_options(format_, shrink, frames))
    if _frames(image, format_) > 1:
        image = image.copy()
        image.remove("orientation")  # an animation is not turned: no camera makes them, and browsers do not
    has_profile = bool(image.get_typeof(PROFILE_FIELD))
    told = find_told_profile(descriptor, format_, has_profile=has_profile, is_grey=image.bands < 3)
    return with_profile(image, told) if told else image


def _options(format_: Format, shrink: float, frames: int) -> dict[str, Any]:
    """What a loader can do while it decodes. Half of the reduction is left to the resampling that follows, which is
    better than the decoders' own (libvips' `thumbnail` does the same)."""
    match format_:
        case Format.JPEG:
            return {"shrink": max((step for step in (1, 2, 4, 8) if step * 2 <= shrink), default=1)}
        case Format.WEBP if frames > 1:
            return {"n": frames}
        case Format.WEBP:
            return {"scale": min(1.0, 2 / shrink)}
        case Format.GIF:
            return {"n": frames}
        case Format.SVG:
            return {"scale": _UNENLARGED / shrink, "dpi": _CSS_PX_PER_INCH}
        case Format.TIFF:
            # libtiff would refuse one strip of 50 MB; the worker's memory limit stands guard.
            return {"unlimited": True}
        case _:
            return {}


def _load(descriptor: int, format_: Format, **options: Any) -> pyvips.Image:
    """Open with the format's own loader, never with one that libvips chooses. A missing end is an error: by default
    libvips happily returns a tenth of a picture."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = pyvips.Source.new_from_descriptor(descriptor)
    load = getattr(pyvips.Image, _LOADERS[format_][1])
    image: pyvips.Image = load(source, access="sequential", fail_on="truncated", **options)
    if image.width < 1 or image.height < 1:
        raise Refused("The picture is empty.")
    return image


def _field(image: pyvips.Image, name: str, otherwise: Any) -> Any:
    """A field of the header, which few files have all of."""
    return image.get(name) if image.get_typeof(name) else otherwise
