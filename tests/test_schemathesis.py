"""Schemathesis reads /openapi.yaml from a live server and holds the server to it, with all its checks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from contract_server import listening
from origins import ORIGIN_ADDRESS, PICTURE, FakeInternet, answer, origin

CONFIGURATION = Path(__file__).parent / "schemathesis"
COMMAND = [str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIGURATION / "schemathesis.toml"), "run"]


@contextmanager
def contract(directory: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server, and what Schemathesis has to know about it. Whatever is imported, only this machine is asked."""
    internet = FakeInternet()
    with origin() as site:
        site.pages["/picture.png"] = answer(PICTURE)
        allowed = {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port], "deadline_seconds": 2}
        with listening(directory, internet.internet, **{"import": allowed}) as url:
            key = httpx2.post(f"{url}/v1/keys", json={"email": "dev@example.com"}, trust_env=False).json()["key"]
            headers = {"Authorization": f"Bearer {key}"}
            files = {"file": ("picture.png", PICTURE)}
            image = httpx2.post(f"{url}/v1/upload", headers=headers, files=files, trust_env=False).json()
            yield (
                url,
                {
                    "IMGPRO_TEST_KEY": key,
                    "IMGPRO_TEST_PICTURE_URL": site.url("/picture.png"),
                    "IMGPRO_TEST_IMAGE": image["src"].removeprefix(f"{url}/").partition(".")[0],
                },
            )
    assert {host for host in internet.dialled if not host.startswith("127.")} == set()


def run(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    with contract(directory / "data") as (url, environment):
        return subprocess.run(
            [*COMMAND, f"{url}/openapi.yaml", *arguments],
            cwd=directory,  # where it leaves its notes
            env=os.environ
            | environment
            | {"PYTHONPATH": str(CONFIGURATION), "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def test_the_server_does_as_its_document_says(tmp_path: Path) -> None:
    done = run(tmp_path, "--phases", "fuzzing", "--max-examples", "3", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout


@pytest.mark.slow
def test_the_server_does_as_its_document_says_at_length(tmp_path: Path) -> None:
    """All phases, and every time with other examples."""
    done = run(tmp_path, "--max-examples", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
