"""What `doctor` finds beside the formats: each finding where it should be, and silence where all is well."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import ApiFactory, FakeClock
from images import make_image
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_doctor import run_doctor

from imgpro_lite.imaging.jobs import Library
from imgpro_lite.services.diagnosis import access, configuration, diagnose, disk, holes, system, times
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.settings import Settings
from imgpro_lite.store import machine
from imgpro_lite.store.machine import Mount, find_mount

PYPROJECT = (Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


# Behind a proxy with TLS, as it should be.
PROXIED = {"public_url": "https://images.example.com", "trusted_proxies": ["127.0.0.1"]}


def settings(**sections: Any) -> Settings:
    quiet = {
        "mail": {"host": "mail.example.com", "from": "a@example.com"},
        "server": {"contact": "a@example.com", "port": 0},
    }
    for name, values in quiet.items():
        sections[name] = {**values, **sections.get(name, {})}
    return Settings.model_validate(sections)


def told(findings: list[Finding], level: Level) -> str:
    """What stands in the findings of a level."""
    return "\n".join(finding.what for finding in findings if finding.level is level)


def test_every_finding_that_is_not_ok_says_why_or_what_to_do(tmp_path: Path) -> None:
    found = diagnose(Settings(data_dir=tmp_path / "none"), None, [Library("libvips", "8.1", "x")], FakeClock(0))
    assert {finding.area for finding in found} == set(Area)
    for finding in found:
        assert finding.what.endswith("."), finding
        assert (finding.level is Level.OK) == (not finding.why and not finding.todo) or finding.level is Level.NOTE


# --- updates


def floors() -> dict[str, str]:
    """The comments above and beside each requirement of pyproject.toml, by package."""
    found, comment = {}, ""
    dependencies = PYPROJECT.partition("\ndependencies = [")[2].partition("\n]")[0]
    for line in dependencies.splitlines():
        text, _, here = line.partition("#")
        comment = f"{comment} {here}"
        if requirement := re.fullmatch(r'\s*"([^"]+)",\s*', text):
            found[canonicalize_name(Requirement(requirement[1]).name)] = comment
            comment = ""
    return found


def test_the_table_of_holes_is_what_pyproject_says() -> None:
    of_packages: dict[str, list[holes.Hole]] = {name: list(known) for name, known in holes.PACKAGES.items()}
    for (_name, package), known in holes.INSIDE.items():
        of_packages.setdefault(package, []).extend(known)
    comments = floors()
    for name, comment in comments.items():
        known = of_packages.pop(name, [])
        mended = set(re.findall(r": ([0-9]+\.[0-9.]*[0-9])(?=[;,. (]|$)", comment))
        mended |= set(re.findall(r"\(\w+ ([0-9.]+[0-9])\)", comment))  # "1.7 (libheif 1.23.4)"
        if not mended and re.search(r"CVE|PYSEC", comment):  # mended in the floor itself
            assert known, name
            continue
        assert {hole.mended_in for hole in known} == mended, name
        numbers = {number for hole in known for hole_id in hole.ids for number in [hole_id.rpartition("-")[2]]}
        assert numbers == set(re.findall(r"(?:CVE-\d{4}-|PYSEC-\d{4}-|-)(\d{3,})\b", comment)), name
    assert of_packages == {}


def test_what_is_installed_has_no_known_hole() -> None:
    libraries = [Library("libvips", "8.18.7", "pyvips-binary"), Library("libheif", "1.23.6", "pillow-heif")]
    (finding,) = holes.check_holes(libraries)
    assert finding.level is Level.OK


def test_an_old_library(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"pillow": "12.2.0", "click": "8.2"}
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: old.get(name) or real(name))
    found = {finding.what: finding for finding in holes.check_holes([Library("libvips", "8.18.2", "pyvips-binary")])}
    assert found["update: libvips 8.18.2 has CVE-2026-70652, mended in 8.18.3."].level is Level.FAILURE
    pillow = found["update: pillow 12.2.0 has CVE-2026-54059, CVE-2026-55379, mended in 12.3."]
    assert (pillow.level, pillow.todo) == (Level.FAILURE, "pip install --upgrade pillow")
    # The part of it that has the hole is not used.
    assert found["update: click 8.2 has CVE-2026-7246, mended in 8.3.3."].level is Level.WARNING
    assert len(found) == 3


def test_a_build_that_knows_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    assert [finding.level for finding in holes.check_holes([Library("libvips", None)])] == [Level.OK]


@pytest.mark.parametrize(
    ("older", "newer"), [("8.9", "8.10"), ("1.3", "1.3.1"), ("12.2.0.dev1", "12.3"), ("2.9", "2.9.2")]
)
def test_versions_are_compared_by_number(older: str, newer: str) -> None:
    assert holes.numbers_of(older) < holes.numbers_of(newer)
    assert holes.numbers_of("13.0.0") == holes.numbers_of("13")


# --- disk


MOUNTS = r"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:30 / /srv/nas rw - nfs4 server:/x rw
31 22 0:31 / /srv/with\040space ro - ext4 /dev/sdb1 rw
32 30 0:32 / /srv/nas/local rw - xfs /dev/sdc1 rw
33 22 0:33 / /srv/twice rw - ext4 /dev/sdd1 rw
34 22 0:34 / /srv/twice rw - tmpfs tmpfs rw
not a line of it
"""


