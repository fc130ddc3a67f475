"""A few rounds of what `scripts/crash-test` does two hundred times."""

import sys
from pathlib import Path

import pytest
from crash_loop import Loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


@pytest.mark.parametrize(("cycles", "most_seconds"), [(2, 0.4), pytest.param(20, 1.5, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_under_load(tmp_path: Path, cycles: int, most_seconds: float) -> None:
    loop = Loop(tmp_path, seed=cycles, most_seconds=most_seconds)
    loop.run(cycles)
    assert loop.violations == []
    assert loop.checked["images"] > 0
