"""The first view of a picture, right after its upload: ours beside ipx and thumbor, each with a picture never seen.

Every round uploads a 12-megapixel JPEG with other bytes at its end and asks for a variant as soon as the answer is
there. The others get the same file put into their folder. Sizes and formats are those of the contract.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyvips

from benchmarks import avif_bytes, bare_pixels, upload_cost
from benchmarks.client import Answer, fetch, post_image
from benchmarks.encoders import serve
from benchmarks.harness import Row, Server, at_most, imgpro, median, owner_key, real_photograph, scratch, spread
from benchmarks.peers import ipx, ipx_path, missing, thumbor, thumbor_path
from benchmarks.similarity import resized, ssim
from imgpro_lite.formats import Format

SIZES_PX = {"s": 320, "m": 640, "l": 1080}
ROUNDS = 9
WARM_UP_ROUNDS = 2

# By format: our median at most so many times that of ipx and that of thumbor.
GOALS = {"webp": (0.5, 0.5), "avif": (0.2, 0.7), "jpeg": (0.5, 0.5)}
GOAL_BARE = 1.3
# What preparing at the upload may cost in quality, beside the same encoder settings fed from the original.
GOAL_SIMILARITY_LOST = 0.005
GOAL_BYTES_ADDED = 1.05
GOAL_48_MP = 1.3
LARGE_VARIANTS = ("webp?size=m", "avif?size=m", "webp?size=l")


@dataclass(frozen=True)
class _Original:
    """The bytes that every round's picture begins with."""

    content: bytes
    path: Path

    def resized_px(self, size: str) -> tuple[int, int]:
        """Width and height of a variant."""
        image = pyvips.Image.new_from_file(str(self.path))
        factor = SIZES_PX[size] / min(image.width, image.height)
        return round(image.width * factor), round(image.height * factor)


class _Race:
    """The servers that run, and the pictures that they have not seen yet."""

    def __init__(self, ours: Server, key: str, others: dict[str, Server], images: Path) -> None:
        self._ours = ours
        self._key = key
        self._others = others
        self._images = images
        self._numbers = itertools.count()

    def run(self, original: _Original, size: str, format_: str, rounds: int) -> dict[str, list[Answer]]:
        """The answers of each server, ours first."""
        answers: dict[str, list[Answer]] = {name: [] for name in ("ours", *self._others)}
        for _ in range(rounds):
            content = original.content + next(self._numbers).to_bytes(4, "big")
            answers["ours"].append(self.upload_and_fetch(content, f"{format_}?size={size}"))
            for name, server in self._others.items():
                answers[name].append(self._fetch_from(name, server, content, original.resized_px(size), format_))
        return answers

    def upload_and_fetch(self, content: bytes, variant: str) -> Answer:
        """The first view at ours; before it, what the last one left behind comes to rest."""
        self._ours.wait_until_idle()
        address, _seconds = post_image(self._ours.url, self._key, content)
        answer = fetch(f"{address}.{variant}")
        assert answer.status == 200, answer
        return answer

    def _fetch_from(self, name: str, server: Server, content: bytes, px: tuple[int, int], format_: str) -> Answer:
        self._ours.wait_until_idle()
        file = self._images / f"{next(self._numbers)}.jpg"
        file.write_bytes(content)
        path = ipx_path(format_, *px, file.name) if name == "ipx" else thumbor_path(format_, *px, file.name)
        answer = fetch(server.url + path)
        file.unlink()
        assert answer.status == 200, answer
        return answer


