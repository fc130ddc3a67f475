"""What the operating system tells of disks, files and its clock, for the operator. Everything may be unknown."""

import ctypes
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from imgpro_lite.store.files import sync_directory, sync_file

_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")

# linux/timex.h: on 64-bit systems `status` follows 4 bytes (and 4 of padding) and four longs.
_TIMEX_BYTES = 256
_TIMEX_STATUS_OFFSET = 40
_STA_UNSYNC = 0x40
_SYNCHRONIZED_MARK = Path("/run/systemd/timesync/synchronized")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    path: Path
    type: str
    is_read_only: bool


def find_mount(path: Path, mounts: Path = _MOUNTS) -> Mount | None:
    """The file system that a path is on; None where the system does not tell (proc_pid_mountinfo(5))."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = path.resolve()
    best: Mount | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kinds) < 3:
            continue
        point = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # Of two on the same point the later one is seen.
        if real.is_relative_to(point) and (best is None or len(point.parts) >= len(best.path.parts)):
            is_read_only = "ro" in fields[5].split(",") or "ro" in kinds[2].split(",")
            best = Mount(point, kinds[0], is_read_only)
    return best


def try_writing(directory: Path) -> float:
    """Make a file, sync it, rename it and remove it, as an upload does: how many seconds that took. Raises OSError."""
    first = directory / f"doctor-{os.getpid()}"
    second = directory / f"{first.name}-renamed"
    started_at = time.perf_counter()
    try:
        descriptor = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"x" * 4096)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        first.rename(second)
        sync_directory(directory)
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
    return time.perf_counter() - started_at


def free_inodes(path: Path) -> tuple[int, int] | None:
    """How many files may still be made on the file system of `path`, and how many there may be; None without limit."""
    if sys.platform == "win32":
        return None
    status = os.statvfs(path)
    return (status.f_favail, status.f_files) if status.f_files else None


def is_clock_synchronized() -> bool | None:
    """Whether the system's clock follows others; None where it does not tell."""
    if _SYNCHRONIZED_MARK.exists():
        return True
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    timex = (ctypes.c_ubyte * _TIMEX_BYTES)()  # all zeros: only to be told
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) == -1:
            return None
    except (OSError, AttributeError):
        return None
    status = int.from_bytes(bytes(timex[_TIMEX_STATUS_OFFSET : _TIMEX_STATUS_OFFSET + 4]), sys.byteorder)
    return not status & _STA_UNSYNC


def swap_mb() -> int | None:
    """Megabytes of swap; None where it is not told."""
    match = re.search(r"^SwapTotal:\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(match[1]) // 1024 if match else None


def max_pending_connections() -> int | None:
    """How many connections the system lets wait to be accepted; None where it is not told."""
    text = _read("/proc/sys/net/core/somaxconn").strip()
    return int(text) if text.isdigit() else None


def max_open_files() -> int | None:
    """How many files a process may open once it has raised its limit as far as it may; None for any number."""
    if sys.platform == "win32":
        return None
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
