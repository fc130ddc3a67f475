"""What `scripts/fuzz` does with many requests, with a few: whatever is sent, every answer is one of ours."""

from pathlib import Path

import pytest
from fuzzing.attack import attack


def check(directory: Path, requests: int) -> None:
    """Attack a server; the seed is fixed, so that a run tells something about the change that it is for."""
    report = attack(directory, requests, seed=1, connections=16)
    assert report.faults == []
    assert sum(report.asked.values()) == requests
    assert {200, 201, 400, 404, 422} <= report.statuses.keys()


def test_300_requests(tmp_path: Path) -> None:
    check(tmp_path, 300)


@pytest.mark.slow
def test_5000_requests(tmp_path: Path) -> None:
    check(tmp_path, 5000)
