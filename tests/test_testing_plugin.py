"""The pytest plugin in suites of its own: what they get, what is left of it, and what it costs those without it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from images import make_image
from origins import answer, origin
from running import WAIT_SECONDS, environment

# Other plugins that are installed here have imports of their own.
OTHERS_OFF = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

SUITE = """
import urllib.request

import pytest

def usage(imgpro):
    request = urllib.request.Request(imgpro.base_url + "/v1/usage", headers={"Authorization": "Bearer " + imgpro.key})
    with urllib.request.urlopen(request) as answer:
        return answer.status

@pytest.mark.parametrize("number", range(4))
def test_has_a_server(imgpro, number, worker_id):
    with open(f"addresses-{worker_id}", "a") as file:
        print(imgpro.base_url, file=file)
    assert usage(imgpro) == 200
"""

FAILING = """
import urllib.request

def test_before(imgpro):
    imgpro.new_key("before@example.com")

def test_fails(imgpro):
    urllib.request.urlopen(imgpro.base_url + "/healthz")
    assert [team["email"] for team in imgpro.teams()] == []

def test_asks_wrongly(imgpro):
    imgpro.new_key("nobody")
"""

SEEDED = """
def test_the_seed_comes_back(imgpro):
    for _ in range(2):
        assert imgpro.key == "img_live_" + "a" * 32
        assert [team["plan"] for team in imgpro.teams()] == ["pro"]
        imgpro.change_team("ann@example.com", plan="max")
        imgpro.reset()
    imgpro.reset(seed=False)
    assert [team["email"] for team in imgpro.teams()] == ["dev@example.com"]
"""


IMPORTING = """
import json
import urllib.request

def test_an_import(imgpro):
    headers = {"Authorization": "Bearer " + imgpro.key, "Content-Type": "application/json"}
    request = urllib.request.Request(
        imgpro.base_url + "/v1/import", json.dumps({"url": "ADDRESS"}).encode(), headers
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201
"""

README = Path(__file__).parent.parent / "README.md"


def run_suite(directory: Path, text: str, *arguments: str, ini: str = "") -> "subprocess.CompletedProcess[str]":
    """Run pytest on a suite of one file, in a directory where nothing else is."""
    (directory / "tmp").mkdir()
    (directory / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}")
    (directory / "test_it.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "imgpro", "-p", "xdist", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=environment() | OTHERS_OFF | {"TMPDIR": str(directory / "tmp")},
        capture_output=True,
        text=True,
        timeout=2 * WAIT_SECONDS,
    )


def test_a_suite_without_the_fixture_pays_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    program = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'imgpro', '-p', 'no:cacheprovider', '--rootdir', '.', 'test_it.py']) == 0\n"
        "print(*sorted(name for name in sys.modules if name.startswith('imgpro_lite')), sep='\\n')\n"
        "print({'aiosqlite', 'http.client', 'httpx2', 'pydantic', 'pyvips', 'starlette'} & set(sys.modules))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment() | OTHERS_OFF,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert ended.stdout.splitlines()[-4:] == [
        "imgpro_lite",
        "imgpro_lite.testing",
        "imgpro_lite.testing.pytest_plugin",
        "set()",
    ]


@pytest.mark.slow
def test_a_test_that_fails_shows_what_the_server_did_for_it(tmp_path: Path) -> None:
    ended = run_suite(tmp_path, FAILING)
    assert ended.returncode == 1
    assert "2 failed, 1 passed" in ended.stdout
    _, _, shown = ended.stdout.partition("Captured stderr teardown")
    shown, _, wrong = shown.partition(" test_asks_wrongly ")
    # A line is written after its answer, so that of the reset before the test may be there or not.
    lines = [line for line in shown.splitlines() if " INFO " in line and "/_dev/reset" not in line]
    assert ["GET /healthz 200" in lines[0], "GET /_dev/teams 200" in lines[1], len(lines)] == [True, True, 2]
    assert '>       imgpro.new_key("nobody")' in wrong
    assert "imgpro_lite/testing" not in ended.stdout
    assert list((tmp_path / "tmp").glob("imgpro*")) == []


@pytest.mark.slow
def test_every_process_has_a_server_of_its_own(tmp_path: Path) -> None:
    ended = run_suite(tmp_path, SUITE, "-n", "2")
    assert ended.returncode == 0, ended.stdout
    addresses = [set(path.read_text().split()) for path in tmp_path.glob("addresses-*")]
    assert [len(found) for found in addresses] == [1, 1]
    assert addresses[0] != addresses[1]
    assert list((tmp_path / "tmp").glob("imgpro*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ini", "option"])
def test_a_seed(tmp_path: Path, way: str) -> None:
    (tmp_path / "seed").mkdir()
    key = "img_live_" + "a" * 32
    (tmp_path / "seed" / "seed.toml").write_text(
        f'[[team]]\nemail = "ann@example.com"\nplan = "pro"\nverified = true\nkeys = ["{key}"]\n'
        '[[image]]\nfile = "photo.jpg"\nteam = "ann@example.com"\n'
    )
    (tmp_path / "seed" / "photo.jpg").write_bytes(make_image("jpeg", 40, 30))
    options, ini = ((), "imgpro_seed = seed\n") if way == "ini" else (("--imgpro-seed", "seed"), "")
    ended = run_suite(tmp_path, SEEDED, *options, ini=ini)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.slow
def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "imgpro.toml").write_text("[limits]\nanonymous_uploads_per_hour = -1\n")
    ended = run_suite(tmp_path, FAILING, ini="imgpro_config = imgpro.toml\n")
    assert ended.returncode == 1
    assert "During handling" not in ended.stdout
    first, *_ = ended.stdout.partition(" ERROR at setup of test_fails ")
    assert first.count("The imgpro-lite server did not start (exit status 2).") == 1
    assert first.count("anonymous_uploads_per_hour") == 1
    assert "Traceback" not in ended.stdout


@pytest.mark.slow
def test_an_import_as_the_readme_has_it(tmp_path: Path) -> None:
    section = README.read_text("utf-8").partition("### In Python tests")[2].partition("### In tests of")[0]
    (config,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    assert "8765" in config
    with origin("127.0.0.1") as site:
        site.pages["/photo.png"] = answer()
        (tmp_path / "imgpro.toml").write_text(config.replace("8765", str(site.port)))
        suite = IMPORTING.replace("ADDRESS", site.url("/photo.png", "127.0.0.1"))
        ended = run_suite(tmp_path, suite, ini="imgpro_config = imgpro.toml\n")
    assert ended.returncode == 0, ended.stdout
