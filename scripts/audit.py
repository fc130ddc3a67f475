"""Look for known holes in the packages of requirements-test.txt, with pip-audit: `scripts/audit.py`.

Ends with 1 only when there is one. Where pip-audit is missing or cannot ask, it says so in a line.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "requirements-test.txt"
WAIT_SECONDS = 120  # for some 60 questions; only a dead network takes so long
COMMAND = ["pip-audit", "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off", "-r", str(LOCK)]


def ask() -> list[dict[str, Any]]:
    """What pip-audit says of each package; nothing when it could not say."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return dependencies


def main() -> int:
    """Print what was found: the exit code."""
    dependencies = ask()
    asked = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    found = [(dependency, hole) for dependency in asked for hole in dependency["vulns"]]
    for dependency, hole in found:
        mended = ", ".join(hole["fix_versions"]) or "no version"
        print(f"{dependency['name']} {dependency['version']}: {hole['id']}, mended in {mended}")
    if not asked:
        print("Not audited: pip-audit is not installed, or cannot reach its data.")
    elif len(asked) < len(dependencies):
        print(f"{len(dependencies) - len(asked)} of {len(dependencies)} packages could not be audited.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
