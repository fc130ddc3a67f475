"""What counting for /metrics costs hot images: the same server without, with, and with a scrape once a second.

The servers take turns on one core, round by round, and are started anew several times, because two processes of the
same program differ by a percent or two. They log warnings only, so that the rest of a request is as cheap as it gets.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import wrk
from benchmarks.client import fetch, post_image
from benchmarks.harness import (
    Row,
    Server,
    at_least,
    free_port,
    imgpro,
    median,
    owner_key,
    photograph,
    scratch,
    spread,
)

STARTS, ROUNDS, ROUND_SECONDS = 3, 16, 1
GOAL = 0.98
SCRAPE_SECONDS = 0.5  # after the beginning of a round of a second: one in each
HOT_VARIANT = "webp?size=m"

OFF, ON, SCRAPED = "off", "on", "on, scraped once a second"


def run() -> Iterator[Row | str]:
    """Medians of the rounds' ratios to the server without metrics."""
    if (cores := wrk.cores()) is None:
        yield "the cost of metrics needs wrk, taskset and two cores, so it is left out"
        return
    rates: dict[str, list[float]] = {OFF: [], ON: [], SCRAPED: []}
    cpu_rates: dict[str, list[float]] = {OFF: [], ON: [], SCRAPED: []}
    scrape_ms: list[float] = []
    with scratch() as folder:
        content = photograph(folder / "photo.jpg", 1).read_bytes()
        for start in range(STARTS):
            for name, rate, cpu_rate in _one_start(folder / str(start), content, cores, scrape_ms):
                rates[name].append(rate)
                cpu_rates[name].append(cpu_rate)
    yield Row("hot variant, one core: metrics off", median(rates[OFF]), "/s", note=spread(rates[OFF], 0))
    for name in (ON, SCRAPED):
        ratios = [on / off for on, off in zip(rates[name], rates[OFF], strict=True)]
        yield at_least(f"hot variant: metrics {name} / off", median(ratios), "x", GOAL, spread(ratios, 3))
        ratios = [on / off for on, off in zip(cpu_rates[name], cpu_rates[OFF], strict=True)]
        what = f"hot variant, a second of processor time: metrics {name} / off"
        yield at_least(what, median(ratios), "x", GOAL, spread(ratios, 3))
    yield Row("a scrape, under that load", median(scrape_ms), "ms", note=spread(scrape_ms))


def _one_start(
    folder: Path, content: bytes, cores: tuple[int, int], scrape_ms: list[float]
) -> Iterator[tuple[str, float, float]]:
    """The requests of each server in each round: a second, and a second of its processor time, which is what still
    compares where other programs take part of the core away."""
    server_core, wrk_core = cores
    folder.mkdir()
    with ExitStack() as stack:
        running, addresses, ports = {}, {}, {}
        for name in (OFF, ON, SCRAPED):
            ports[name] = 0 if name == OFF else free_port()
            data_dir = folder / name
            environ = {"IMGPRO_METRICS_PORT": str(ports[name])}
            running[name] = stack.enter_context(imgpro(data_dir, prefix=wrk.pinned(server_core), environ=environ))
            src, _seconds = post_image(running[name].url, owner_key(data_dir), content)
            addresses[name] = f"{src}.{HOT_VARIANT}"
            fetch(addresses[name])
        names = list(addresses)
        for _ in range(ROUNDS):
            names.reverse()  # so that none always has the place after another
            for name in names:
                scraped_port = ports[name] if name == SCRAPED else 0
                with _scraping(scraped_port, wrk_core, scrape_ms):
                    before = _loop_seconds(running[name])
                    load = wrk.load(addresses[name], wrk_core, seconds=ROUND_SECONDS)
                    loop_seconds = _loop_seconds(running[name]) - before
                yield name, load.requests_per_second, load.requests / loop_seconds


def _loop_seconds(server: Server) -> float:
    """The processor time of the thread that has the event loop, exact to the nanosecond (CONFIG_SCHED_INFO)."""
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def _scraping(port: int, core: int, scrape_ms: list[float]) -> Iterator[None]:
    """Have the metrics on this port read once a second, from this core; nothing without a port."""
    ended = threading.Event()

    def scrape() -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        if not ended.wait(SCRAPE_SECONDS):
            answer = fetch(f"http://127.0.0.1:{port}/metrics")
            assert b"imgpro_http_requests_total" in answer.body
            scrape_ms.append(answer.seconds * 1000)

    thread = threading.Thread(target=scrape) if port else None
    if thread:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread:
            thread.join()
