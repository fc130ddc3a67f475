"""The single file, as far as it can be tried without building it: its start, its unpacking, and what goes into it."""

import asyncio
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from imgpro_lite.cli import main as command_line
from imgpro_lite.frozen import clean_environment
from imgpro_lite.imaging.jobs import Limits
from imgpro_lite.imaging.process import WorkerProcess
from imgpro_lite.testing.server_process import ServerProcess

ROOT = Path(__file__).parent.parent
BINARY = ROOT / "scripts" / "binary"
PACKAGE = ROOT / "imgpro_lite"


# --- what goes into it


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text("utf-8"), re.MULTILINE))


def test_it_carries_every_dependency_in_the_version_that_is_tested() -> None:
    tested, carried = locked(ROOT / "requirements-test.txt"), locked(BINARY / "requirements.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["build"]]]
    assert {canonicalize_name(requirement.name) for requirement in needed} <= carried.keys(), "run scripts/lock"
    assert {name: version for name, version in carried.items() if tested.get(name, version) != version} == {}


def test_it_carries_the_whole_package() -> None:
    """Commands are imported by name, and data is read by `resources`, so nothing else would find them."""
    specification = (BINARY / "imgpro-lite.spec").read_text("utf-8")
    assert 'collect_submodules("imgpro_lite"' in specification
    assert 'collect_data_files("imgpro_lite")' in specification
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), f"{folder} is no package, so that nothing of it is collected"
    for module in command_line._MODULES.values():
        assert (PACKAGE / "cli" / f"{module}.py").is_file()


def test_nothing_is_imported_by_name_that_it_does_not_know() -> None:
    """Another `import_module` needs a line in the specification, and here."""
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "import_module(" in path.read_text("utf-8")]
    assert found == [Path("cli/main.py")]


def test_python_is_never_called_by_its_name() -> None:
    """`sys.executable` is not Python there: each use has to know that."""
    found = {
        str(path.relative_to(PACKAGE)): path.read_text("utf-8")
        for path in PACKAGE.rglob("*.py")
        if "sys.executable" in path.read_text("utf-8")
    }
    assert found.keys() >= {"imaging/process.py", "testing/server_process.py"}
    assert [name for name, text in found.items() if "frozen" not in text] == []


def test_data_is_not_beside_the_package() -> None:
    """What is collected is in the package; a module that reaches out of it finds nothing."""
    reaching = re.compile(r"__file__\)(\.resolve\(\))?\.(parents\[[2-9]\]|parent\.parent\.parent)")
    texts = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    found = {name for name, text in texts.items() if reaching.search(text)}
    assert found <= {"imaging/process.py"}  # the PYTHONPATH of a worker, which the single file does not use


# --- its start


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that starts like the single file, and this process as if it were one."""
    program = tmp_path / "imgpro-lite"
    given = f'import sys; sys.frozen = True; sys.executable = "{program}"'
    start = f"{given}; from imgpro_lite.frozen import start; start()"
    program.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -c '{start}' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


def test_it_is_its_own_worker(frozen: Path) -> None:
    async def ask() -> dict[str, object]:
        worker = await WorkerProcess.start(Limits(memory_mb=1024, max_megapixels=10))
        try:
            return await worker.ask({"do": "ping"}, [], [])
        finally:
            await worker.kill()

    assert asyncio.run(ask()) == {"done": {}}


def test_a_worker_does_not_load_the_command_line(frozen: Path) -> None:
    """It would take twice the time to start, and the memory."""
    text = (PACKAGE / "frozen.py").read_text("utf-8")
    loads = re.findall(r"^(?:from|import) .+", text, re.MULTILINE)
    assert loads == ["import os", "import sys"]


def test_it_runs_servers_for_tests(frozen: Path) -> None:
    with ServerProcess.start() as server:
        assert server.facts["version"]


def test_programs_that_it_runs_get_their_own_libraries_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PYI_ARCHIVE_FILE", "/x")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/x/_internal:/opt/lib")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/opt/lib")
    clean_environment()
    assert os.environ["LD_LIBRARY_PATH"] == "/opt/lib"
    assert not [name for name in os.environ if name.startswith("_PYI_") or name.endswith("_ORIG")]
    clean_environment()
    assert "LD_LIBRARY_PATH" not in os.environ


# --- its unpacking


def load_pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", BINARY / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single file with little in it, which says how it was called."""
    folder = tmp_path_factory.mktemp("packed")
    root = folder / "root"
    (root / "lib").mkdir(parents=True)
    (root / "imgpro-lite").write_text('#!/bin/sh\necho "$0|$*|$(umask)|$_IMGPRO_LITE_FILE"; exit 7\n')
    (root / "imgpro-lite").chmod(0o755)
    (root / "lib" / "large").write_bytes(os.urandom(1_000_000))
    (root / "lib" / "empty").touch()
    (root / "link").symlink_to("lib/large")
    pack = load_pack()
    pack.write_payload(root, folder)
    with (folder / "entries.h").open("a") as entries:
        entries.write(f'#define SERVICE_CACHE "{folder}/cache"\n')
    target = folder / "imgpro-lite"
    try:
        pack.compile_launcher(folder, target)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler, or no static zlib")
    return target


