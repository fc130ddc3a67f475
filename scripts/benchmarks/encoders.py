"""Time, size and similarity of encoder settings: why imgpro_lite/imaging/encoders.py has those that it has.

Each picture is resized once, and only encoding is timed: processor time, which others on the machine disturb least,
with one thread as in a worker. A setting is marked as SERVED when its bytes are those that the server would send.

What the table says, of a photograph of 12 megapixels and of a drawn page with letters and transparency:

- JPEG: optimised tables are 4 to 13 % smaller, for 1 to 6 ms. Progressive is another 1 % smaller at most for a
  photograph, and keeps the whole picture in memory; trellis is 9 to 15 % smaller for four to six times the time.
- PNG: a photograph needs a filter: `sub` is 16 % smaller than none in the same time, and `all` 0 to 2 % more for half
  as much time again. Level 6 is 3 % smaller than 4 for twice the time. A drawing needs no filter: each makes it 18 to
  40 % larger.
- WebP: effort 2 is 6 to 15 % smaller than 1; 3 and 4 are another 2 to 6 % smaller, for twice to three times the time.
- AVIF at equal similarity: tuned for SSIM it is the smallest at the efforts that a first view can wait for. Effort 0
  is 40 to 60 % larger than 1; 2 is 3 to 15 % smaller for twice the time; 4 is 23 to 38 % smaller for ten times the
  time. Ten bits are 5 to 15 % smaller for photographs, for half as much time again, and no gain for drawings.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyvips

from benchmarks.avif_bytes import bytes_at
from benchmarks.harness import Row, median, real_photograph, scratch
from benchmarks.pictures import graphic
from benchmarks.similarity import resized, ssim
from imgpro_lite.formats import Format
from imgpro_lite.imaging import encoders
from imgpro_lite.services.making import DRAFT_EFFORT
from imgpro_lite.settings import ImagingSettings

SIZES_PX = {"s": 320, "m": 640, "l": 1080}
# Slow settings are measured once: their times spread less in proportion.
ROUNDS, SLOW_SECONDS = 3, 0.3

# By effort: the qualities between which bytes at equal similarity are read off.
AVIF_QUALITIES = {0: (45, 55, 65), 1: (45, 55, 65), 2: (45, 55, 65), 3: (38, 47, 56), 4: (35, 45, 55)}
# What the encoder is tuned for and the bits of each sample, with the efforts at which that is of interest.
AVIF_TUNES = {("ssim", 8): range(5), ("iq", 8): range(5), ("psnr", 8): range(3), ("ssim", 10): range(1, 3)}


@dataclass(frozen=True)
class Setting:
    """One way to encode, as options of libvips."""

    format: Format
    label: str
    options: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class Measured:
    """What came of one setting and picture."""

    milliseconds: float
    content: bytes
    similarity: float

    def note(self) -> str:
        """Bytes and similarity."""
        return f"{len(self.content):>9,} bytes  SSIM {self.similarity:.4f}"


def _jpeg(label: str, **options: Any) -> Setting:
    return Setting(Format.JPEG, f"Q80 {label}", {"Q": 80, **options})


def _png(compression: int, filter_: str) -> Setting:
    return Setting(
        Format.PNG, f"compression {compression} filter {filter_}", {"compression": compression, "filter": filter_}
    )


def _webp(effort: int, quality: int) -> Setting:
    return Setting(Format.WEBP, f"effort {effort} Q{quality}", {"effort": effort, "Q": quality})


def _avif(effort: int, tune: str, bits: int, quality: int) -> Setting:
    options = {"compression": "av1", "bitdepth": bits, "effort": effort, "tune": tune, "Q": quality}
    return Setting(Format.AVIF, f"effort {effort} tune {tune} {bits} bit Q{quality}", options)


SETTINGS = [
    _jpeg("plain"),
    _jpeg("optimised", optimize_coding=True),
    _jpeg("progressive", interlace=True, optimize_coding=True),
    _jpeg("trellis", optimize_coding=True, trellis_quant=True),
    *(_png(compression, filter_) for compression in (1, 4, 6) for filter_ in ("none", "sub", "up", "all")),
    *(_webp(effort, 80) for effort in range(5)),
    *(_webp(2, quality) for quality in (70, 75, 85)),
    *(
        _avif(effort, tune, bits, quality)
        for effort, qualities in AVIF_QUALITIES.items()
        for (tune, bits), efforts in AVIF_TUNES.items()
        if effort in efforts
        for quality in qualities
    ),
]


QUALITIES = {
    Format.JPEG: ImagingSettings().jpeg_quality,
    Format.WEBP: ImagingSettings().webp_quality,
    Format.AVIF: ImagingSettings().avif_quality,
    Format.PNG: 0,
}

# What the server takes a picture for depends on the format that was uploaded.
SOURCES = {"photograph": Format.JPEG, "graphic": Format.PNG}


def run() -> Iterator[Row | str]:
    """A row for each setting, picture and size."""
    pyvips.vips_lib.vips_concurrency_set(1)
    for name, pictures in _pictures().items():
        for size, picture in pictures.items():
            served = {format_: _measure(picture, partial(serve, SOURCES[name], format_)) for format_ in QUALITIES}
            measured = {setting: _measure(picture, partial(_encode, setting)) for setting in SETTINGS}
            yield from _rows(f"{name} {size}", served, measured)
            yield from _avif_at_equal_similarity(f"{name} {size}", measured, served[Format.AVIF].similarity)


def _rows(what: str, served: dict[Format, Measured], measured: dict[Setting, Measured]) -> Iterator[Row]:
    for setting, one in measured.items():
        mark = "  SERVED" if one.content == served[setting.format].content else ""
        yield Row(f"{what}: {setting.format} {setting.label}", one.milliseconds, "ms", note=one.note() + mark)
    for format_, one in served.items():
        if all(one.content != other.content for other in measured.values()):
            yield Row(f"{what}: {format_} as served", one.milliseconds, "ms", note=one.note() + "  SERVED")


def _pictures() -> dict[str, dict[str, pyvips.Image]]:
    with scratch() as folder:
        photo = real_photograph(folder / "photo.jpg", 12)
        image = pyvips.Image.new_from_file(str(photo))
        short = min(image.width, image.height)
        photographs = {
            size: resized(photo, round(image.width * px / short), round(image.height * px / short))
            for size, px in SIZES_PX.items()
        }
    return {"photograph": photographs, "graphic": {size: graphic(SIZES_PX[size]) for size in ("m", "l")}}


def serve(source: Format, target: Format, picture: pyvips.Image) -> bytes:
    """The picture, encoded as the server does it for a first view."""
    with tempfile.TemporaryFile() as file:
        encoders.encode(picture, source, target, QUALITIES[target], file.fileno(), avif_effort=DRAFT_EFFORT)
        file.seek(0)
        return file.read()


def _encode(setting: Setting, picture: pyvips.Image) -> bytes:
    """The picture, encoded by the function that the server uses too, with other options."""
    name = {Format.AVIF: "heif"}.get(setting.format, str(setting.format))
    if setting.format is Format.JPEG and picture.hasalpha():
        picture = picture.flatten(background=255)
    with tempfile.TemporaryFile() as file:
        target = pyvips.Target.new_to_descriptor(file.fileno())
        getattr(picture, f"{name}save_target")(target, keep="icc", **setting.options)
        file.seek(0)
        return file.read()


def _measure(picture: pyvips.Image, encode: Callable[[pyvips.Image], bytes]) -> Measured:
    seconds: list[float] = []
    content = b""
    while len(seconds) < (1 if seconds and seconds[0] > SLOW_SECONDS else ROUNDS):
        started_at = time.process_time()
        content = encode(picture)
        seconds.append(time.process_time() - started_at)
    similarity = ssim(picture, pyvips.Image.new_from_buffer(content, ""))
    return Measured(median(seconds) * 1000, content, similarity)


def _avif_at_equal_similarity(what: str, measured: dict[Setting, Measured], similarity: float) -> Iterator[Row]:
    """Bytes of each effort and tuning at the similarity of what is served; those that do not reach it are left out."""
    for (tune, bits), efforts in AVIF_TUNES.items():
        for effort in efforts:
            of_setting = [measured[_avif(effort, tune, bits, quality)] for quality in AVIF_QUALITIES[effort]]
            size_bytes = bytes_at(similarity, [(one.similarity, len(one.content)) for one in of_setting])
            if size_bytes is not None:
                milliseconds = median([one.milliseconds for one in of_setting])
                name = f"{what}: avif effort {effort} tune {tune} {bits} bit, equal SSIM"
                yield Row(name, milliseconds, "ms", note=f"{size_bytes:>9,.0f} bytes  SSIM {similarity:.4f}")
