"""The page of an image: what is sent before the picture, when the picture is painted, and how long the server takes.

A real browser opens the page of a photograph of one megapixel, whose variants are there already, with an empty cache
each time. What it reports as its largest contentful paint is checked to be the picture. A page with a line of text,
which it opens in turn, shows how much of that is the browser itself; a file from memory shows the same of the server.
"""

import re
from collections.abc import Iterator

from browser import Browser, find_browser, open_browser  # of the tests

from benchmarks import wrk
from benchmarks.client import fetch, post_image
from benchmarks.harness import (
    Row,
    Server,
    at_most,
    imgpro,
    median,
    owner_key,
    real_photograph,
    scratch,
    spread,
)

MEGAPIXELS = 1
VISITS = 20
ROUNDS = 3
SCREENS_PX = (360, 1280)

GOAL_BYTES = 30_000
GOAL_PAINT_MS = 300.0
GOAL_P99_MS = 10.0

NOBODYS = "abcdefghijkl12"  # an image that there is not

# One visitor after the other is what the goal is for; many at a time wait for each other.
MANY = 16

_OBSERVE = """
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) window.largest = [one.startTime, one.element ? one.element.tagName : ""];
  }).observe({ type: "largest-contentful-paint", buffered: true });
"""


def run() -> Iterator[Row | str]:
    """Bytes, milliseconds from the request to the paint, and of the server alone."""
    with scratch() as folder:
        core = wrk.cores()
        prefix = wrk.pinned(core[0]) if core else []
        with imgpro(folder / "data", prefix=prefix) as server:
            content = real_photograph(folder / "photo.jpg", MEGAPIXELS).read_bytes()
            stem, _seconds = post_image(server.url, owner_key(folder / "data"), content)
            page = f"{server.url}/{stem.rpartition('/')[2]}"
            if find_browser() is None:
                yield "there is no Chromium, so nothing is said about when the picture is painted"
            else:
                with open_browser() as browser:
                    for width_px in SCREENS_PX:
                        yield from _visits(server, browser, page, width_px)
            yield from _server_time(page, core)


def _visits(server: Server, browser: Browser, page: str, width_px: int) -> Iterator[Row]:
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=_OBSERVE)
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    browser.show(width_px=width_px, dark=False)
    _paint_ms(browser, page)  # makes the variant
    server.wait_until_idle()
    painted_ms, text_ms = [], []
    for _ in range(VISITS):
        text_ms.append(_paint_ms(browser, f"{server.url}/{NOBODYS}"))
        painted_ms.append(_paint_ms(browser, page))
    chosen = browser.run("document.querySelector('.stage img').currentSrc")
    others = {url for _, url, _ in browser.requests()} - {chosen}
    sizes = {url: len(fetch(url).body) for url in others}
    what = f"page of an image, {width_px} px"
    yield at_most(f"{what}: bytes of all but the picture", sum(sizes.values()), "B", GOAL_BYTES, f"{len(sizes)} files")
    note = f"{spread(painted_ms, 0)}, {chosen.rpartition('.')[2]}; {median(text_ms):.0f} ms for a line of text"
    yield at_most(f"{what}: largest contentful paint", median(painted_ms), "ms", GOAL_PAINT_MS, note)


def _paint_ms(browser: Browser, page: str) -> float:
    """The time of one visit from its beginning to its largest paint: the picture, or where there is none the text."""
    browser.goto("about:blank")
    browser.goto(page)
    wanted = "P" if page.endswith(NOBODYS) else "IMG"
    while not (largest := browser.run("window.largest")) or largest[1] != wanted:
        pass
    return float(largest[0])


def _server_time(page: str, core: tuple[int, int] | None) -> Iterator[Row | str]:
    if core is None:
        yield "the server's time needs wrk, taskset and two cores, so it is left out"
        return
    static = re.findall('/static/[^"]+', fetch(page).body.decode())[0]
    memory = page.rpartition("/")[0] + static
    for connections in (1, MANY):
        loads = [
            (wrk.load(page, core[1], connections=connections), wrk.load(memory, core[1], connections=connections))
            for _ in range(ROUNDS)
        ]
        p99_ms = [ours.p99_ms for ours, _ in loads]
        rate, bare_ms = (
            median([ours.requests_per_second for ours, _ in loads]),
            median([bare.p99_ms for _, bare in loads]),
        )
        what = f"page of an image, {connections} at a time: p99 of the server"
        note = f"{spread(p99_ms)}; {rate:.0f} requests a second; {bare_ms:.1f} ms for a file from memory"
        if connections == 1:
            yield at_most(what, median(p99_ms), "ms", GOAL_P99_MS, note)
        else:
            yield Row(what, median(p99_ms), "ms", note=note)
