"""The bytes of our AVIF variants beside those of ipx that look as much like the original.

No two encoders give the same similarity at the same quality, so ours is asked for several qualities, and its bytes at
the similarity of ipx are read off the line through the two neighbours: the logarithm of the bytes over SSIM, which is
nearly straight between qualities ten apart.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pyvips

from benchmarks.client import fetch, post_image
from benchmarks.harness import Row, at_most, imgpro, owner_key, scratch
from benchmarks.peers import ipx, ipx_path
from benchmarks.similarity import resized, ssim

SIZES_PX = {"s": 320, "m": 640, "l": 1080}
QUALITIES = (35, 45, 55, 65, 75)
GOAL_RATIO = 1.1


# By size: similarity and bytes.
Measured = dict[str, tuple[float, int]]


def run(photo: Path) -> Iterator[Row | str]:
    """One row for each size, and another when what is served later is not what the first view was given; nothing when
    ipx is not installed."""
    image = pyvips.Image.new_from_file(str(photo))
    short = min(image.width, image.height)
    px = {size: (round(image.width * to / short), round(image.height * to / short)) for size, to in SIZES_PX.items()}
    references = {size: resized(photo, *px[size]) for size in px}
    theirs = _of_ipx(photo, px, references)
    if not theirs:
        return
    first, later = zip(*(_of_ours(photo, quality, references) for quality in QUALITIES), strict=True)
    is_improved = first != later
    yield from _rows("first view", first, theirs, None if is_improved else GOAL_RATIO)
    if is_improved:
        yield from _rows("later", later, theirs, GOAL_RATIO)


def _rows(when: str, ours: Sequence[Measured], theirs: Measured, goal: float | None) -> Iterator[Row | str]:
    for size, (similarity, size_bytes) in theirs.items():
        at_same = bytes_at(similarity, [measured[size] for measured in ours])
        if at_same is None:
            yield f"AVIF {size}, {when}: no quality of ours comes near the similarity of ipx, {similarity:.4f}"
            continue
        note = f"at SSIM {similarity:.4f}: ours {at_same:,.0f}, ipx {size_bytes:,}; " + ", ".join(
            f"Q{quality} {measured[size][1]:,} {measured[size][0]:.4f}"
            for quality, measured in zip(QUALITIES, ours, strict=True)
        )
        what, ratio = f"AVIF {size}, {when}, bytes at equal similarity: ours / ipx", at_same / size_bytes
        yield at_most(what, ratio, "x", goal, note) if goal else Row(what, ratio, "x", note=note)


def bytes_at(similarity: float, points: list[tuple[float, float]]) -> float | None:
    """The bytes at a similarity, between the two nearest (similarity, bytes); None beyond the first and the last."""
    for (low, low_bytes), (high, high_bytes) in pairwise(sorted(points)):
        if low <= similarity <= high:
            share = (similarity - low) / (high - low)
            return math.exp(math.log(low_bytes) + share * math.log(high_bytes / low_bytes))
    return None


def _of_ipx(photo: Path, px: dict[str, tuple[int, int]], references: dict[str, pyvips.Image]) -> Measured:
    with scratch() as folder:
        images = folder / "images"
        images.mkdir()
        (images / "photo.jpg").write_bytes(photo.read_bytes())
        with ipx(images) as server:
            if server is None:
                return {}
            bodies = {size: fetch(server.url + ipx_path("avif", *px[size], "photo.jpg")).body for size in px}
    return _measure(bodies, references)


def _of_ours(photo: Path, quality: int, references: dict[str, pyvips.Image]) -> tuple[Measured, Measured]:
    """Right after the upload, and when all that goes on in the background has ended."""
    with scratch() as folder:
        environ = {"IMGPRO_IMAGING_AVIF_QUALITY": str(quality)}
        with imgpro(folder / "data", environ=environ) as server:
            address, _seconds = post_image(server.url, owner_key(folder / "data"), photo.read_bytes())
            first = {size: fetch(f"{address}.avif?size={size}").body for size in references}
            server.wait_until_idle()
            later = {size: fetch(f"{address}.avif?size={size}").body for size in references}
    return _measure(first, references), _measure(later, references)


def _measure(bodies: dict[str, bytes], references: dict[str, pyvips.Image]) -> Measured:
    pictures = {size: pyvips.Image.new_from_buffer(body, "") for size, body in bodies.items()}
    return {size: (ssim(references[size], pictures[size]), len(bodies[size])) for size in bodies}
