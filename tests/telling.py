"""Pictures that tell where they were taken, in every way that their format has: PLACE is in no picture whose place was
taken out, WORDS (a caption, a maker) are in none whose metadata were."""

import io
from collections.abc import Callable
from functools import cache

from images import encode, make_photo, make_pixels, to_pillow
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from imgpro_lite.formats import SNIFF_BYTES, sniff
from imgpro_lite.imaging.strip import find_edits
from imgpro_lite.imaging.strip.edits import apply
from imgpro_lite.models import Strip

PLACE = b"TELL-NOBODY"
WORDS = b"IN-MY-WORDS"
# 52 degrees, 27 minutes and 29.5 seconds as EXIF has it, in both byte orders.
LATITUDE = (52.0, 27.0, 29.5)
LATITUDES = (bytes.fromhex("00000034000000010000001b00000001"), bytes.fromhex("34000000010000001b00000001000000"))

XMP_OF_PLACE = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="' + PLACE + b'"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
XMP_OF_WORDS = XMP_OF_PLACE.replace(b"photoshop:City", b"photoshop:Headline").replace(PLACE, WORDS)


def profile() -> bytes:
    """A colour profile that is not small."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 6) -> Image.Exif:
    """With a position, a caption, and maker notes that name a place too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = WORDS.decode()
    exif.get_ifd(0x8769).update({0x9286: b"ASCII\0\0\0" + WORDS, 0x927C: b"Maker\0" + PLACE})
    exif.get_ifd(0x8825).update({1: "N", 2: LATITUDE, 3: "E", 4: (5.0, 2.0, 6.0), 28: b"ASCII\0\0\0" + PLACE})
    return exif


def iptc() -> bytes:
    """A caption (2:120) and a city (2:90)."""
    return b"".join(
        b"\x1c\x02" + bytes((number, 0, len(text))) + text for number, text in ((90, PLACE), (101, PLACE), (120, WORDS))
    )


def resources() -> bytes:
    """IPTC as Photoshop keeps it, with a resource before and after it."""
    texts = iptc()
    other = b"8BIM\x03\xed\0\0" + (16).to_bytes(4, "big") + bytes(16)
    return other + b"8BIM\x04\x04\0\0" + len(texts).to_bytes(4, "big") + texts + bytes(len(texts) % 2) + other


def save(format_: str, frames: int = 1, **options: object) -> bytes:
    file = io.BytesIO()
    photo = make_photo(120, 80)
    first, *others = (to_pillow(photo.wrap(x=9 * n, y=0)) for n in range(frames))
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(file, format_, **options, **more)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (2 + len(content)).to_bytes(2, "big") + content


def jpeg(**options: object) -> bytes:
    """Also with extended XMP, a GoPro's data, and a second picture with a position of its own behind it."""
    data = save("JPEG", exif=exif(), icc_profile=profile(), comment=WORDS, **options)
    added = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_OF_PLACE)
    added += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_OF_WORDS)
    added += segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + PLACE + WORDS)
    added += segment(0xE2, b"FPXR\0" + PLACE + WORDS) + segment(0xE6, b"GoPro\0" + PLACE + WORDS)
    added += segment(0xED, b"Photoshop 3.0\0" + resources())
    return data[:2] + added + data[2:] + save("JPEG", exif=exif())


def png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", WORDS.decode())
    texts.add_text("exif:GPSLatitude", PLACE.decode())
    texts.add_itxt("XML:com.adobe.xmp", XMP_OF_PLACE.decode())
    texts.add_text("Raw profile type iptc", iptc().decode("latin-1"))
    texts.add(b"tIME", b"\x07\xe8\1\1\1\1\1")
    texts.add(b"caBX", PLACE + WORDS)
    return save("PNG", exif=exif(), pnginfo=texts, icc_profile=profile()) + PLACE + WORDS


def tiff(**options: object) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({270: WORDS.decode(), 700: XMP_OF_PLACE, 33723: iptc(), 34377: resources(), 34737: PLACE.decode()})
    tags.tagtype.update({700: 1, 33723: 7, 34377: 7})
    return save("TIFF", exif=exif(), tiffinfo=tags, icc_profile=profile(), **options) + PLACE + WORDS


def gif(frames: int = 1) -> bytes:
    data = save("GIF", frames, comment=WORDS)
    application = b"\x21\xff\x0bXMP DataXMP" + XMP_OF_PLACE + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return data[:-1] + application + b"\x3b" + PLACE + WORDS


def heif(format_: str) -> bytes:
    return encode(make_pixels(120, 80), format_, exif=exif(1).tobytes(), xmp=XMP_OF_PLACE)


SOURCES: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg,
    "progressive jpeg": lambda: jpeg(progressive=True),
    "png": png,
    "webp": lambda: save("WEBP", exif=exif(), xmp=XMP_OF_PLACE, icc_profile=profile()),
    "animated webp": lambda: save("WEBP", 3, exif=exif(), xmp=XMP_OF_PLACE),
    "gif": gif,
    "animated gif": lambda: gif(3),
    "avif": lambda: save("AVIF", exif=exif(1), xmp=XMP_OF_PLACE, icc_profile=profile()),
    "heic": lambda: heif("heic"),
    "tiff": tiff,
    "tiff of pages": lambda: tiff(save_all=True, append_images=[to_pillow(make_photo(60, 40))]),
    "big tiff": lambda: tiff(big_tiff=True),
    "tiff in lzw": lambda: tiff(compression="tiff_lzw"),
}


@cache
def telling(source: str) -> bytes:
    """One of these pictures, made once."""
    return SOURCES[source]()


def stripped(data: bytes, what: Strip) -> bytes:
    """What would be stored."""
    format_ = sniff(data[:SNIFF_BYTES])
    assert format_ is not None
    return apply(data, find_edits(data, format_, what))


def is_told(data: bytes) -> list[bytes]:
    """What of the place is in a file."""
    return [text for text in (PLACE, *LATITUDES) if text in data]
