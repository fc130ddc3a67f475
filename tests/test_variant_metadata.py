"""Privacy: nothing of EXIF, XMP, IPTC, comments or positions gets into a variant, whatever it is made of."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from images import REAL_IMAGES, BlockingPool, encode, make_pixels, open_image
from PIL import Image, PngImagePlugin, TiffImagePlugin
from telling import save

from imgpro_lite.formats import CONVERTIBLE_TO

TARGETS = [*sorted(CONVERTIBLE_TO), "gif"]

# How metadata starts in any of the formats, and what is in that of these tests.
TRACES = (
    *(b"SECRET", b"Exif", b"EXIF", b"eXIf", b"http://ns.adobe.com/xap", b"xmpmeta", b"XMP", b"Photoshop 3.0", b"8BIM"),
    *(b"tEXt", b"iTXt", b"zTXt", b"tIME", b"mime", b"GPS"),
)

# What exiftool may find: facts of the file, of its format and of a profile, but nothing that was told.
PLAIN_GROUPS = (
    *("SourceFile", "ExifTool", "System", "File", "Composite", "PNG", "JFIF", "RIFF", "QuickTime", "GIF"),
    *("Meta:PrimaryItemReference", "ICC-header", "ICC_Profile"),
)
TOLD = ("Comment", "XMP", "EXIF", "Exif", "Text", "Description", "Artist", "Copyright", "Software")

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="SECRET"/></rdf:RDF></x:xmpmeta>'
)
IPTC = b"8BIM\x04\x04\x00\x00\x00\x00\x00\x0b\x1c\x02\x78\x00\x06SECRET\x00"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path_factory.mktemp("metadata")) as pool:
        yield pool


def exif() -> Image.Exif:
    """With a position, and a thumbnail's directory after it."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = "SECRET"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0SECRET"
    exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 1.0, 2.0), 3: "E", 4: (14.0, 1.0, 2.0), 29: "SECRET"})
    return exif


def jpeg() -> bytes:
    data = save("JPEG", exif=exif(), xmp=XMP, comment=b"SECRET")
    body = b"Photoshop 3.0\0" + IPTC
    return data[:2] + b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "SECRET")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Raw profile type iptc", "SECRET", zip=True)
    texts.add(b"tIME", b"\x07\xe8\1\1\1\1\1")
    return save("PNG", exif=exif(), pnginfo=texts)


def tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({270: "SECRET", 315: "SECRET", 700: XMP, 33723: IPTC[12:], 34377: IPTC})
    tags.tagtype.update({700: 1, 33723: 7, 34377: 7})
    return save("TIFF", exif=exif(), tiffinfo=tags)


def gif(frames: int = 1) -> bytes:
    data = save("GIF", frames, comment=b"SECRET")
    application = b"\x21\xff\x0bXMP DataXMP" + XMP + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return data[:-1] + application + b"\x3b"


SOURCES: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg,
    "png": png,
    "webp": lambda: save("WEBP", exif=exif(), xmp=XMP),
    "animated webp": lambda: save("WEBP", 3, exif=exif(), xmp=XMP),
    "gif": gif,
    "animated gif": lambda: gif(3),
    "avif": lambda: save("AVIF", exif=exif(), xmp=XMP),
    "heic": lambda: encode(make_pixels(120, 80), "heic", exif=exif().tobytes(), xmp=XMP),
    "tiff": tiff,
}


def targets(source: str) -> list[str]:
    return TARGETS if source.endswith("gif") else TARGETS[:-1]


@pytest.mark.parametrize("short_edge_px", [None, 40])
@pytest.mark.parametrize("source", SOURCES)
def test_no_metadata_is_left(pool: BlockingPool, source: str, short_edge_px: int | None) -> None:
    data = SOURCES[source]()
    assert b"SECRET" in data
    for target in targets(source):
        variant = pool.transform(data, target, short_edge_px)
        assert [trace for trace in TRACES if trace in variant] == [], target
        fields = open_image(variant).get_fields()
        assert [
            field for field in fields if field.startswith(("exif", "xmp", "iptc", "png-comment", "gif-comment"))
        ] == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
@pytest.mark.parametrize("source", SOURCES)
def test_exiftool_finds_nothing(pool: BlockingPool, source: str, tmp_path: Path) -> None:
    data = SOURCES[source]()
    files = {"original": data} | {target: pool.transform(data, target, 40) for target in targets(source)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = ["exiftool", "-json", "-G1", "-a", "-u", "-ee", *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60)
    original, *variants = json.loads(done.stdout)
    assert [key for key in original if _is_told(key)]
    assert len(variants) == len(targets(source))
    for variant in variants:
        assert [key for key in variant if _is_told(key) or not key.startswith(PLAIN_GROUPS)] == []


def _is_told(key: str) -> bool:
    return not key.startswith(("ICC", "ExifTool")) and any(word in key for word in TOLD)


@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="the real images are not here")
@pytest.mark.parametrize(
    "name", ["exif-xmp-iptc.heic", "iphone.heic", "tifftag-photoshop.tiff", "16-bit-grey-alpha.png"]
)
def test_no_metadata_is_left_of_a_real_file(pool: BlockingPool, name: str) -> None:
    for target in TARGETS[:-1]:
        variant = pool.transform((REAL_IMAGES / name).read_bytes(), target, 64)
        assert [trace for trace in TRACES if trace in variant] == []
