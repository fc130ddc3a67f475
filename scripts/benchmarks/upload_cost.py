"""What preparing for the first view costs: the time of the upload, and the work that goes on after its answer."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks import bare_pixels
from benchmarks.client import post_image
from benchmarks.harness import Row, at_most, imgpro, median, owner_key, spread

ROUNDS = 9
WARM_UP_ROUNDS = 2
GOAL_UPLOAD = 1.5
GOAL_BACKGROUND = 2.0


def run(folder: Path, photographs: dict[int, bytes]) -> Iterator[Row]:
    """JPEGs by their megapixels: the upload beside a bare thumbnail, the work after it beside a bare decode."""
    with imgpro(folder / "upload-cost") as server:
        key = owner_key(folder / "upload-cost")
        for megapixels, content in photographs.items():
            photo = folder / f"{megapixels}.jpg"
            photo.write_bytes(content)
            bare = bare_pixels.measure(photo, ROUNDS)
            seconds, background = [], []
            for number in range(ROUNDS + WARM_UP_ROUNDS):
                server.wait_until_idle()
                _address, taken = post_image(server.url, key, content + b"upload" + number.to_bytes(4, "big"))
                cpu_seconds = server.worker_cpu_seconds()
                server.wait_until_idle()
                seconds.append(taken)
                background.append(server.worker_cpu_seconds() - cpu_seconds)
            yield from _rows(megapixels, bare, seconds[WARM_UP_ROUNDS:], background[WARM_UP_ROUNDS:])


def _rows(
    megapixels: int, bare: dict[str, dict[str, float]], seconds: list[float], background: list[float]
) -> Iterator[Row]:
    milliseconds = [taken * 1000 for taken in seconds]
    ours = median(milliseconds)
    yield Row(f"upload of {megapixels} MP until 201", ours, "ms", note=spread(milliseconds))
    for name, what in (("thumbnail", "decode and thumbnail"), ("decode", "decode at full size")):
        bare_ms = bare[name]["seconds"] * 1000
        yield at_most(
            f"upload of {megapixels} MP: ours / bare {what}", ours / bare_ms, "x", GOAL_UPLOAD, f"bare {bare_ms:.1f} ms"
        )
    after_ms, decode_ms = median(background) * 1000, bare["decode"]["cpu_seconds"] * 1000
    note = f"{after_ms:.0f} ms of processor time beside {decode_ms:.0f}"
    yield at_most(
        f"work after the upload of {megapixels} MP / decode", after_ms / decode_ms, "x", GOAL_BACKGROUND, note
    )
