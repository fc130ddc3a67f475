"""Attack a server of its own and print what came of it; exit 1 when anything was wrong."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from fuzzing.attack import SHOWN_FAULTS, attack


def main() -> None:
    """Parse the arguments, attack, print."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=100_000, metavar="REQUESTS")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--connections", type=int, default=48)
    options = parser.parse_args()
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imgpro-fuzz-") as directory:
        report = attack(Path(directory), options.requests, options.seed, options.connections)
    seconds = time.monotonic() - started_at
    for title, counts in (("asked", report.asked.most_common(25)), ("answered", sorted(report.statuses.items()))):
        print(f"{title}:")
        for what, count in counts:
            print(f"  {what!s:<40} {count:>8}")
    print(f"{sum(report.asked.values())} requests in {seconds:.0f} s, seed {options.seed}; ", end="")
    print(f"the server took at most {report.server_mb:.0f} MB; {len(report.faults)} faults")
    for fault in report.faults[:SHOWN_FAULTS]:
        print(fault)
    sys.exit(bool(report.faults))


main()
