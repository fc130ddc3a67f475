"""Views of what is there already: a hot variant of some 30 KB, answers that nothing changed, and an original of 5 MB.

Every server has the same core and wrk the other, with 16 connections; the servers take turns. Where other programs
take part of the core away, requests a second of processor time still compare, so each note has them too.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyvips

from benchmarks import wrk
from benchmarks.client import fetch, post_image
from benchmarks.harness import (
    Row,
    Server,
    at_least,
    at_most,
    bare,
    imgpro,
    median,
    owner_key,
    photograph,
    real_photograph,
    scratch,
    spread,
)
from benchmarks.peers import missing, nginx, thumbor, thumbor_path

ROUNDS = 3
HOT_BYTES = 30_000
ORIGINAL_BYTES = 5_000_000
NOISE_STEPS, NOISE_SIGMA = 40, 0.5
HOT_VARIANT = "webp?size=m"

# Our requests a second at least so many times those of each.
GOALS = {"bare Starlette": 1.0, "plain ASGI": 0.7, "thumbor": 12.0, "nginx": 0.25}
GOAL_P99_MS = 5.0
GOAL_NOT_MODIFIED = 1.0
GOAL_ORIGINAL = 0.3

OURS = "ours"
OURS_QUIET = "ours, log level warning"
NOT_MODIFIED = "ours, 304"


@dataclass
class _Target:
    """An address under load, and what came of it in each round."""

    server: Server
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    loads: list[wrk.Load] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)

    def load(self, core: int) -> None:
        """One round."""
        before = self.server.cpu_seconds()
        self.loads.append(wrk.load(self.url, core, self.headers))
        self.cpu_rates.append(self.loads[-1].requests / (self.server.cpu_seconds() - before))

    @property
    def cpu_rate(self) -> float:
        """The median of requests for each second of the server's processor time."""
        return median(self.cpu_rates)

    @property
    def rate(self) -> float:
        """The median of requests a second."""
        return median([load.requests_per_second for load in self.loads])

    @property
    def p99_ms(self) -> float:
        """The median of the rounds' 99th percentiles."""
        return median([load.p99_ms for load in self.loads])


def run() -> Iterator[Row | str]:
    """Medians of the rounds, with the least and the most."""
    if (cores := wrk.cores()) is None:
        yield "further views need wrk, taskset and two cores, so they are left out"
        return
    server_core, wrk_core = cores
    yield from missing("nginx", "thumbor")
    with scratch() as folder, ExitStack() as stack:
        prefix = wrk.pinned(server_core)
        images = folder / "images"
        images.mkdir()
        # One that logs each request, as by default, into a file; one that logs only what is wrong.
        loud = stack.enter_context(
            imgpro(folder / "loud", prefix=prefix, environ={"IMGPRO_LOG_LEVEL": "info"}, log=folder / "loud.log")
        )
        quiet = stack.enter_context(imgpro(folder / "quiet", prefix=prefix))
        address, content = _hot_address(loud, folder / "loud", _hot_photographs(folder))
        quiet_address, _content = _hot_address(quiet, folder / "quiet", [content])
        hot = fetch(address)
        yield f"the hot variant is a WebP of {len(hot.body):,} bytes"
        targets = {
            OURS: _Target(loud, address),
            NOT_MODIFIED: _Target(loud, address, {"If-None-Match": hot.headers["etag"]}),
            OURS_QUIET: _Target(quiet, quiet_address),
        }
        assert fetch(address, targets[NOT_MODIFIED].headers).status == 304
        targets |= _bare_targets(stack, prefix, images, hot.body)
        targets |= _peer_targets(stack, prefix, images)
        _load_in_turns(targets, wrk_core)
        yield from _rows(targets)
        yield from _original(loud, folder / "loud", images, wrk_core, targets.get("nginx"))


def _hot_photographs(folder: Path) -> Iterator[bytes]:
    """A small JPEG with more and more noise, which makes its variants larger."""
    photo = pyvips.Image.thumbnail(str(real_photograph(folder / "photo.jpg", 12)), 1200).copy_memory()
    for step in range(NOISE_STEPS):
        noise = pyvips.Image.gaussnoise(photo.width, photo.height, mean=0, sigma=step * NOISE_SIGMA, seed=1)
        yield (photo + noise).cast("uchar").copy(interpretation="srgb").jpegsave_buffer(Q=95)


