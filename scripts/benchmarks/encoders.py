"""Time, size and similarity of encoder settings: why imaging/transform.py has those that it has.

Each picture is resized once, and only encoding is timed, on one core as in a worker. WORK IN PROGRESS
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyvips

from benchmarks.avif_bytes import bytes_at
from benchmarks.harness import Row, median, real_photograph, scratch
from benchmarks.pictures import graphic
from benchmarks.similarity import resized, ssim

SIZES_PX = {"s": 320, "m": 640, "l": 1080}
# Slow settings are measured less often: their times spread less in proportion.
ROUNDS, SLOW_ROUNDS, SLOW_SECONDS = 9, 2, 0.3


@dataclass(frozen=True)
class Setting:
    """One way to encode. `chosen` marks what transform.py has."""

    format: str
    label: str
    options: dict[str, Any] = field(default_factory=dict)
    chosen: bool = False


@dataclass(frozen=True)
class Measured:
    """What came of one setting and picture."""

    milliseconds: float
    size_bytes: int
    similarity: float


def _jpeg(label: str, chosen: bool = False, **options: Any) -> Setting:
    return Setting("jpeg", f"Q80 {label}", {"Q": 80, **options}, chosen)


def _png(compression: int, filter_: str, chosen: bool = False) -> Setting:
    options = {"compression": compression, "filter": filter_}
    return Setting("png", f"compression {compression}, filter {filter_}", options, chosen)


def _webp(effort: int, quality: int, chosen: bool = False, **options: Any) -> Setting:
    more = "".join(f", {name}" for name in options)
    return Setting("webp", f"effort {effort} Q{quality}{more}", {"effort": effort, "Q": quality, **options}, chosen)


def _avif(effort: int, tune: str, quality: int, chosen: bool = False) -> Setting:
    options = {"compression": "av1", "bitdepth": 8, "effort": effort, "tune": tune, "Q": quality}
    return Setting("avif", f"effort {effort} {tune} Q{quality}", options, chosen)


SETTINGS = [
    _jpeg("plain"),
    _jpeg("optimised", chosen=True, optimize_coding=True),
    _jpeg("progressive", interlace=True, optimize_coding=True),
    _jpeg("trellis", optimize_coding=True, trellis_quant=True),
    _jpeg("trellis, progressive", optimize_coding=True, trellis_quant=True, interlace=True, optimize_scans=True),
    *(
        _png(c, f, chosen=(c, f) == (4, "up"))
        for c in (1, 2, 3, 4, 6, 9)
        for f in ("none", "sub", "up", "paeth", "all")
    ),
    *(_webp(effort, 80, chosen=effort == 2) for effort in range(5)),
    *(_webp(2, quality) for quality in (70, 75, 85)),
    _webp(2, 80, smart_subsample=True),
    *(
        _avif(effort, tune, quality, chosen=(effort, tune, quality) == (1, "ssim", 55))
        for effort in range(5)
        for tune in ("ssim", "iq", "psnr")
        for quality in (45, 55, 65)
    ),
]


def run() -> Iterator[Row | str]:
    """A row for each setting, picture and size."""
    pyvips.vips_lib.vips_concurrency_set(1)
    for name, pictures in _pictures().items():
        for size, picture in pictures.items():
            measured: dict[str, Measured] = {}
            for setting in SETTINGS:
                one = _measure(picture, setting)
                measured[f"{setting.format} {setting.label}"] = one
                note = f"{one.size_bytes:>9,} bytes  SSIM {one.similarity:.4f}" + ("  CHOSEN" if setting.chosen else "")
                yield Row(f"{name} {size}: {setting.format} {setting.label}", one.milliseconds, "ms", note=note)
            yield from _avif_at_equal_similarity(f"{name} {size}", measured)


def _pictures() -> dict[str, dict[str, pyvips.Image]]:
    with scratch() as folder:
        photo = real_photograph(folder / "photo.jpg", 12)
        image = pyvips.Image.new_from_file(str(photo))
        short = min(image.width, image.height)
        photographs = {
            size: resized(photo, round(image.width * px / short), round(image.height * px / short))
            for size, px in SIZES_PX.items()
        }
    return {"photograph": photographs, "graphic": {size: graphic(px) for size, px in SIZES_PX.items()}}


def _measure(picture: pyvips.Image, setting: Setting) -> Measured:
    if setting.format == "jpeg" and picture.hasalpha():
        picture = picture.flatten(background=255).copy_memory()
    encode = getattr(picture, {"avif": "heifsave_buffer"}.get(setting.format, f"{setting.format}save_buffer"))
    seconds: list[float] = []
    content = b""
    while len(seconds) < (SLOW_ROUNDS if seconds and seconds[0] > SLOW_SECONDS else ROUNDS):
        started_at = time.perf_counter()
        content = encode(keep="none", **setting.options)
        seconds.append(time.perf_counter() - started_at)
    similarity = ssim(picture, pyvips.Image.new_from_buffer(content, ""))
    return Measured(median(seconds) * 1000, len(content), similarity)


def _avif_at_equal_similarity(what: str, measured: dict[str, Measured]) -> Iterator[Row]:
    """Bytes of each effort and tuning at the similarity that libvips' default effort has at quality 55."""
    target = measured["avif effort 4 ssim Q55"].similarity
    for effort in range(5):
        for tune in ("ssim", "iq", "psnr"):
            of_setting = [measured[f"avif effort {effort} {tune} Q{quality}"] for quality in (45, 55, 65)]
            size_bytes = bytes_at(target, [(one.similarity, one.size_bytes) for one in of_setting])
            yield Row(
                f"{what}: avif effort {effort} {tune} at SSIM {target:.4f}",
                median([one.milliseconds for one in of_setting]),
                "ms",
                note=f"{size_bytes:>9,.0f} bytes",
            )
