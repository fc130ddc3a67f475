"""A 12-megapixel JPEG to ?size=m webp, cold, beside a warm bare process with the same thumbnail and settings."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import Row, imgpro, owner_key, photograph, scratch, upload

ROUNDS = 15
GOAL_RATIO = 1.3

# The same decoder, resizer and encoder settings as imaging/transform.py, in a process that has done it before.
_BARE = """
import sys, time, pyvips
pyvips.cache_set_max(0)
def make():
    image = pyvips.Image.thumbnail_source(
        pyvips.Source.new_from_file(sys.argv[1]), 853, height=640, size="down", no_rotate=False
    )
    image.webpsave(sys.argv[2], Q=80, effort=int(sys.argv[4]), keep="icc")
make()
seconds = []
for _ in range(int(sys.argv[3])):
    started = time.perf_counter()
    make()
    seconds.append(time.perf_counter() - started)
print(sorted(seconds)[len(seconds) // 2])
"""


def run() -> Iterator[Row]:
    """Medians; each of our requests is for a picture that the server has never made."""
    from imgpro_lite.imaging import transform

    with scratch() as folder:
        photo = photograph(folder / "photo.jpg", 12)
        arguments = [str(photo), str(folder / "out.webp"), str(ROUNDS), str(transform.WEBP_EFFORT)]
        bare_seconds = float(
            subprocess.check_output(
                [sys.executable, "-c", _BARE, *arguments], env={"VIPS_CONCURRENCY": "1", "PATH": "/usr/bin"}
            )
        )
        content = photo.read_bytes()
        ours = []
        with imgpro(folder / "data") as server:
            key = owner_key(folder / "data")
            for number in range(ROUNDS + 2):
                photo.write_bytes(content + number.to_bytes(4, "big"))
                src = upload(server, key, photo).removesuffix(".jpeg")
                ours.append(_fetch_seconds(f"{src}.webp?size=m"))
        seconds = sorted(ours[2:])[ROUNDS // 2]  # the first two warm the workers, as the bare process was
        yield Row("12 MP to m webp: warm bare pyvips", bare_seconds * 1000, "ms")
        yield Row("12 MP to m webp: ours, cold", seconds * 1000, "ms")
        ratio = seconds / bare_seconds
        yield Row("12 MP to m webp: ours / bare", ratio, "x", f"<= {GOAL_RATIO}", ratio > GOAL_RATIO)


def _fetch_seconds(url: str) -> float:
    command = ["curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{time_total}", url]
    return float(subprocess.check_output(command))
