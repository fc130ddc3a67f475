"""What it costs to refuse an SVG that is made to cost much: 200 ms and 60 MB in its worker, at the 10 MB it may have.

A worker is warm, as in a running server, and has memory that it never used before, so that all growth is the file's.
The time is that of its processor, which others on the machine disturb least.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, at_most, median, scratch
from imgpro_lite.errors import UnsupportedFormat
from imgpro_lite.formats import Format
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.settings import ImagingSettings

GOAL_SECONDS, GOAL_MB = 0.2, 60
RUNS = 3
_OPENING = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'


def _attributes(count: int, value: str = "1") -> str:
    return " ".join(f'a{number}="{value}"' for number in range(count))


def _documents() -> Iterator[tuple[str, str]]:
    yield "50,001 elements", _OPENING + "<g/>" * 50_001 + "</svg>"
    yield "2,000,000 elements", _OPENING + "<g/>" * 2_000_000 + "</svg>"
    yield "257 levels", _OPENING + "<g>" * 257 + "</g>" * 257 + "</svg>"
    yield "1,000,000 levels", _OPENING + "<g>" * 1_000_000
    yield "900,000 attributes of an element", f"{_OPENING}<g {_attributes(900_000)}/></svg>"
    yield "900 attributes of each element, and two roots", f"{_OPENING}{f'<g {_attributes(900)}/>' * 1200}</svg><a/>"
    namespaces = " ".join(f'xmlns:a{number}="u"' for number in range(450_000))
    yield "450,000 namespaces", f"{_OPENING}<g {namespaces}/></svg>"
    yield "an attribute of 10 MB that does not end", f'<svg xmlns="http://www.w3.org/2000/svg" a="{"x" * 10_000_000}'
    yield "a path of 10 MB, not closed", f'{_OPENING}<path d="{"M0 0" * 2_400_000}"/>'
    yield "800,000 rules of style, not closed", f"{_OPENING}<style>{'.a{fill:red}' * 800_000}"
    escaped = ".\\61{fill:url(#x)}"
    yield "rules of style with 10 MB of escapes", f"{_OPENING}<style>{escaped * 500_000}</style></svg>"
    yield "10 MB of comments, not closed", _OPENING + "<!---->" * 1_400_000
    yield "wrapped in HTML", f"<html>{_OPENING}{'<g/>' * 1000}</svg></html>"
    yield "two roots", f"{_OPENING}</svg>{_OPENING}</svg>"
    yield "0 x 0", _OPENING.replace('"9"', '"0"') + "</svg>"
    yield "1,000,000 px wide", _OPENING.replace('width="9"', 'width="1000000"') + "<rect/></svg>"
    yield "DOCTYPE", f'<!DOCTYPE svg [<!ENTITY a "{"a" * 1000}">]>{_OPENING}{"&a;" * 1000}</svg>'


def run() -> Iterator[Row]:
    """The median time, and the most memory that a fresh worker takes."""
    with scratch() as folder, asyncio.Runner() as runner:
        (folder / "nothing.svg").write_text("<svg/>", encoding="utf-8")
        for what, text in _documents():
            path = folder / "document.svg"
            path.write_text(text, encoding="utf-8")
            costs = [runner.run(_refuse(path, folder / "sanitised.svg")) for _ in range(RUNS)]
            yield at_most(f"refuse SVG: {what}", median([seconds for seconds, _mb in costs]), "s", GOAL_SECONDS)
            yield at_most(f"refuse SVG: {what}, memory", max(round(mb) for _seconds, mb in costs), "MB", GOAL_MB)


async def _refuse(path: Path, sanitised: Path) -> tuple[float, float]:
    """Processor seconds and megabytes of one refusal."""
    pool = WorkerPool(ImagingSettings(workers=1))
    await pool.start()
    try:
        await _probe(pool, path.with_name("nothing.svg"), sanitised)  # so that its code is loaded
        pid = pool.pids[0]
        before_seconds, before_mb = _cpu_seconds(pid), _peak_mb(pid)
        await _probe(pool, path, sanitised)
        return _cpu_seconds(pid) - before_seconds, _peak_mb(pid) - before_mb
    finally:
        await pool.close()


async def _probe(pool: WorkerPool, path: Path, sanitised: Path) -> None:
    try:
        await pool.probe(path, Format.SVG, sanitized=sanitised)
    except UnsupportedFormat:
        return
    raise AssertionError(f"{path} was not refused")


def _cpu_seconds(pid: int) -> float:
    """What one process has used, to the nanosecond, unlike the 10 ms of its `stat`."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _peak_mb(pid: int) -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024
