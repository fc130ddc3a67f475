"""What uploads and first views are measured against: the same libvips in a warm process that does nothing else.

python -m benchmarks.bare_pixels PHOTO ROUNDS prints, as JSON, the median seconds of each job and its processor time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyvips

SHORT_EDGE_PX = 640
# What `encoders` chose; as imaging/transform.py has it.
WEBP = {"Q": 80, "effort": 2, "keep": "icc"}


def measure(photo: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The figures of a process of its own, on one core, as the workers are."""
    environ = os.environ | {"VIPS_CONCURRENCY": "1"}
    command = [sys.executable, "-m", "benchmarks.bare_pixels", str(photo), str(rounds)]
    figures: dict[str, dict[str, float]] = json.loads(subprocess.check_output(command, env=environ))
    return figures


def _decode(photo: str) -> None:
    """Every pixel, at full size, into memory."""
    pyvips.Image.new_from_file(photo, access="sequential", fail_on="truncated").copy_memory()


def _thumbnail(photo: str) -> pyvips.Image:
    """Decoded, with the decoder's own reduction where it has one, and resized to the short edge."""
    source = pyvips.Source.new_from_file(photo)
    header = pyvips.Image.new_from_file(photo)
    factor = SHORT_EDGE_PX / min(header.width, header.height)
    height = round(header.height * factor)
    return pyvips.Image.thumbnail_source(
        source, round(header.width * factor), height=height, no_rotate=True, fail_on="truncated"
    ).copy_memory()


def _webp(photo: str) -> None:
    """The thumbnail, encoded."""
    _thumbnail(photo).webpsave_buffer(**WEBP)


def _main() -> None:
    pyvips.cache_set_max(0)
    photo, rounds = sys.argv[1], int(sys.argv[2])
    jobs: dict[str, Callable[[str], object]] = {"decode": _decode, "thumbnail": _thumbnail, "webp": _webp}
    figures = {}
    for name, job in jobs.items():
        job(photo)  # once, to warm up
        wall, cpu = [], []
        for _ in range(rounds):
            wall_at, cpu_at = time.perf_counter(), time.process_time()
            job(photo)
            wall.append(time.perf_counter() - wall_at)
            cpu.append(time.process_time() - cpu_at)
        figures[name] = {"seconds": sorted(wall)[rounds // 2], "cpu_seconds": sorted(cpu)[rounds // 2]}
    print(json.dumps(figures))


if __name__ == "__main__":
    _main()
