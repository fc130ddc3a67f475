"""What the README and the Dockerfile say about deployment, as far as it can be had without a machine to install on."""

import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from proxies import ROOT, code_blocks, find_program
from running import Start, environment, run, servers, until

from imgpro_lite.config import load
from imgpro_lite.connections.census import DESCRIPTORS_PER_CONNECTION, OTHER_DESCRIPTORS
from imgpro_lite.settings import ServerSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="deployment is on Linux")

DOCKERFILE = (ROOT / "scripts/docker/Dockerfile").read_text("utf-8")
UNIT = (ROOT / "imgpro_lite/cli/systemd_unit.py").read_text("utf-8")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start:
        yield start


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, in order, each in one line."""
    lines = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def last(instruction: str) -> str:
    return [text for name, text in instructions() if name == instruction][-1]


def test_the_unit_allows_as_many_files_as_there_may_be_connections() -> None:
    (most,) = [rule.le for rule in ServerSettings.model_fields["max_connections"].metadata if hasattr(rule, "le")]
    allowed = int(re.findall(r"^LimitNOFILE=(\d+)$", UNIT, re.MULTILINE)[0])
    assert allowed >= OTHER_DESCRIPTORS + DESCRIPTORS_PER_CONNECTION * most


def test_the_image_has_what_it_copies_and_runs_as_nobody_special() -> None:
    copied = [text.split()[:-1] for name, text in instructions() if name == "COPY" and "--from" not in text]
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []
    ignore = (ROOT / "scripts/docker/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert [line[1:] for line in ignore if line.startswith("!")] == [path for paths in copied for path in paths]
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("CMD")
    assert last("USER") == "imgpro-lite"
    assert last("VOLUME") == "/data"
    assert last("EXPOSE") == str(ServerSettings().port)
    assert json.loads(last("CMD")) == ["imgpro-lite", "serve"]


def test_the_settings_of_the_image_and_of_the_compose_file_are_settings(tmp_path: Path) -> None:
    (text,) = code_blocks("yaml", "Docker")
    compose = yaml.safe_load(text)
    service = compose["services"]["imgpro-lite"]
    assert (ROOT / service["build"]["dockerfile"]).read_text("utf-8") == DOCKERFILE
    of_image = dict(re.findall(r"(IMGPRO_\w+)=(\S+)", last("ENV")))
    (tmp_path / "imgpro.toml").touch()
    settings = load(tmp_path / "imgpro.toml", {}, {**of_image, **service["environment"]}).settings
    assert (str(settings.data_dir), settings.server.host) == ("/data", "0.0.0.0")
    assert settings.server.public_url == "https://images.example.com"
    (network,) = compose["networks"]["front"]["ipam"]["config"]
    assert settings.server.trusted_proxies == (ip_network(network["subnet"]),)
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.server.shutdown_seconds
    assert service["volumes"] == ["images:/data"]


@pytest.mark.slow
def test_the_health_check_of_the_image_knows_a_server_from_none(serve: Start) -> None:
    server = serve()
    _, program, code = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    command = [sys.executable, program, code]

    def check() -> int:
        env = environment() | {"IMGPRO_SERVER_PORT": str(server.port)}
        return subprocess.run(command, timeout=30, check=False, stderr=subprocess.DEVNULL, env=env).returncode

    assert check() == 0
    server.end()
    assert check() == 1


def test_the_configuration_of_the_walk_through_is_taken(tmp_path: Path) -> None:
    script = "\n".join(code_blocks("sh", "A server from nothing"))
    (config,) = re.findall(r"<<'END'\n(.*?)^END$", script, re.MULTILINE | re.DOTALL)
    (tmp_path / "imgpro.toml").write_text(config, "utf-8")
    settings = load(tmp_path / "imgpro.toml", {}, {}).settings
    assert str(settings.data_dir) == tomllib.loads(config)["data_dir"] == "/var/lib/imgpro-lite"
    assert len(settings.server.trusted_proxies) == 2
    made = run(tmp_path, "systemd", "--config", str(tmp_path / "imgpro.toml"))
    (useradd,) = [line for line in script.splitlines() if line.startswith("useradd")]
    assert f"  {useradd}\n" in made.stderr
    assert f"--config {tmp_path}/imgpro.toml\n" in made.stdout


@pytest.mark.parametrize("heading", ["A server from nothing", "Docker", "Upgrade, move, uninstall"])
def test_commands_for_the_shell_are_valid(heading: str) -> None:
    for script in code_blocks("sh", heading):
        assert subprocess.run(["sh", "-n"], input=script, text=True, timeout=10, check=False).returncode == 0


@pytest.mark.slow
def test_logs_are_rotated_while_the_server_runs(serve: Start, tmp_path: Path) -> None:
    logrotate = find_program("logrotate")
    if logrotate is None:
        pytest.skip("logrotate is not installed")
    server = serve()
    assert server.get("/healthz?before").status_code == 200
    until(lambda: "/healthz" in server.stderr)
    (text,) = code_blocks("logrotate", "Logs")
    (tmp_path / "rules").write_text(text.replace("/var/log/imgpro-lite/imgpro-lite.log", str(tmp_path / "stderr")))
    (tmp_path / "rules").chmod(0o644)
    command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rules")]
    rotated = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (rotated.stderr, rotated.returncode) == ("", 0)
    assert "started" in (tmp_path / "stderr.1").read_text("utf-8")
    assert server.stderr == ""
    assert server.get("/v1/usage").status_code == 401
    until(lambda: "GET /v1/usage 401" in server.stderr)
    assert "\0" not in server.stderr


@pytest.mark.slow
def test_a_hangup_ends_the_server_and_its_workers(serve: Start) -> None:
    server = serve()
    workers = server.workers()
    assert workers
    assert server.end(signal.SIGHUP) == -signal.SIGHUP
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
