"""Where the single file is tried: a minimal Debian without Python, or an environment without anything."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BUILD = Path(__file__).parent.parent.parent / "build"
# The user in it; nobody of the machine.
USER_ID = 12345


class Place:
    """A root directory with a home, a working directory and the file in it."""

    def __init__(self, root: Path, work: Path, *, is_apart: bool) -> None:
        self.root = root
        self.work = work
        self.home = work / "home"
        self.temporary = work / "tmp"
        self.program = work / "imgpro-lite"
        self._is_apart = is_apart

    def inside(self, path: Path) -> str:
        """The name of a path for a program that runs here."""
        return f"/{path.relative_to(self.root)}" if self._is_apart else str(path)

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """The program, with nothing of our environment."""
        path = "/usr/bin:/bin" if self._is_apart else ""
        environment = {"PATH": path, "HOME": self.inside(self.home), "TMPDIR": self.inside(self.temporary)}
        command = [self.inside(self.program), *arguments]
        if self._is_apart:
            # Mounts of its own, which are gone with it; /proc is what PyInstaller finds the program by.
            mounts = f"mount -t proc proc {self.root}/proc && mount --bind /dev {self.root}/dev && exec chroot "
            enter = f'{mounts} --userspec={USER_ID}:{USER_ID} {self.root} "$@"'
            command = ["unshare", "--mount", "sh", "-c", enter, "sh", *command]
            environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.Popen(
            command,
            env=environment | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/" if self._is_apart else self.work,
        )


@contextmanager
def make_place(file: Path) -> Iterator[Place]:
    """A place with the file in it, which is gone afterwards."""
    is_apart = os.geteuid() == 0 and shutil.which("debootstrap") is not None
    root = _minimal_debian() if is_apart else Path("/")
    work = Path(tempfile.mkdtemp(prefix="try-", dir=root / "srv" if is_apart else BUILD))
    place = Place(root, work, is_apart=is_apart)
    try:
        for directory in (place.home, place.temporary):
            directory.mkdir()
        shutil.copy2(file, place.program)
        if is_apart:
            for path in (work, *work.iterdir()):
                os.chown(path, USER_ID, USER_ID)
            if shutil.which("python3", path=f"{root}/usr/bin:{root}/usr/local/bin"):
                raise SystemExit(f"There is a Python in {root}; remove it, to be made again.")
        print(f"in {root if is_apart else 'this system, without PATH and home'}, {work}", flush=True)
        yield place
    finally:
        shutil.rmtree(work)


def _minimal_debian() -> Path:
    """Made once; there is no Python in the `minbase` variant."""
    root = BUILD / "minimal-debian"
    if not root.exists():
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        print("debootstrap makes a minimal Debian…", flush=True)
        codename = os.environ.get("CODENAME", "stable")
        subprocess.run(
            ["debootstrap", "--variant=minbase", codename, unfinished], check=True, stdout=subprocess.DEVNULL
        )
        unfinished.rename(root)
    return root
