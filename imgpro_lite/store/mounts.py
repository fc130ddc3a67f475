"""Whether the directories of a data directory are of one file system: files are renamed from one to the other."""

import re
from pathlib import Path

# An upload arrives in one, and a rename makes it one of the other.
RENAMED_BETWEEN = ("blobs", "tmp")
MOVE_ALL = "Put the whole data directory on the other disk instead, and set data_dir."

_MOUNTS = Path("/proc/self/mountinfo")  # Linux only
_MOUNT_POINT = 4  # its place in a line of that (proc_pid_mountinfo(5))
_ESCAPED = re.compile(r"\\(\d{3})")  # spaces, for example, as octal numbers


def list_separate(data_dir: Path) -> list[Path]:
    """Those that are mounted on their own. Even where the same disk is behind both, no file can be renamed then."""
    paths = [data_dir / name for name in RENAMED_BETWEEN]
    present = [path for path in paths if path.is_dir()]
    mounted = _list_mount_points()
    return [path for path in present if path.stat().st_dev != data_dir.stat().st_dev or str(path.resolve()) in mounted]


def _list_mount_points() -> set[str]:
    """Where something is mounted, also a directory of the same disk; nothing where the system does not tell."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    points = (line.split(" ")[_MOUNT_POINT] for line in lines)
    return {_ESCAPED.sub(lambda found: chr(int(found[1], 8)), point) for point in points}
