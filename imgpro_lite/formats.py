"""The image formats: how bytes are recognised, what each is called, and what each can become."""

import re
from enum import StrEnum


class Format(StrEnum):
    """A format of stored bytes. The value is the file extension that the API shows."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    SVG = "svg"
    HEIC = "heic"
    AVIF = "avif"
    TIFF = "tiff"
    BMP = "bmp"


MEDIA_TYPES: dict[Format, str] = {
    Format.JPEG: "image/jpeg",
    Format.PNG: "image/png",
    Format.WEBP: "image/webp",
    Format.GIF: "image/gif",
    Format.SVG: "image/svg+xml",
    Format.HEIC: "image/heic",
    Format.AVIF: "image/avif",
    Format.TIFF: "image/tiff",
    Format.BMP: "image/bmp",
}

# What any picture can be turned into, by changing the extension in its URL (contract, "CDN transforms").
CONVERTIBLE_TO = frozenset({Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF})

# By extension, with the other spellings that people use in URLs.
_BY_EXTENSION = {str(format_): format_ for format_ in Format} | {
    "jpg": Format.JPEG,
    "tif": Format.TIFF,
    "heif": Format.HEIC,
}

# Every extension that an address of an image may have.
EXTENSIONS = frozenset(_BY_EXTENSION)

# Short edge in pixels by ?size= value (contract, "CDN transforms").
SIZES_PX = {"s": 320, "m": 640, "l": 1080}

# Bytes that sniff() wants to see: an SVG may open with a long comment; every other format needs 32.
SNIFF_BYTES = 64 * 1024

# ISO base media brands (ISO/IEC 23008-12 annex B; MIAF): the brands tell HEIC from AVIF.
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_GENERIC_HEIF_BRANDS = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})

# An XML document whose first element is svg, after any declaration, processing instructions, comments and doctype.
# Nothing is tried twice, so that a hostile prologue cannot make the match slow. Groups are atomic and not possessive:
# Python 3.11.2, which Debian 12 has, does not match those behind other characters.
_SVG_START = re.compile(
    rb"(?>(?:\xef\xbb\xbf)?)(?>(?:\s++|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*+(?>(?:\[.*?\]\s*+)?)>)*)"
    rb"<(?>(?:[A-Za-z_][\w.-]*+:)?)svg[\s>/]",
    re.DOTALL | re.IGNORECASE,
)


def sniff(head: bytes) -> Format | None:
    """The format that the first SNIFF_BYTES of a file announce, or None. Names never count (decision 23)."""
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return Format.TIFF
    if head.startswith(b"BM") and len(head) >= 26:
        return Format.BMP
    if head[4:8] == b"ftyp":
        return _sniff_heif(head)
    if _SVG_START.match(head):
        return Format.SVG
    return None


def _sniff_heif(head: bytes) -> Format | None:
    """HEIC or AVIF by the brands of the file-type box: the major brand decides, then the compatible ones in order."""
    box_bytes = int.from_bytes(head[:4], "big")
    major, compatible = head[8:12], head[16 : max(16, min(box_bytes, 512))]
    brands = [major, *(compatible[i : i + 4] for i in range(0, len(compatible) - 3, 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return Format.AVIF
        if brand in _HEIC_BRANDS:
            return Format.HEIC
    return Format.HEIC if major in _GENERIC_HEIF_BRANDS else None


def parse_extension(text: str) -> Format | None:
    """The format that a URL's extension asks for, in any case; None when there is no such format."""
    return _BY_EXTENSION.get(text.lower())


def display_format(stored: Format, *, has_alpha: bool) -> Format:
    """The format of `src` and `extension`: the stored one where browsers show it, else JPEG or PNG (decision 24)."""
    match stored:
        case Format.BMP:
            return Format.PNG
        case Format.HEIC | Format.TIFF:
            return Format.PNG if has_alpha else Format.JPEG
        case _:
            return stored


def intermediate_format(stored: Format, *, has_alpha: bool) -> Format:
    """What a reduced picture kept from an upload is stored as: JPEG for what was lossy photographs already; PNG where
    something else could be seen, or would cost bytes later, in sharp edges and flat areas."""
    lossy = stored in (Format.JPEG, Format.HEIC, Format.AVIF) and not has_alpha
    return Format.JPEG if lossy else Format.PNG


def can_make(stored: Format, target: Format) -> bool:
    """Whether a picture stored as one format is served under another's extension (decisions 42 and 44)."""
    return target == stored or target in CONVERTIBLE_TO
