"""What the stand-in costs a test suite: the fixture `imgpro`, pytest without it, and `imgpro-lite exec`."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, at_most, median, scratch, spread

TESTS = 100
ROUNDS = 5
VERSION_ROUNDS = 15  # of what takes 0.3 s and differs by milliseconds
TEST_GOAL_MS = 20
ONCE_GOAL_SECONDS = 1.2
EXEC_GOAL_SECONDS = 1.5
VERSION_GOAL_MS = 10  # what a run of pytest differs by anyway

_SUITE = f"""
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_it(imgpro, number):
    pass
"""

# Setup and teardown are all fixture, as the tests do nothing.
_CONFTEST = """
def pytest_runtest_logreport(report):
    with open("durations", "a") as file:
        print(report.duration, file=file)
"""


def run() -> Iterator[Row]:
    """A suite of tests that do nothing, and a command that does nothing."""
    each_ms, once = [], []
    for _ in range(ROUNDS):
        tests_seconds = _run_suite()
        each_ms += [seconds * 1000 for seconds in tests_seconds[1:-1]]
        once.append(tests_seconds[0] + tests_seconds[-1])
    yield at_most("fixture imgpro: each test", median(each_ms), "ms", TEST_GOAL_MS, spread(each_ms))
    yield at_most("fixture imgpro: once, start and end", median(once), "s", ONCE_GOAL_SECONDS, spread(once, 2))
    figures = [_seconds("imgpro_lite", "exec", "--", "true") for _ in range(ROUNDS)]
    yield at_most("exec -- true", median(figures), "s", EXEC_GOAL_SECONDS, spread(figures, 2))
    differences = [_version() - _version("-p", "no:imgpro") for _ in range(VERSION_ROUNDS)]
    yield at_most("pytest --version: the plugin", median(differences) * 1000, "ms", VERSION_GOAL_MS)


def _run_suite() -> list[float]:
    """How long the fixture took for each test, in seconds."""
    with scratch() as folder:
        (folder / "test_it.py").write_text(_SUITE)
        (folder / "conftest.py").write_text(_CONFTEST)
        _seconds("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_it.py", folder=folder)
        durations = [float(line) for line in (folder / "durations").read_text().split()]
    return [sum(durations[number : number + 3]) for number in range(0, len(durations), 3)]


def _version(*options: str) -> float:
    return _seconds("pytest", "--version", *options)


def _seconds(module: str, *arguments: str, folder: Path | None = None) -> float:
    started_at = time.perf_counter()
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started_at
