"""`imgpro-lite systemd`: a unit that systemd takes, for this installation, and with little that could be left out."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import run_main
from proxies import code_blocks
from running import Start, servers, until

from imgpro_lite.cli.systemd_unit import Installation, unit_text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")

# What `systemd-analyze security` gives the unit: 0 is shut, 10 is open. The network alone costs 0.8.
MOST_EXPOSURE = 1.5


def made(directory: Path, *arguments: str) -> str:
    """The unit that the command writes."""
    output = directory / "imgpro-lite.service"
    code, out, err = run_main("systemd", "--output", str(output), *arguments)
    assert (code, out) == (0, "")
    assert "systemctl daemon-reload" in err
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    return output.read_text("utf-8")


def values(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)


def test_it_runs_this_program_in_a_directory_that_systemd_makes() -> None:
    code, unit, err = run_main("systemd")
    assert code == 0
    (command,) = values(unit, "ExecStart")
    assert command.endswith(" serve --data-dir /var/lib/imgpro-lite")
    assert Path(command.split()[0]).is_absolute()
    assert os.access(command.split()[0], os.X_OK)
    assert values(unit, "StateDirectory") == ["imgpro-lite"]
    assert values(unit, "User") == ["imgpro-lite"]
    # Not the data directory: what programs keep in a home would lie among what is backed up.
    assert "useradd --system --user-group --no-create-home --home-dir /nonexistent " in err


def test_its_options_and_settings_are_in_it(tmp_path: Path) -> None:
    (tmp_path / "imgpro.toml").write_text("[server]\nshutdown_seconds = 50\n")
    data_dir = tmp_path / 'pictures "100 %" of $USER'
    config = ("--config", str(tmp_path / "imgpro.toml"))
    unit = made(tmp_path, "--user", "pictures", "--data-dir", str(data_dir), *config)
    quoted = f'"{tmp_path}/pictures \\"100 %%\\" of '
    assert values(unit, "ReadWritePaths") == [f'{quoted}$USER"']
    assert values(unit, "StateDirectory") == []
    assert values(unit, "ExecStart")[0].endswith(f' --data-dir {quoted}$$USER" --config {tmp_path}/imgpro.toml')
    assert values(unit, "User") == ["pictures"]
    assert values(unit, "TimeoutStopSec") == ["65"]


@pytest.mark.parametrize(
    ("given", "directory", "state"),
    [
        ("/var/lib/../../srv/x", "/srv/x", []),
        ("/var/lib/../lib/x", "/var/lib/x", ["x"]),
        ("/var/lib/a:b", "/var/lib/a:b", []),  # to StateDirectory= a colon means a link
    ],
)
def test_odd_directories_are_made_by_hand_or_named_plainly(given: str, directory: str, state: list[str]) -> None:
    code, unit, err = run_main("systemd", "--data-dir", given)
    assert code == 0
    assert values(unit, "ExecStart")[0].endswith(f" serve --data-dir {directory}")
    assert values(unit, "StateDirectory") == state
    assert values(unit, "ReadWritePaths") == ([] if state else [directory])
    assert (f" {directory}\n" in err) == (not state)


@pytest.mark.parametrize("directory", ["/", "/var/lib", "/var/lib/private/x"])
def test_directories_that_a_service_cannot_have_are_refused(directory: str) -> None:
    code, out, err = run_main("systemd", "--data-dir", directory)
    assert (code, out) == (1, "")
    assert f"{directory} cannot be the data directory of a service" in err


def test_what_the_service_would_not_see_is_told() -> None:
    assert "the service has a /tmp of its own" in run_main("systemd", "--data-dir", "/var/tmp/x")[2]
    for place, is_unseen in ((Path("/tmp/x/bin"), True), (Path("/srv/tmp/x"), False)):
        assert Installation(("x",), place, None, "x", (place,), False).is_below_temporary == is_unseen


def test_a_single_file_program_has_a_place_to_unpack_itself() -> None:
    program = Path("/usr/local/bin/imgpro-lite")
    unit = unit_text(Installation((str(program),), Path("/srv/pictures"), None, "pictures", (program,), True), 30)
    assert values(unit, "ExecStart") == [f"{program} serve --data-dir /srv/pictures"]
    assert values(unit, "CacheDirectory") == ["imgpro-lite"]
    assert values(unit, "ProtectHome") == ["yes"]


@pytest.mark.parametrize("user", ["root", "", "a b", "x\nUser=root", "-x", "Ä"])
def test_a_user_that_cannot_be_is_refused(tmp_path: Path, user: str) -> None:
    code, out, err = run_main("systemd", "--user", user, "--output", str(tmp_path / "unit"))
    assert (code, out) == (1, "")
    assert "--user" in err
    assert not (tmp_path / "unit").exists()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    code, _, err = run_main("systemd", "--output", str(tmp_path / "nowhere" / "unit"))
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot be written" in err


@needs_systemd
@pytest.mark.parametrize("arguments", [(), ("--data-dir", "/srv/my pictures 100%")])
def test_systemd_takes_it(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    made(tmp_path, *arguments)
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "imgpro-lite.service")], capture_output=True, text=True, timeout=30
    )
    ours = [line for line in checked.stderr.splitlines() if "imgpro-lite" in line]
    assert (ours, checked.returncode) == ([], 0)


@needs_systemd
def test_systemd_takes_the_backups_of_the_readme(tmp_path: Path) -> None:
    service, timer = code_blocks("ini", "Backups")
    assert values(service, "ReadWritePaths") == ["/var/lib/imgpro-lite /mnt/backup"]
    program = Path(sys.executable).parent / "imgpro-lite"
    assert "/usr/local/bin/imgpro-lite backup" in service
    names = ["imgpro-lite-backup.service", "imgpro-lite-backup.timer"]
    for name, text in zip(names, [service.replace("/usr/local/bin/imgpro-lite", str(program)), timer], strict=True):
        (tmp_path / name).write_text(text, "utf-8")
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    ours = [line for line in checked.stderr.splitlines() if "imgpro-lite" in line]
    assert (ours, checked.returncode) == ([], 0)


@needs_systemd
def test_little_is_left_open(tmp_path: Path) -> None:
    made(tmp_path)
    command = ["systemd-analyze", "security", "--offline=true", str(tmp_path / "imgpro-lite.service")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if "Unknown option" in shown.stderr or "unrecognized option" in shown.stderr:
        pytest.skip("this systemd cannot look at a file")
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown.stdout)
    assert exposure
    assert float(exposure[1]) <= MOST_EXPOSURE


@contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """What systemd listens to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(30)
        yield sock


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start:
        yield start


def test_the_service_manager_is_told_of_the_start_of_life_and_of_the_end(serve: Start, tmp_path: Path) -> None:
    with manager(tmp_path / "notify") as sock:
        server = serve(env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"})
        heard = [sock.recv(100) for _ in range(6)]
        assert heard.count(b"READY=1") == 1
        assert heard.count(b"WATCHDOG=1") == 5
        assert server.get("/healthz").status_code == 200
        assert server.end() == 0
        sock.settimeout(0)
        until(lambda: sock.recv(100) == b"STOPPING=1")
    assert "service manager" not in server.stderr


@pytest.mark.slow
def test_a_service_manager_that_is_gone_keeps_nothing_from_working(serve: Start, tmp_path: Path) -> None:
    server = serve(env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert server.get("/healthz").status_code == 200
    assert server.end() == 0
    assert server.stderr.count("the service manager was not told") == 2
