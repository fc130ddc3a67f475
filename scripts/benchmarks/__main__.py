"""Run all benchmarks, or those that are named, and print one table."""

import os
import platform
import sys
from pathlib import Path

from benchmarks import big_uploads, first_view, killed_worker, library, small_uploads, startup, sweep
from benchmarks.harness import Row

ALL = {
    "startup": startup.run,
    "big-uploads": big_uploads.run,
    "killed-worker": killed_worker.run,
    "first-view": first_view.run,
    "small-uploads": small_uploads.run,
    "library": library.run,
    "sweep": sweep.run,
}


def main() -> None:
    """Print the table; exit 1 when a figure misses its goal."""
    names = sys.argv[1:] or list(ALL)
    if unknown := set(names) - set(ALL):
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}. Known: {', '.join(ALL)}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, Python {platform.python_version()}")
    rows: list[Row] = []
    for name in names:
        for row in ALL[name]():
            rows.append(row)
            print(row, flush=True)
    sys.exit(any(row.missed for row in rows))


def _memory_gib() -> float:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return kib / 1024 / 1024


main()