@pytest.mark.parametrize(
    ("path", "type_", "is_read_only"),
    [
        ("/home/x", "ext4", False),
        ("/srv/nas/imgpro", "nfs4", False),
        ("/srv/nas/local/imgpro", "xfs", False),
        ("/srv/nasty", "ext4", False),
        ("/srv/with space/x", "ext4", True),
        ("/srv/twice", "tmpfs", False),
    ],
)
def test_the_file_system_of_a_path(tmp_path: Path, path: str, type_: str, is_read_only: bool) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    mount = find_mount(Path(path), tmp_path / "mountinfo")
    assert mount is not None
    assert (mount.type, mount.is_read_only) == (type_, is_read_only)
    assert find_mount(Path(path), tmp_path / "none") is None


@pytest.mark.parametrize(
    ("mount", "level"),
    [
        (Mount(Path("/"), "ext4", False), Level.OK),
        (Mount(Path("/"), "ext4", True), Level.FAILURE),
        (Mount(Path("/"), "nfs4", False), Level.WARNING),
        (Mount(Path("/"), "cifs", False), Level.WARNING),
        (Mount(Path("/"), "fuse.sshfs", False), Level.WARNING),
        (Mount(Path("/"), "9p", False), Level.WARNING),
        (Mount(Path("/"), "overlay", False), Level.WARNING),
        (Mount(Path("/"), "tmpfs", False), Level.WARNING),
        (Mount(Path("/"), "vfat", False), Level.WARNING),
        (None, Level.NOTE),
    ],
)
def test_kinds_of_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: Mount | None, level: Level
) -> None:
    monkeypatch.setattr(disk, "find_mount", lambda path: mount)
    found = disk.check_disk(settings(data_dir=tmp_path))
    assert [finding.level for finding in found if "file system" in finding.what] == [level]


def test_a_read_only_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tmp", "blobs"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o700)
    look = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and look(path, mode))

    def failures() -> str:
        found = [*disk.check_disk(settings(data_dir=tmp_path)), *access.check_access(tmp_path, None)]
        return told(found, Level.FAILURE)

    assert "may not read and write it" in failures()
    for module in (disk, access):
        monkeypatch.setattr(module, "find_mount", lambda path: Mount(Path("/"), "ext4", True))
    assert failures() == "The file system at / is ext4, mounted read-only."