def run() -> Iterator[Row | str]:
    """Medians, with the least and the most; SSIM against the original resized; bytes."""
    with scratch() as folder:
        photo = real_photograph(folder / "photo.jpg", 12)
        original = _Original(photo.read_bytes(), photo)
        large = real_photograph(folder / "large.jpg", 48).read_bytes()
        images = folder / "images"
        images.mkdir()
        yield from missing("ipx", "thumbor")
        with imgpro(folder / "data") as ours, ipx(images) as first, thumbor(images) as second:
            others = {name: server for name, server in (("ipx", first), ("thumbor", second)) if server}
            race = _Race(ours, owner_key(folder / "data"), others, images)
            for format_ in GOALS:
                race.run(original, "s", format_, WARM_UP_ROUNDS)
                for size in SIZES_PX:
                    answers = race.run(original, size, format_, ROUNDS)
                    yield from _rows(answers, original, size, format_)
                    if (size, format_) == ("m", "webp"):
                        yield _beside_bare(photo, answers["ours"])
            yield from _large_beside_small(race, original.content, large)
        yield from avif_bytes.run(photo)
        yield from upload_cost.run(folder, {12: original.content, 48: large})


def _rows(answers: dict[str, list[Answer]], original: _Original, size: str, format_: str) -> Iterator[Row]:
    reference = resized(original.path, *original.resized_px(size))
    medians = {}
    for name, given in answers.items():
        milliseconds = [answer.seconds * 1000 for answer in given]
        medians[name] = median(milliseconds)
        similarity = ssim(reference, _decoded(given[0].body, reference))
        note = f"{spread(milliseconds)}; {len(given[0].body):,} bytes, SSIM {similarity:.4f}"
        yield Row(f"first view, {size} {format_}: {name}", medians[name], "ms", note=note)
    yield from _beside_direct(answers["ours"][0].body, reference, f"{size} {format_}")
    for name, goal in zip(("ipx", "thumbor"), GOALS[format_], strict=True):
        if name in medians:
            yield at_most(f"first view, {size} {format_}: ours / {name}", medians["ours"] / medians[name], "x", goal)


def _beside_direct(body: bytes, reference: pyvips.Image, variant: str) -> Iterator[Row]:
    """What is served right after an upload, and what the same encoder makes of the original itself."""
    direct = serve(Format.JPEG, Format(variant.split()[1]), reference)
    lost = ssim(reference, _decoded(direct, reference)) - ssim(reference, _decoded(body, reference))
    yield at_most(f"first view, {variant}: SSIM lost by preparing", lost, "", GOAL_SIMILARITY_LOST)
    ratio = len(body) / len(direct)
    yield at_most(f"first view, {variant}: bytes / bytes from the original", ratio, "x", GOAL_BYTES_ADDED)


def _decoded(body: bytes, reference: pyvips.Image) -> pyvips.Image:
    """A variant's pixels. One that is a pixel larger or smaller by another way of rounding is resized to fit."""
    image = pyvips.Image.new_from_buffer(body, "")
    if (image.width, image.height) != (reference.width, reference.height):
        return image.thumbnail_image(reference.width, height=reference.height, size="force")
    return image


def _beside_bare(photo: Path, answers: list[Answer]) -> Row:
    bare_seconds = bare_pixels.measure(photo, ROUNDS)["webp"]["seconds"]
    ratio = median([answer.seconds for answer in answers]) / bare_seconds
    note = f"a warm process: {bare_seconds * 1000:.1f} ms"
    return at_most("first view, m webp: ours / bare libvips, decoding the original", ratio, "x", GOAL_BARE, note)


def _large_beside_small(race: _Race, small: bytes, large: bytes) -> Iterator[Row]:
    """48 megapixels against 12, in turns."""
    for variant in LARGE_VARIANTS:
        seconds: dict[int, list[float]] = {12: [], 48: []}
        for number in range(ROUNDS):
            ending = variant.encode() + number.to_bytes(4, "big")
            for megapixels, content in ((12, small), (48, large)):
                seconds[megapixels].append(race.upload_and_fetch(content + ending, variant).seconds)
        ratio = median(seconds[48]) / median(seconds[12])
        note = ", ".join(f"{megapixels} MP: {median(taken) * 1000:.1f} ms" for megapixels, taken in seconds.items())
        yield at_most(f"first view, {variant}: 48 MP / 12 MP", ratio, "x", GOAL_48_MP, note)
