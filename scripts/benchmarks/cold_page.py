"""Many views at once of what is not there yet: one variant 200 times, a page of 100 pictures, 2,000 variants.

All uploads come first. Then the server is stopped, everything that it could make again is removed, and it is started:
so each view has to decode an original of 12 megapixels, and nothing that was prepared at the upload helps.
"""

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.client import fetch, post_image
from benchmarks.flood import Flood, Outcome
from benchmarks.harness import Row, Server, at_most, imgpro, median, owner_key, real_photograph, scratch

SAME = 200
PAGE = 100
FLOOD = 2000
ORIGINALS = 170  # times 12 variants is more than 2,000
VARIANTS = [f"{format_}?size={size}" for format_ in ("jpeg", "webp", "avif", "png") for size in ("s", "m", "l")]
SAME_VARIANT = "png?size=l"
SINGLES = 3

# 200 answers cost some processor time of the workers' only when they are made; a second transform would double it.
GOAL_TRANSFORMS = 1.5
GOAL_HEALTH_P99_MS = 250.0
HEALTH_PAUSE_SECONDS = 0.02

# What the server can make again.
_REMADE = ("cache", "intermediates")


def run() -> Iterator[Row | str]:
    """Counts, and the time of the slowest answer."""
    with scratch() as folder:
        data_dir = folder / "data"
        paths = _upload_many(folder, data_dir)
        with _cold_server(data_dir) as server:
            yield from _one_variant(server, paths[-SINGLES - 1 :], folder)
        with _cold_server(data_dir) as server:
            yield from _page(server, [f"{path}.webp?size=m" for path in paths[:PAGE]], folder)
        with _cold_server(data_dir) as server:
            variants = itertools.product(VARIANTS, paths)
            urls = [f"{path}.{variant}" for variant, path in itertools.islice(variants, FLOOD)]
            yield from _too_many(server, urls, folder)


def _upload_many(folder: Path, data_dir: Path) -> list[str]:
    """The paths of some different pictures, without extension."""
    content = real_photograph(folder / "photo.jpg", 12).read_bytes()
    with imgpro(data_dir) as server:
        key = owner_key(data_dir)
        addresses = [post_image(server.url, key, content + number.to_bytes(4, "big"))[0] for number in range(ORIGINALS)]
        return [address.removeprefix(server.url) for address in addresses]


def _cold_server(data_dir: Path) -> AbstractContextManager[Server]:
    """What it logs goes into a file: every refusal is a line."""
    for name in _REMADE:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    return imgpro(data_dir, log=data_dir.parent / "cold.log")


def _one_variant(server: Server, paths: list[str], folder: Path) -> Iterator[Row]:
    """The workers' processor time says how often it was made: compared with single requests for other pictures."""
    *others, last = [f"{server.url}{path}.{SAME_VARIANT}" for path in paths]
    singles = [_cpu_seconds_of([url], server, folder)[0] for url in others]
    cpu_seconds, outcomes = _cpu_seconds_of([last] * SAME, server, folder)
    assert [outcome.status for outcome in outcomes] == [200] * SAME, Counter(outcome.status for outcome in outcomes)
    bodies = len({outcome.sha256 for outcome in outcomes})
    note = f"{cpu_seconds * 1000:.0f} ms of the workers beside {median(singles) * 1000:.0f} for one request"
    yield at_most(
        f"{SAME} requests of one cold variant: transforms", cpu_seconds / median(singles), "", GOAL_TRANSFORMS, note
    )
    yield Row(f"{SAME} requests of one cold variant: different bodies", bodies, "", "= 1", bodies != 1)


def _cpu_seconds_of(urls: list[str], server: Server, folder: Path) -> tuple[float, list[Outcome]]:
    server.wait_until_idle()
    before = server.worker_cpu_seconds()
    outcomes = Flood(urls, folder / "urls.txt").outcomes()
    server.wait_until_idle()
    return server.worker_cpu_seconds() - before, outcomes


def _page(server: Server, paths: list[str], folder: Path) -> Iterator[Row]:
    outcomes = Flood([server.url + path for path in paths], folder / "urls.txt").outcomes()
    good = sum(outcome.status == 200 and not outcome.error for outcome in outcomes)
    note = f"the last after {max(outcome.seconds for outcome in outcomes):.1f} s"
    yield Row(f"page of {PAGE} cold pictures: answered with 200", good, "", f"= {PAGE}", good != PAGE, note)


def _too_many(server: Server, paths: list[str], folder: Path) -> Iterator[Row | str]:
    running = Flood([server.url + path for path in paths], folder / "urls.txt")
    health_ms = _watch_health(server, running)
    outcomes = running.outcomes()
    statuses = Counter(outcome.status for outcome in outcomes)
    counts = ", ".join(f"{count} x {status}" for status, count in statuses.items())
    log_kb = (folder / "cold.log").stat().st_size / 1000
    yield f"{FLOOD} cold variants at once: {counts}; the log of all this has {log_kb:,.0f} KB"
    refused = [outcome for outcome in outcomes if outcome.status == 503]
    proper = [outcome for outcome in refused if outcome.error == "overloaded" and outcome.retry_after.isdigit()]
    wrong = len(outcomes) - statuses[200] - len(proper)
    slowest = max((outcome.seconds for outcome in outcomes if outcome.status == 200), default=0.0)
    cut_off = sum(outcome.status == 200 and bool(outcome.error) for outcome in outcomes)
    yield Row(f"{FLOOD} at once: neither 200 nor overloaded with Retry-After", wrong + cut_off, "", "= 0", wrong > 0)
    none = not proper
    yield Row(f"{FLOOD} at once: overloaded with Retry-After", len(proper), "", ">= 1", none)
    yield Row(f"{FLOOD} at once: the slowest answer with a picture", slowest, "s")
    p99 = sorted(health_ms)[int(len(health_ms) * 0.99)]
    note = f"{len(health_ms)} requests, worst {max(health_ms):.0f} ms"
    yield at_most(f"{FLOOD} at once: p99 of /healthz meanwhile", p99, "ms", GOAL_HEALTH_P99_MS, note)


def _watch_health(server: Server, running: Flood) -> list[float]:
    """How long /healthz takes, until all others have been answered."""
    milliseconds = []
    while running.is_running():
        answer = fetch(f"{server.url}/healthz")
        assert answer.status == 200, answer
        milliseconds.append(answer.seconds * 1000)
        time.sleep(HEALTH_PAUSE_SECONDS)
    return milliseconds