def test_room(tmp_path: Path) -> None:
    free_mb = disk.free_bytes(tmp_path) // 1024**2
    for mark_mb, level in ((1, Level.OK), (free_mb * 3 // 4, Level.WARNING), (free_mb * 2, Level.FAILURE)):
        found = disk.check_disk(settings(data_dir=tmp_path, storage={"min_free_mb": mark_mb}))
        assert [finding.level for finding in found if "MB are free" in finding.what] == [level]


def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    found = disk.check_disk(settings(data_dir=tmp_path / "a" / "b"))
    assert "no library" in told(found, Level.NOTE)
    assert list(tmp_path.iterdir()) == []
    assert f"There is no library in {tmp_path} yet" in told(disk.check_disk(settings(data_dir=tmp_path)), Level.NOTE)
    (tmp_path / "imgpro.db").touch()
    assert "no library" not in told(disk.check_disk(settings(data_dir=tmp_path)), Level.NOTE)


def test_trying_to_write_leaves_nothing_behind(tmp_path: Path) -> None:
    for name in ("tmp", "blobs"):
        (tmp_path / name).mkdir()
    found = disk.check_disk(settings(data_dir=tmp_path))
    assert "Writing, syncing and renaming" in "".join(finding.what for finding in found)
    assert [list((tmp_path / name).iterdir()) for name in ("tmp", "blobs")] == [[], []]


def test_few_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, level in ((10, Level.FAILURE), (40_000, Level.WARNING)):
        monkeypatch.setattr(disk, "free_inodes", lambda path, free=free: (free, 1_000_000))
        assert "inodes" in told(disk.check_disk(settings(data_dir=tmp_path)), level)
    monkeypatch.setattr(disk, "free_inodes", lambda path: (900_000, 1_000_000))
    assert "(inodes)" not in str(disk.check_disk(settings(data_dir=tmp_path)))


# --- access


@pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")
def test_a_user_who_may_not_read_the_library(start: ApiFactory) -> None:
    api = start()
    api.client.__exit__(None, None, None)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from imgpro_lite.clock import Clock\n"
        "from imgpro_lite.services.diagnosis import diagnose, holes\n"
        "from imgpro_lite.settings import Settings\n"
        # Once before: where root has installed Python for itself, another user can load nothing any more.
        "holes.PACKAGES.clear()\n"
        "look = lambda: diagnose(Settings(data_dir=sys.argv[1]), None, [], Clock())\n"
        "look(); os.setgid(65534); os.setuid(65534)\n"
        "for one in look(): print(one.level, one.area, one.what)\n"
    )
    for directory in (api.data_dir, api.data_dir / "deeper"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(directory)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert f"failure Access The data directory {directory} cannot be used: " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_files_of_others_and_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "imgpro.toml"
    config.write_text('[mail]\npassword = "secret"\n[metrics]\ntoken = "0123456789abcdef"\n')
    config.chmod(0o644)
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "secret").touch(0o640)
    warnings = told(access.check_access(data_dir, config), Level.WARNING)
    assert f"may read {config} (mode 644), which has [mail] password and [metrics] token." in warnings
    assert f"may read {data_dir}/secret" in warnings
    config.chmod(0o640)
    (data_dir / "secret").chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [finding.level for finding in access.check_access(data_dir, config)] == [Level.OK]
    if IS_ROOT:
        os.chown(data_dir / "secret", 1234, 1234)
        assert "these belong to others: secret." in told(access.check_access(data_dir, None), Level.WARNING)


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
def test_how_to_hide_a_secret_from_others_and_not_from_the_server(tmp_path: Path) -> None:
    import grp
    import pwd

    nobody = pwd.getpwnam("nobody")
    config, data_dir = tmp_path / "imgpro.toml", tmp_path / "data"
    config.write_text('[metrics]\ntoken = "0123456789abcdef"\n')
    config.chmod(0o644)

    def advice() -> str:
        return "".join(found.todo for found in access.check_access(data_dir, config) if "imgpro.toml" in found.what)

    assert advice().startswith(f"chgrp GROUP {config} && chmod 640 {config}, where GROUP is that of the server's user")
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    group = grp.getgrgid(nobody.pw_gid).gr_name
    assert advice().startswith(f"chgrp {group} {config} && chmod 640 {config}; or put the secrets into")
    os.chown(config, nobody.pw_uid, nobody.pw_gid)
    assert advice() == f"chmod 640 {config}"


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    assert "it is no directory" in told(access.check_access(tmp_path / "file", None), Level.FAILURE)


# --- clock


def test_a_clock_that_is_behind(start: ApiFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    api = start()
    api.clock.at = 2_000_000_000
    assert api.upload(make_image("jpeg", 9, 9)).status_code == 201
    assert "before the newest image" not in str(times.check_clock(api.data_dir, FakeClock(2_000_000_000)))
    assert "before the newest image" in told(times.check_clock(api.data_dir, FakeClock(1_999_999_000)), Level.WARNING)
    assert "before this version was made" in told(times.check_clock(api.data_dir, FakeClock(0)), Level.WARNING)
    for synchronized, level in ((True, Level.OK), (False, Level.WARNING), (None, Level.NOTE)):
        monkeypatch.setattr(times, "is_clock_synchronized", lambda synchronized=synchronized: synchronized)
        assert times.check_clock(api.data_dir, FakeClock(2_000_000_000))[-1].level is level
    assert machine.is_clock_synchronized() in (True, False, None)


# --- configuration


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, ""),
        ({"server": {"public_url": "http://images.example.com"}}, "without TLS"),
        ({"server": {"public_url": "http://127.0.0.1:8000"}}, ""),
        ({"server": {"host": "0.0.0.0"}}, "its links begin with http://localhost"),
        ({"server": {"public_url": "https://images.example.com"}}, "trusted_proxies is empty"),
        ({"server": {"public_url": "https://images.example.com", "trusted_proxies": ["127.0.0.1"]}}, ""),
        (
            {"server": PROXIED | {"src_url": "http://src.example.com"}},
            "src_url is http://src.example.com, without TLS, while public_url has it",
        ),
        ({"server": PROXIED | {"api_url": "http://api.example.com"}}, "api_url is http://api.example.com, without TLS"),
        ({"server": PROXIED | {"src_url": "https://src.example.com"}}, ""),
        ({"server": {"trusted_proxies": ["0.0.0.0/0"]}}, "0.0.0.0/0, which is far more than proxies"),
        ({"server": {"trusted_proxies": ["::/0"]}}, "::/0, which is far more than proxies"),
        ({"server": {"trusted_proxies": ["10.0.0.0/8"]}}, ""),
        (
            {
                "server": {"host": "0.0.0.0", "public_url": "https://x.example"},
                "limits": {"anonymous_uploads_per_hour": 0, "anonymous_uploads_per_day": 0},
            },
            "Uploads without a key have no rate limits.",
        ),
        ({"plans": {"pro": {"label": "P", "uploads_per_month": 1, "storage_mb": 1}}}, "no plan `free`"),
        ({"metrics": {"host": "0.0.0.0", "port": 9464}}, "answers everybody"),
        ({"metrics": {"host": "0.0.0.0", "port": 9464, "token": "x" * 16}}, ""),
    ],
)
def test_settings_that_do_not_fit_together(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    found = configuration.check_configuration(settings(data_dir=tmp_path, **sections))
    warnings = told(found, Level.WARNING)
    assert said in warnings
    assert bool(said) == bool(warnings)


def test_mail(tmp_path: Path) -> None:
    found = configuration.check_configuration(settings(mail={"host": ""}, server={"contact": ""}))
    assert "[mail] host is empty" in told(found, Level.NOTE)
    assert "[server] contact is empty" in told(found, Level.NOTE)
    server = {"public_url": "https://images.example.com", "trusted_proxies": ["127.0.0.1"]}
    for sender, is_told in (("x@example.com", False), ("x@images.example.com", False), ("A <x@other.com>", True)):
        found = configuration.check_configuration(settings(server=server, mail={"from": sender}))
        assert ("Mail is from other.com" in told(found, Level.NOTE)) is is_told


@pytest.mark.parametrize(
    ("server", "mail", "said"),
    [
        ({}, {"from": ""}, "Mail is from noreply@localhost, because [mail] from is empty."),
        (PROXIED, {"from": ""}, ""),
        (PROXIED, {"tls": "none", "password": "p"}, "the password goes to mail.example.com as it is."),
        (PROXIED, {"tls": "none", "password": "p", "host": "127.0.0.1"}, ""),
        (PROXIED, {"tls": "none"}, ""),
        (PROXIED, {"tls": "tls", "password": "p"}, ""),
    ],
)
def test_mail_that_is_not_safe_or_not_taken(server: dict[str, Any], mail: dict[str, Any], said: str) -> None:
    warnings = told(configuration.check_configuration(settings(server=server, mail=mail)), Level.WARNING)
    assert said in warnings
    assert bool(said) == bool(warnings)


def test_caches_that_are_larger_than_the_disk(tmp_path: Path) -> None:
    for max_mb, is_told in ((10**9, True), (1, False)):
        found = disk.check_disk(settings(data_dir=tmp_path, cache={"max_mb": max_mb, "intermediates_mb": 1}))
        assert (f"{max_mb + 1:,} MB; the whole disk has" in told(found, Level.WARNING)) is is_told


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        wanted = settings(data_dir=tmp_path, server={"port": port})
        assert f"Another program has [server] port {port}" in told(
            configuration.check_configuration(wanted), Level.WARNING
        )
        (tmp_path / "running").touch()  # then it is the server itself
        assert told(configuration.check_configuration(wanted), Level.WARNING) == ""


# --- system


def test_memory_and_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    too_much = settings(imaging={"workers": 100, "worker_memory_mb": 100_000})
    assert "100 workers" in told(system.check_system(too_much), Level.WARNING)
    monkeypatch.setattr(system, "max_open_files", lambda: 1024)
    assert "enough for 412 connections" in told(system.check_system(settings()), Level.WARNING)
    monkeypatch.setattr(system, "max_open_files", lambda: None)
    assert "any number of files" in told(system.check_system(settings()), Level.OK)
    monkeypatch.setattr(system, "max_pending_connections", lambda: 128)
    assert "128 connections wait" in told(system.check_system(settings()), Level.NOTE)


# --- as a whole


@pytest.mark.slow
def test_a_failure_ends_with_status_1(tmp_path: Path) -> None:
    config = tmp_path / "imgpro.toml"
    config.write_text("[storage]\nmin_free_mb = 1_000_000_000\n")
    (tmp_path / "there").mkdir()
    done = run_doctor("--config", str(config), "--data-dir", f"{tmp_path}/there/../none", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    assert "/there/" not in done.stdout
    keys = {
        "ok",
        "formats",
        "libraries",
        "protections",
        "workers",
        "largest_pictures",
        "exposed",
        "separate",
        "findings",
    }
    assert set(report) == keys
    (failure,) = [finding for finding in report["findings"] if finding["level"] == "failure"]
    assert (failure["area"], failure["why"] != "", failure["todo"] != "") == ("Disk", True, True)
    assert set(failure) == {"level", "area", "what", "why", "todo"}
    assert tomllib.loads(config.read_text())["storage"]["min_free_mb"] == 10**9
