"""What only a worker can say: what a file shows once it is decoded, and which libraries decode it."""

import re
from collections.abc import Iterator
from importlib import metadata
from xml.parsers import expat

import pyvips

from imgpro_lite.formats import Format
from imgpro_lite.imaging.colour import before_resizing, to_srgb
from imgpro_lite.imaging.jobs import Inspected, Library, Limits
from imgpro_lite.imaging.loaders import open_picture

_VERSION = re.compile(r"\d+(\.\d+)+")


def inspect(format_: Format, limits: Limits, source: int) -> Inspected:
    """Decode every frame and look at the middle of each quarter. Raises Refused, or whatever the decoder raises on a
    broken file."""
    picture = open_picture(source, format_, limits)
    image = to_srgb(before_resizing(picture.decode(1.0, picture.frames))).copy_memory()
    across = (picture.width // 4, picture.width * 3 // 4)
    down = (picture.height // 4, picture.height * 3 // 4)
    corners = [
        [[round(value) for value in image(x, frame * picture.height + y)[:3]] for y in down for x in across]
        for frame in range(image.height // picture.height)
    ]
    return Inspected(picture.library, picture.width, picture.height, corners)


def list_libraries() -> list[Library]:
    """The libraries with their versions, as far as they tell them. One that cannot be loaded has none."""
    libvips_version = ".".join(str(pyvips.version(part)) for part in range(3))
    return [
        Library("libvips", libvips_version, "pyvips-binary" if _installed("pyvips-binary") else None),
        Library("pyvips", _installed("pyvips")),
        Library("Pillow", _installed("pillow")),
        *_inside_pillow(),
        Library("pillow-heif", _installed("pillow-heif")),
        *_inside_pillow_heif(),
        Library("tinycss2", _installed("tinycss2")),
        Library("expat", expat.EXPAT_VERSION.removeprefix("expat_")),
    ]


def _installed(distribution: str) -> str | None:
    """The version of an installed package. A single-file build may know none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _inside_pillow() -> Iterator[Library]:
    """Pillow's AVIF decoder, as "dav1d [dec]:1.5.3-0-gb546257, aom [enc]:3.14.1" tells it."""
    try:
        from PIL import _avif
    except ImportError:  # built without AVIF
        yield Library("libavif", None, "Pillow")
        return
    yield Library("libavif", str(_avif.libavif_version), "Pillow")
    for codec in str(_avif.codec_versions()).split(", "):
        name, _, version = codec.partition(":")
        yield Library(name.partition(" ")[0], _version_in(version), "Pillow")


def _inside_pillow_heif() -> Iterator[Library]:
    """libheif with its decoders, as {"libde265": "libde265 HEVC decoder, version 1.1.3"} tells them."""
    try:
        import pillow_heif
    except ImportError:
        yield Library("libheif", None, "pillow-heif")
        return
    about = pillow_heif.libheif_info()
    yield Library("libheif", about["libheif"], "pillow-heif")
    for name, description in about["decoders"].items():
        yield Library(name, _version_in(description), "pillow-heif")


def _version_in(text: str) -> str | None:
    match = _VERSION.search(text)
    return match[0] if match else None
