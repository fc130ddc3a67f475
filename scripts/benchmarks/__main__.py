"""Run all benchmarks, or those that are named, and print one table."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    backup,
    big_uploads,
    bombs,
    cold_page,
    dev_state,
    encoders,
    first_view,
    further_views,
    killed_worker,
    library,
    manifests,
    memory,
    metrics,
    nginx,
    slow_clients,
    small_uploads,
    stand_in,
    startup,
    svg_refusals,
    sweep,
    transfer,
    viewer,
)
from benchmarks.harness import Row

# A benchmark yields rows, and sentences where there is something to say, such as what is not installed.
ALL: dict[str, Callable[[], Iterator[Row | str]]] = {
    "startup": startup.run,
    "big-uploads": big_uploads.run,
    "killed-worker": killed_worker.run,
    "encoders": encoders.run,
    "first-view": first_view.run,
    "further-views": further_views.run,
    "metrics": metrics.run,
    "cold-page": cold_page.run,
    "viewer": viewer.run,
    "memory": memory.run,
    "slow-clients": slow_clients.run,
    "small-uploads": small_uploads.run,
    "nginx": nginx.run,
    "library": library.run,
    "manifests": manifests.run,
    "sweep": sweep.run,
    "transfer": transfer.run,
    "svg-refusals": svg_refusals.run,
    "bombs": bombs.run,
    "dev": dev_state.run,
    "stand-in": stand_in.run,
    "backup": backup.run,
}


def main() -> None:
    """Print the table; exit 1 when a figure misses its goal."""
    names = sys.argv[1:] or list(ALL)
    if unknown := set(names) - set(ALL):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}. Known: {', '.join(ALL)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, Python {platform.python_version()}")
    missed = False
    for name in names:
        for line in ALL[name]():
            missed |= isinstance(line, Row) and line.missed
            print(line, flush=True)
    sys.exit(missed)


def _memory_gib() -> float:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return kib / 1024 / 1024


main()
