"""The example suites in other languages than Python, which pytest runs as any of our tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import WAIT_SECONDS, environment

from imgpro_lite.testing.stand_in import Outbox, StandIn

EXAMPLES = Path(__file__).parent / "examples"


README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def run_example(imgpro: StandIn, *command: str) -> str:
    """What a suite prints that `imgpro-lite exec` would run. It must succeed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    variables = {"IMGPRO_URL": imgpro.base_url, "IMGPRO_CONTROL_URL": f"{imgpro.base_url}/_dev"}
    ended = subprocess.run(
        command,
        cwd=EXAMPLES,
        env=environment() | variables | {"IMGPRO_KEY": imgpro.key},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_shell_suite(imgpro: StandIn) -> None:
    assert run_example(imgpro, "sh", "client_test.sh").count("ok: ") == 4


def test_the_node_suite(imgpro: StandIn) -> None:
    assert "# pass 4\n" in run_example(imgpro, "node", "--test", "--test-reporter=tap", "client.test.mjs")


@pytest.mark.parametrize(("language", "name"), [("python", "test_python_client.py"), ("js", "client.test.mjs")])
def test_the_readme_shows_parts_of_them(language: str, name: str) -> None:
    section = README.partition("### In Python tests")[2].partition("### Who reaches")[0]
    shown = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert shown != []
    example = (EXAMPLES / name).read_text("utf-8")
    assert [part for part in shown if part not in example] == []


def test_the_server_of_a_script(tmp_path: Path) -> None:
    """As the README has it. It has ended when its standard error has."""
    section = README.partition("### In tests of any language")[2].partition("### In continuous")[0]
    (script,) = [text for text in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if "mkfifo" in text]
    folder = str(Path(sys.executable).parent)
    ended = subprocess.run(
        ["sh", "-euc", f'{script}\necho "$server"'],
        cwd=tmp_path,
        env=environment() | {"PATH": os.pathsep.join([folder, os.environ["PATH"]]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    assert "control_url" in json.loads(ended.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {"alive", "ready"}


def test_the_readme_names_every_method() -> None:
    section = README.partition("### In Python tests")[2].partition("### In tests of")[0]
    public = [name for owner in (StandIn, Outbox) for name in vars(owner) if not name.startswith("_")]
    assert [name for name in public if name not in section] == []
