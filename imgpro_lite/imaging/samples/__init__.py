"""Small pictures that every installation must be able to read. The README beside them says how they were made."""

from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.formats import Format

Colour = tuple[int, int, int]

EDGE_PX = 32

# Red, green and blue, 0 to 255, of the quarters from the top left to the bottom right.
RED_GREEN_BLUE_WHITE: tuple[Colour, ...] = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))

# The same in full inks without a profile: the colours that libvips' built-in CMYK profile gives them in sRGB.
PRINTED: tuple[Colour, ...] = ((231, 0, 17), (0, 140, 51), (28, 0, 119), (255, 255, 255))


@dataclass(frozen=True)
class Sample:
    """A picture of four plain quarters, each side EDGE_PX long. Every second frame is turned by half: its colours come
    in the opposite order. `is_written` marks the kind that variants of this format are."""

    format: Format
    kind: str
    path: Path
    is_written: bool = False
    frames: int = 1
    colours: tuple[Colour, ...] = RED_GREEN_BLUE_WHITE


def list_samples() -> list[Sample]:
    """One sample of each kind of file that is decoded in a way of its own."""
    here = Path(__file__).parent
    return [
        Sample(Format.JPEG, "baseline", here / "baseline.jpeg", is_written=True),
        Sample(Format.JPEG, "progressive", here / "progressive.jpeg"),
        Sample(Format.JPEG, "CMYK", here / "cmyk.jpeg", colours=PRINTED),
        Sample(Format.PNG, "8 bit", here / "8-bit.png", is_written=True),
        Sample(Format.PNG, "16 bit", here / "16-bit.png"),
        Sample(Format.PNG, "interlaced", here / "interlaced.png"),
        Sample(Format.WEBP, "lossy", here / "lossy.webp", is_written=True),
        Sample(Format.WEBP, "lossless", here / "lossless.webp"),
        Sample(Format.WEBP, "animated", here / "animated.webp", is_written=True, frames=2),
        Sample(Format.GIF, "animated", here / "animated.gif", is_written=True, frames=2),
        Sample(Format.SVG, "shapes", here / "shapes.svg"),
        Sample(Format.HEIC, "HEVC, 8 bit", here / "8-bit.heic"),
        Sample(Format.HEIC, "HEVC, 10 bit", here / "10-bit.heic"),
        Sample(Format.AVIF, "8 bit", here / "8-bit.avif", is_written=True),
        Sample(Format.AVIF, "10 bit", here / "10-bit.avif"),
        Sample(Format.AVIF, "12 bit", here / "12-bit.avif"),
        Sample(Format.TIFF, "LZW", here / "lzw.tiff"),
        Sample(Format.BMP, "24 bit", here / "24-bit.bmp"),
    ]
