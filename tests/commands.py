"""The operator's commands, as tests run them: in this process, or as the operator does where the exit code matters."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from imgpro_lite.cli.main import cli


def run_keys(data_dir: Path, command: str, *arguments: str) -> str:
    """`imgpro-lite keys …`: what it prints. It must succeed."""
    result = CliRunner().invoke(cli, ["keys", command, "--data-dir", str(data_dir), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def make_key(data_dir: Path, *arguments: str, email: str = "ops@example.com") -> dict[str, Any]:
    """A key made by command: its JSON."""
    shown: dict[str, Any] = json.loads(run_keys(data_dir, "create", "--email", email, "--json", *arguments))
    return shown


def authorization(key: dict[str, Any]) -> dict[str, str]:
    """The headers that use a key."""
    return {"Authorization": f"Bearer {key['key']}"}


def fail_keys(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """`imgpro-lite keys …` in a process of its own: the exit code, and what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "imgpro_lite", "keys", *arguments, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr
