"""What the operating system is asked for: how much there is of it, and how a worker is shut in.

Every call that differs between systems is here. Each protection is applied where the system has it and left out
where it has not; `enter` says which are in force, for the operator to see (`imgpro-lite doctor`).
"""

import ctypes
import os
import socket
import struct
import sys
import sysconfig
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath

IS_POSIX = os.name == "posix"
IS_LINUX = sys.platform == "linux"

# What a worker may still read after `enter`: shared libraries and modules that are loaded late, and fonts for SVG.
_SYSTEM_PATHS = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
    *("/etc/fonts", "/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/fontconfig", "/var/cache/fontconfig"),
    *("/dev/null", "/dev/urandom"),
)

# The memory limit of a container, with control groups of version 2 and 1.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9

# linux/landlock.h; the numbers of the system calls are the same on every architecture.
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_READ_FILE = 1 << 2
_LANDLOCK_READ_DIR = 1 << 3
# The number of file system rights by ABI version: 13 at first, then REFER, TRUNCATE and (with 5) IOCTL_DEV.
_LANDLOCK_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_LANDLOCK_FS_RIGHTS_NEWEST = 16
_LANDLOCK_NET_SINCE = 4
_LANDLOCK_SCOPES_SINCE = 6
_LANDLOCK_BOTH_RIGHTS = 0b11  # net: bind and connect of TCP; scopes: abstract sockets and signals

# linux/seccomp.h, linux/filter.h, linux/audit.h
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_SECCOMP_REFUSE = 0x0005_0000 | 1  # SECCOMP_RET_ERRNO with EPERM
_SECCOMP_ALLOW = 0x7FFF_0000
_BPF_LOAD = 0x20
_BPF_IF_EQUAL = 0x15
_BPF_IF_AT_LEAST = 0x35
_BPF_RETURN = 0x06
_X32_CALLS = 0x4000_0000  # a second numbering of the same system calls on x86-64

# By machine: its AUDIT_ARCH, and the numbers of the system calls that no decoder needs: socket, execve, execveat,
# ptrace, process_vm_readv, process_vm_writev, io_uring_setup (which can do the work of others unseen).
_REFUSED_CALLS = {
    "x86_64": (0xC000_003E, (41, 59, 322, 101, 310, 311, 425)),
    "aarch64": (0xC000_00B7, (198, 221, 281, 117, 270, 271, 425)),
}


class Protection(StrEnum):
    """What can shut a worker in, as it is told to the operator."""

    MEMORY_LIMIT = "memory limit"
    NO_CORE_DUMPS = "no core dumps"
    FIRST_TO_GO = "first to go when memory runs out"
    DIES_WITH_SERVER = "dies with the server"
    NO_NEW_PRIVILEGES = "no new privileges"
    NO_FILES = "files closed off (Landlock)"
    NO_TCP = "no TCP (Landlock)"
    NO_CALLS = "no connections or programs (seccomp)"


def count_cores() -> int:
    """The cores that this process may use."""
    if IS_LINUX:
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory_mb() -> int:
    """Megabytes of memory of the machine or, where that is less, of the container. A guess of 2048 where unknown."""
    amounts = [_read_number(path) for path in [*_CGROUP_LIMITS, *_own_cgroup_limits()]]
    if IS_POSIX:
        amounts.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((amount for amount in amounts if amount), default=2048 << 20) >> 20


def _own_cgroup_limits() -> list[str]:
    """The limits of this process's control group and those above it (cgroups(7), version 2), as of a systemd unit."""
    try:
        text = Path("/proc/self/cgroup").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return []
    paths = [line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::")]
    own = [PurePosixPath(path) for path in paths]
    return [f"/sys/fs/cgroup{group}/memory.max" for path in own for group in (path, *path.parents)]


def _read_number(path: str) -> int:
    """The number in a file of the kernel, or 0 when there is none ("max" is none)."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def step_back(niceness: int) -> None:
    """Let other processes go first, on systems that know how."""
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)


def send_descriptors(connection: socket.socket, descriptors: Sequence[int]) -> None:
    """Hand over open files; the other side takes as many with `receive_descriptors`. POSIX only."""
    socket.send_fds(connection, [b"f"], list(descriptors))


def receive_descriptors(connection: socket.socket, count: int) -> list[int]:
    """The files that were handed over, as descriptors of this process. POSIX only."""
    message, descriptors, _flags, _address = socket.recv_fds(connection, 1, count)
    if not message or len(descriptors) != count:
        raise OSError("the parent sent no descriptors")
    return list(descriptors)


def enter(memory_mb: int) -> list[Protection]:
    """Give up what a decoder does not need; the protections in force. Call it first of all, while there is
    one thread: most of them count for the calling thread and those it starts later."""
    in_force: list[Protection] = []
    if IS_POSIX:
        in_force += _limit_resources(memory_mb)
    if IS_LINUX:
        in_force += _be_first_to_go()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0) == 0:
            in_force.append(Protection.DIES_WITH_SERVER)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            in_force.append(Protection.NO_NEW_PRIVILEGES)
        in_force += _enter_landlock(libc)
        in_force += _refuse_calls(libc)
    return in_force


def _limit_resources(memory_mb: int) -> list[Protection]:
    """Cap the address space, and write no core dumps: they would hold strangers' pictures."""
    import resource

    in_force = []
    for protection, kind, amount in (
        (Protection.MEMORY_LIMIT, resource.RLIMIT_AS, memory_mb << 20),
        (Protection.NO_CORE_DUMPS, resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (amount, amount))
        except (OSError, ValueError):  # macOS has the constant but not the limit; a lower hard limit may be set already
            continue
        in_force.append(protection)
    return in_force


def _be_first_to_go() -> list[Protection]:
    """When memory runs out, the kernel shall take a worker and never the server."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return []
    return [Protection.FIRST_TO_GO]


def _enter_landlock(libc: ctypes.CDLL) -> list[Protection]:
    """Allow reading `_readable_paths` and nothing else: no other file can be opened, no TCP connection made."""
    abi = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if abi < 1:
        return []
    file_rights = (1 << _LANDLOCK_FS_RIGHTS.get(abi, _LANDLOCK_FS_RIGHTS_NEWEST)) - 1
    net_rights = _LANDLOCK_BOTH_RIGHTS if abi >= _LANDLOCK_NET_SINCE else 0
    scopes = _LANDLOCK_BOTH_RIGHTS if abi >= _LANDLOCK_SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", file_rights, net_rights, scopes)
    used_bytes = 24 if scopes else 16 if net_rights else 8  # an older kernel knows only the first fields
    ruleset = libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(used_bytes), 0)
    if ruleset < 0:
        return []
    try:
        for path in _readable_paths():
            _allow_reading(libc, ruleset, path)
        if libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            return []
    finally:
        os.close(ruleset)
    return [Protection.NO_FILES, *([Protection.NO_TCP] if net_rights else [])]


def _refuse_calls(libc: ctypes.CDLL) -> list[Protection]:
    """Take away the system calls that would start a program or open a connection. Needs no_new_privs."""
    if os.uname().machine not in _REFUSED_CALLS or sys.maxsize < 2**32:
        return []
    architecture, calls = _REFUSED_CALLS[os.uname().machine]
    # Each step is (code, steps to skip if true, if false, operand); the last one refuses.
    checks = [(_BPF_IF_AT_LEAST, len(calls) + 1, 0, _X32_CALLS)]
    checks += [(_BPF_IF_EQUAL, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    steps = [
        (_BPF_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_BPF_IF_EQUAL, 0, len(checks) + 2, architecture),
        (_BPF_LOAD, 0, 0, 0),  # seccomp_data.nr
        *checks,
        (_BPF_RETURN, 0, 0, _SECCOMP_ALLOW),
        (_BPF_RETURN, 0, 0, _SECCOMP_REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program) != 0:
        return []
    return [Protection.NO_CALLS]


def _readable_paths() -> list[str]:
    """The directories of code and fonts. Of this package only itself, as the data may lie beside it."""
    code = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    bundle = getattr(sys, "_MEIPASS", None)  # where a frozen build keeps its libraries; its modules are in the program
    package = str(Path(__file__).resolve().parents[1])
    return [*_SYSTEM_PATHS, *sorted(code), package, *([bundle, sys.executable] if bundle else [])]


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    """Add a rule for a file or a directory with all below it; a path that does not exist needs none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _LANDLOCK_READ_FILE | (_LANDLOCK_READ_DIR if Path(path).is_dir() else 0)
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_SYS_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
