"""What is installed: floors that hold, exact versions that fit, and an audit that says no more than it knows."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
LOCK = (ROOT / "requirements-test.txt").read_text("utf-8")
LOCKED = [Requirement(line) for line in re.findall(r"^([a-z0-9].*?)(?: \\)?$", LOCK, re.MULTILINE)]
FLOORS = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]]


def floor_of(requirement: Requirement) -> Version:
    (floor,) = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    return floor


def applies(requirement: Requirement) -> bool:
    """Whether it is for the machine that runs the tests."""
    return requirement.marker is None or requirement.marker.evaluate()


@pytest.mark.parametrize("requirement", FLOORS, ids=lambda requirement: requirement.name)
def test_what_is_tested_is_above_the_floor(requirement: Requirement) -> None:
    if applies(requirement):
        assert floor_of(requirement) <= Version(version(requirement.name))


@pytest.mark.parametrize("requirement", FLOORS, ids=lambda requirement: requirement.name)
def test_every_floor_has_one_exact_version_that_fits(requirement: Requirement) -> None:
    fitting = [locked for locked in LOCKED if canonicalize_name(locked.name) == canonicalize_name(requirement.name)]
    assert len(fitting) == 1
    (exact,) = fitting[0].specifier
    assert exact.operator == "=="
    assert exact.version in requirement.specifier


def test_no_floor_is_below_a_version_that_mended_a_hole() -> None:
    """The comments in pyproject.toml say which: `CVE-…: 1.2.3`."""
    checked = 0
    comment = ""
    for line in PYPROJECT.splitlines():
        text, _, here = line.partition("#")
        comment = f"{comment} {here}"
        if requirement := re.fullmatch(r'\s*"([^"]+)",\s*', text):
            for mended in re.findall(r": ([0-9]+\.[0-9.]*[0-9])(?=[;,. (]|$)", comment):
                assert Version(mended) <= floor_of(Requirement(requirement[1])), line
                checked += 1
        if text.strip():
            comment = ""
    assert checked >= 15


def test_the_exact_versions_come_with_hashes_and_from_nowhere_in_particular() -> None:
    assert len(LOCKED) > 40
    assert len(re.findall(r"==.*\\\n    --hash=sha256:[0-9a-f]{64}", LOCK)) == len(LOCKED)
    assert not re.search(r"://|index|find-links|\bfile:|/", LOCK.replace("scripts/lock", ""))


# --- the audit


def audit(folder: Path, printed: str | None) -> tuple[int, str]:
    """scripts/audit.py with a pip-audit that prints this, or with none."""
    if printed is not None:
        (folder / "said").write_text(printed)
        (folder / "pip-audit").write_text(f"#!/bin/sh\ncat '{folder}/said'\n")
        (folder / "pip-audit").chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "audit.py")],
        env={**os.environ, "PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def package(name: str, **said: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", **said}


NO_ANSWER = "Not audited: pip-audit is not installed, or cannot reach its data.\n"
HOLE = {"id": "CVE-1", "fix_versions": ["1.1"]}


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ([package("a", vulns=[])], 0, ""),
        ([package("a", vulns=[HOLE]), package("b", vulns=[])], 1, "a 1.0: CVE-1, mended in 1.1\n"),
        ([package("a", skip_reason="not found")], 0, NO_ANSWER),
        (
            [package("a", skip_reason="not found"), package("b", vulns=[])],
            0,
            "1 of 2 packages could not be audited.\n",
        ),
    ],
    ids=["nothing", "a hole", "no data", "some data"],
)
def test_the_audit_says_what_it_knows(tmp_path: Path, said: list[dict[str, Any]], code: int, told: str) -> None:
    assert audit(tmp_path, json.dumps({"dependencies": said, "fixes": []})) == (code, told)


@pytest.mark.parametrize("printed", ["", "Traceback …", None], ids=["nothing", "a failure", "not installed"])
def test_an_audit_that_is_not_possible_is_told_and_not_a_failure(tmp_path: Path, printed: str | None) -> None:
    assert audit(tmp_path, printed) == (0, NO_ANSWER)
