"""The settings of importing: what the operator may write, and what he is told about mistakes."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from imgpro_lite.config import ConfigError, load
from imgpro_lite.settings import ImportSettings


def load_text(path: Path, text: str, environ: dict[str, str] | None = None) -> ImportSettings:
    (path / "imgpro.toml").write_text(text, encoding="utf-8")
    return load(path / "imgpro.toml", {}, environ or {}).settings.import_


def test_what_may_be_written(tmp_path: Path) -> None:
    settings = load_text(tmp_path, '[import]\nallow_networks = ["10.20.0.0/16", "fd00::1"]\nports = [80, 8080]\n')
    assert settings.allow_networks == (ip_network("10.20.0.0/16"), ip_network("fd00::1"))
    assert settings.ports == (80, 8080)
    environ = {"IMGPRO_IMPORT_PORTS": "443,8443", "IMGPRO_IMPORT_ALLOW_NETWORKS": "10.0.0.1"}
    settings = load_text(tmp_path, "[import]\nports = [80]\n", environ)
    assert settings.ports == (443, 8443)
    assert settings.allow_networks == (ip_network("10.0.0.1"),)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ports = 80", "[import] ports: must be a list like [80, 443], not 80"),
        ("ports = []", "[import] ports: must name a port; `[anonymous] import = false` leaves imports to those with a"),
        ("ports = [80, 0]", "[import] ports, item 2: must be a port from 1 to 65535"),
        ("ports = [70000]", "[import] ports, item 1: must be a port from 1 to 65535"),
        ("ports = [true]", "[import] ports, item 1: must be a port from 1 to 65535"),
        ('ports = ["https"]', "[import] ports, item 1: must be a port from 1 to 65535"),
        ('allow_networks = ["10.0.0.1/8"]', "[import] allow_networks, item 1: must be an address like"),
        ('allow_networks = ["intranet"]', "[import] allow_networks, item 1: must be an address like"),
        ("deadline_seconds = 0", "[import] deadline_seconds: must be a number above 0"),
        ("max_concurrent = 0", "[import] max_concurrent: must be a whole number from 1 to 256"),
        ("prots = [80]", '[import] prots: unknown, did you mean "ports"?'),
    ],
)
def test_a_mistake(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, f"[import]\n{line}\n")
    (told,) = caught.value.problems
    assert problem in told
