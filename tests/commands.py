"""The operator's commands, as tests run them."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

from imgpro_lite.cli.main import cli, main


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


def run_main(*arguments: str) -> tuple[int, str, str]:
    """The command as the shell runs it, but in this process: its exit code, standard output and standard error."""
    out, err, umask = io.StringIO(), io.StringIO(), os.umask(0o077)
    try:
        with (
            mock.patch.object(sys, "argv", ["imgpro-lite", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        os.umask(umask)
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()


def fail_keys(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """`imgpro-lite keys …` with what it says on standard error."""
    code, out, err = run_main("keys", *arguments, "--data-dir", str(data_dir))
    assert out == ""
    return code, err
