"""Writing pictures: one encoder setting for each format, chosen by measurement (`scripts/bench encoders`)."""

from typing import Any

import pyvips

from imgpro_lite.formats import Format

# WebP: effort 4 takes twice the time of 2 for files 2 to 5 % smaller, effort 1 saves a quarter of it for 10 % larger.
WEBP_EFFORT = 2

# AVIF, a photograph at 640 px: effort 1 takes 41 ms; at the same similarity 2 takes 81 for a tenth fewer bytes, 4 takes
# 400 for a third fewer. Tuned for SSIM, files are a quarter smaller at the same SSIM than by the encoder's own choice.
# Very large pictures take effort 0: 12 megapixels in 0.5 CPU seconds instead of 1.
AVIF_TUNE = "ssim"
_AVIF_LARGE_PIXELS = 4_000_000

# PNG: a filter makes photographs 15 to 30 % smaller and drawings 20 % larger, whatever the level. What came from a
# lossy format is taken for a photograph, for which level 6 would take twice as long as 4 for files 2 % smaller.
_PHOTOGRAPHIC = (Format.JPEG, Format.HEIC, Format.AVIF, Format.WEBP)
_PNG_PHOTOGRAPH = {"compression": 4, "filter": "sub"}
_PNG_DRAWING = {"compression": 6, "filter": "none"}

# Optimised JPEG tables are 5 % smaller, but the whole picture is kept as coefficients: 6 MB for each megapixel.
_JPEG_LARGE_PIXELS = 16_000_000


def encode(
    image: pyvips.Image, source: Format, target: Format, quality: int, descriptor: int, *, avif_effort: int
) -> None:
    """Write the picture, without EXIF, XMP, IPTC or GPS. A profile that is still there after `to_srgb` is needed."""
    file = pyvips.Target.new_to_descriptor(descriptor)
    options: dict[str, Any] = {"keep": "icc"}
    pixels = image.width * image.height
    match target:
        case Format.JPEG:
            optimise = pixels <= _JPEG_LARGE_PIXELS
            _flatten(image).jpegsave_target(file, Q=quality, optimize_coding=optimise, **options)
        case Format.PNG:
            options |= _PNG_PHOTOGRAPH if source in _PHOTOGRAPHIC else _PNG_DRAWING
            image.pngsave_target(file, palette=_is_palette(image), **options)
        case Format.WEBP:
            image.webpsave_target(file, Q=quality, effort=WEBP_EFFORT, **options)
        case Format.AVIF:
            effort = 0 if pixels > _AVIF_LARGE_PIXELS else avif_effort
            options |= {"compression": "av1", "bitdepth": 8, "tune": AVIF_TUNE}
            image.heifsave_target(file, Q=quality, effort=effort, **options)
        case Format.GIF:
            image.gifsave_target(file, **options)
        case _:
            raise ValueError(f"{target} is not made from other formats")


def _flatten(image: pyvips.Image) -> pyvips.Image:
    """Transparent becomes white (decision 43)."""
    return image.flatten(background=255) if image.hasalpha() else image


def _is_palette(image: pyvips.Image) -> bool:
    return bool(image.get_typeof("palette"))
