"""How many pixels may be decoded, by format. Only arithmetic."""

from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Limits, Refused

# Address space that a worker has mapped before it decodes anything: Python, libvips and their libraries.
BASELINE_MB = 300

# Megabytes of address space that decoding takes for each megapixel, measured with libvips 8.18.7 and Pillow 13 on
# x86-64 (probe and transform, the larger of the two). Formats that are decoded a few lines at a time take almost none;
# a TIFF may have all its lines in one strip.
MB_PER_MEGAPIXEL = {
    Format.JPEG: 0.1,
    Format.PNG: 0.1,
    Format.WEBP: 10.0,
    Format.GIF: 5.0,
    Format.SVG: 4.5,
    Format.HEIC: 6.0,
    Format.AVIF: 14.5,
    Format.TIFF: 3.5,
    Format.BMP: 9.8,
}
PROGRESSIVE_JPEG_MB = 3.2
PROGRESSIVE_JPEG_444_MB = 6.2
INTERLACED_PNG_MB = 8.0
LAB_TIFF_MB = 9.8  # by Pillow, as BMP

# An animation stays animated up to frames x width x height of 50 megapixels (decision 44): 200 MB as RGBA.
ANIMATION_MEGAPIXELS = 50


def largest_megapixels(limits: Limits, mb_per_megapixel: float) -> int:
    """The most megapixels that are decoded, where each takes so many megabytes."""
    affordable = max(1, int((limits.memory_mb - BASELINE_MB) / mb_per_megapixel))
    return min(limits.max_megapixels, affordable)


def check_pixels(limits: Limits, format_: Format, width: int, height: int, mb_per_megapixel: float) -> None:
    """Raise Refused when decoding would take more memory than a worker has, or the operator allows."""
    limit = largest_megapixels(limits, mb_per_megapixel)
    megapixels = width * height / 1e6
    if megapixels > limit:
        most = "1 megapixel" if limit == 1 else f"{limit} megapixels"
        raise Refused(
            f"The picture has {megapixels:,.1f} megapixels ({width} x {height}); "
            f"{format_.upper()} pictures of at most {most} are accepted."
        )


def fits_animation(frames: int, width: int, height: int) -> bool:
    """Whether all frames are decoded, rather than the first alone."""
    return frames * width * height <= ANIMATION_MEGAPIXELS * 1_000_000