@pytest.fixture
def start(packed: Path, tmp_path: Path) -> Run:
    def start(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/bin:/bin", "IMGPRO_UNPACK_DIR": str(tmp_path), **variables}
        return subprocess.run([packed, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    return start


def unpacked(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "imgpro-lite").glob("imgpro-lite-*")
    return found


def test_it_unpacks_and_becomes_the_program(start: Run, packed: Path, tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        done = start("serve", "--port", "0")
    finally:
        os.umask(umask)
    folder = unpacked(tmp_path)
    assert done.returncode == 7
    assert done.stdout == f"{folder}/imgpro-lite|serve --port 0|0027|{packed}\n"
    root = packed.parent / "root"
    assert (folder / "lib" / "large").read_bytes() == (root / "lib" / "large").read_bytes()
    assert str((folder / "link").readlink()) == "lib/large"
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.rglob("*")]} == {0}
    inode = folder.stat().st_ino
    assert start().returncode == 7
    assert unpacked(tmp_path).stat().st_ino == inode


@pytest.mark.parametrize("harm", ["gone", "shorter", "changed before a power cut"])
def test_what_is_damaged_is_made_again(start: Run, packed: Path, tmp_path: Path, harm: str) -> None:
    start()
    file = unpacked(tmp_path) / "lib" / "large"
    content = file.read_bytes()
    if harm == "gone":
        file.unlink()
    elif harm == "shorter":
        file.write_bytes(content[:-1])
    else:
        (unpacked(tmp_path) / "boot").write_text("another\n")
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert start().returncode == 7
    assert (unpacked(tmp_path) / "lib" / "large").read_bytes() == content


def test_after_another_boot_it_is_compared_once(start: Run, tmp_path: Path) -> None:
    start()
    boot, inode = unpacked(tmp_path) / "boot", unpacked(tmp_path).stat().st_ino
    boot.write_text("another\n")
    assert start().returncode == 7
    assert unpacked(tmp_path).stat().st_ino == inode
    assert boot.read_text() == "compared after another boot\n"


def test_other_versions_are_removed_unless_they_run(start: Run, tmp_path: Path) -> None:
    for name in ("imgpro-lite-0.0.1-old", "imgpro-lite-0.0.2-running", "unfinished", "something"):
        (tmp_path / "imgpro-lite" / name / "lib").mkdir(parents=True)
    (tmp_path / "imgpro-lite").chmod(0o700)
    running = os.open(tmp_path / "imgpro-lite" / "imgpro-lite-0.0.2-running", os.O_RDONLY)
    fcntl.flock(running, fcntl.LOCK_SH)
    assert start().returncode == 7
    os.close(running)
    left = {path.name for path in (tmp_path / "imgpro-lite").iterdir() if path.is_dir()}
    assert {name for name in left if "-0.0." in name or "-" not in name} == {"imgpro-lite-0.0.2-running", "something"}


def test_many_first_starts_at_once(packed: Path, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "IMGPRO_UNPACK_DIR": str(tmp_path)}
    started = [subprocess.Popen([packed], env=environment, stdout=subprocess.PIPE) for _ in range(8)]
    said = {process.communicate(timeout=60)[0] for process in started}
    assert {process.returncode for process in started} == {7}
    assert len(said) == 1


def test_a_directory_that_others_may_write_to_is_refused(start: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = start()
    assert done.returncode == 1
    assert f"{tmp_path}/imgpro-lite: somebody else may write to {tmp_path}\n" in done.stderr
    assert "in IMGPRO_UNPACK_DIR" in done.stderr
    assert not list((tmp_path / "imgpro-lite").iterdir())


def test_a_link_is_not_followed(start: Run, tmp_path: Path) -> None:
    """It may lead to something of ours in which others of our directories would be removed."""
    (tmp_path / "other" / "imgpro-lite-precious").mkdir(parents=True)
    (tmp_path / "imgpro-lite").symlink_to("other")
    done = start()
    assert done.returncode == 1
    assert "not a directory" in done.stderr
    assert (tmp_path / "other" / "imgpro-lite-precious").is_dir()


@pytest.mark.parametrize(
    ("value", "reason"),
    [("cache", "not an absolute path"), ("/dev/null", "Not a directory"), ("/proc/nothing", "No such file")],
)
def test_a_directory_that_cannot_be_used_is_told(start: Run, value: str, reason: str) -> None:
    done = start(IMGPRO_UNPACK_DIR=value)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr


def test_a_damaged_copy_is_told(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    middle = content.index((packed.parent / "payload.z").read_bytes()[:64]) + 500_000
    copy = tmp_path / "copy"
    copy.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    copy.chmod(0o700)
    environment = {"IMGPRO_UNPACK_DIR": str(tmp_path)}
    done = subprocess.run([copy], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this file is damaged, copy it again" in done.stderr
    assert [path.name for path in (tmp_path / "imgpro-lite").iterdir()] == ["lock"]


def test_where_it_unpacks_without_being_told(start: Run, tmp_path: Path) -> None:
    for name, place in (("HOME", tmp_path / ".cache"), ("XDG_CACHE_HOME", tmp_path), ("CACHE_DIRECTORY", tmp_path)):
        assert str(place / "imgpro-lite") in start(IMGPRO_UNPACK_DIR="", **{name: str(tmp_path)}).stdout
        shutil.rmtree(place / "imgpro-lite")


def test_the_cache_of_the_service_is_used_by_who_owns_it(start: Run, packed: Path, tmp_path: Path) -> None:
    """Else commands of its user would unpack themselves a second time, into the data directory if that is its home."""
    cache = packed.parent / "cache"
    variables = {"IMGPRO_UNPACK_DIR": "", "HOME": str(tmp_path)}
    assert str(tmp_path) in start(**variables).stdout
    assert not cache.exists()
    cache.mkdir(mode=0o700)
    assert start(**variables).stdout.startswith(f"{cache}/imgpro-lite/")
    if os.geteuid() == 0:
        os.chown(cache, 4647, 4647)
        assert str(tmp_path) in start(**variables).stdout
    shutil.rmtree(cache)


def test_of_several_cache_directories_the_first_is_used(start: Run, tmp_path: Path) -> None:
    """As systemd tells them."""
    assert start(IMGPRO_UNPACK_DIR="", CACHE_DIRECTORY=f"{tmp_path}/a:{tmp_path}/b").stdout.startswith(f"{tmp_path}/a/")


@pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("dpkg-query") is None, reason="needs gcc and dpkg")
def test_what_is_linked_into_it_is_among_the_licences() -> None:
    listed = {item["name"]: item for item in load_pack().list_linked_libraries()}
    assert listed.keys() == {"glibc", "zlib"}
    assert (listed["glibc"]["spdx"], listed["glibc"]["texts"]) == ("LGPL-2.1-or-later", ["LGPL-2.1"])
    assert all(item["version"][0].isdigit() and item["path"].is_file() for item in listed.values())
