"""File systems of a test's own: in a mount namespace, which ends with the process in it."""

import shutil
import subprocess
import sys

import pytest


def in_namespace(script: str, *arguments: str) -> tuple[str, ...]:
    """The beginning of a command that runs in a mount namespace, after a shell script with these arguments."""
    shifted = f'{script} && shift {len(arguments)} && exec "$@"'
    return ("unshare", "-m", "sh", "-c", shifted, "sh", *arguments)


def _can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    tried = in_namespace('mount -t tmpfs tmpfs "$1"', "/mnt")
    return subprocess.run([*tried, "true"], capture_output=True, check=False).returncode == 0


def needs_mounts() -> "list[pytest.MarkDecorator]":
    """For the `pytestmark` of a module: slow, and skipped where mounting is not allowed."""
    return [
        pytest.mark.slow,
        pytest.mark.skipif(not _can_mount(), reason="needs the right to mount a file system"),
    ]