def _hot_address(server: Server, data_dir: Path, contents: Iterable[bytes]) -> tuple[str, bytes]:
    """The address of the first variant that is large enough, and the JPEG it is made of."""
    key = owner_key(data_dir)
    address, content = "", b""
    for content in contents:
        src, _seconds = post_image(server.url, key, content)
        address = f"{src}.{HOT_VARIANT}"
        if len(fetch(address).body) >= HOT_BYTES:
            break
    return address, content


def _bare_targets(stack: ExitStack, prefix: list[str], images: Path, body: bytes) -> dict[str, _Target]:
    file = images / "hot.webp"
    file.write_bytes(body)
    started = {
        name: stack.enter_context(bare("benchmarks.bare_views", kind, str(file), prefix=prefix))
        for name, kind in (("bare Starlette", "starlette"), ("plain ASGI", "asgi"))
    }
    return {name: _Target(server, f"{server.url}/abcd1/abcdefghijklm1.webp") for name, server in started.items()}


def _peer_targets(stack: ExitStack, prefix: list[str], images: Path) -> dict[str, _Target]:
    targets = {}
    if server := stack.enter_context(nginx(images, prefix)):
        targets["nginx"] = _Target(server, f"{server.url}/hot.webp")
    if server := stack.enter_context(thumbor(images, prefix)):
        # The hot variant itself, so that it sends about as many bytes; its result storage has it from then on.
        targets["thumbor"] = _Target(server, server.url + thumbor_path("webp", 0, 0, "hot.webp"))
    return targets


def _load_in_turns(targets: dict[str, _Target], core: int) -> None:
    for target in targets.values():
        fetch(target.url, target.headers)
    for _ in range(ROUNDS):
        for target in targets.values():
            target.load(core)


def _rows(targets: dict[str, _Target]) -> Iterator[Row]:
    for name, target in targets.items():
        note = f"{spread([load.requests_per_second for load in target.loads], 0)}; p99 {target.p99_ms:.2f} ms; "
        note += f"{target.cpu_rate:,.0f} a CPU second"
        yield Row(f"hot variant, one core: {name}", target.rate, "/s", note=note)
    for ours in (OURS, OURS_QUIET):
        for name, goal in GOALS.items():
            if name in targets:
                yield _ratio(f"hot variant: {ours} / {name}", targets[ours], targets[name], goal)
        yield at_most(f"hot variant: {ours}, p99", targets[ours].p99_ms, "ms", GOAL_P99_MS)
    yield _ratio("hot variant: ours, 304 / 200", targets[NOT_MODIFIED], targets[OURS], GOAL_NOT_MODIFIED)


def _ratio(what: str, one: _Target, other: _Target, goal: float) -> Row:
    note = f"a CPU second: {one.cpu_rate / other.cpu_rate:.3f} x"
    return at_least(what, one.rate / other.rate, "x", goal, note)


def _original(ours: Server, data_dir: Path, images: Path, core: int, other: _Target | None) -> Iterator[Row]:
    """A JPEG with bytes at its end that no decoder reads: what it shows does not matter here."""
    content = photograph(images / "original.jpg", 1).read_bytes().ljust(ORIGINAL_BYTES, b"\0")
    (images / "original.jpg").write_bytes(content)
    src, _seconds = post_image(ours.url, owner_key(data_dir), content)
    targets = {"ours": _Target(ours, f"{src}.jpeg")}
    if other:
        targets["nginx"] = _Target(other.server, other.url.replace("hot.webp", "original.jpg"))
    _load_in_turns(targets, core)
    for name, target in targets.items():
        assert len(fetch(target.url).body) == ORIGINAL_BYTES
        note = f"{target.rate * ORIGINAL_BYTES / 1e6:,.0f} MB/s; p99 {target.p99_ms:.1f} ms"
        yield Row(f"original of 5 MB, one core: {name}", target.rate, "/s", note=note)
    if other:
        yield _ratio("original of 5 MB: ours / nginx", targets["ours"], targets["nginx"], GOAL_ORIGINAL)
