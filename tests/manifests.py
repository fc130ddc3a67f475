"""Manifests in tests: waited for, read, changed, and everything rebuilt from them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commands import run_main
from library import connect
from running import until

from imgpro_lite.store.manifests import seal


def wait_for_manifests(data_dir: Path) -> None:
    """Return when nothing is to be written any more."""
    until(lambda: (data_dir / "manifests" / "library.jsonl").exists() and count_due(data_dir) == 0)


def count_due(data_dir: Path) -> int:
    with connect(data_dir) as conn:
        counts = "(SELECT count(*) FROM manifests_due) + (SELECT count(*) FROM manifest_backlog)"
        (count,) = conn.execute(f"SELECT {counts}").fetchone()
    return int(count)


def lose_database(data_dir: Path) -> None:
    for path in data_dir.glob("imgpro.db*"):
        path.unlink()


def copy_without_database(data_dir: Path, target: Path) -> Path:
    shutil.copytree(data_dir, target, ignore=shutil.ignore_patterns("imgpro.db*"))
    return target


def rebuild(data_dir: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """`imgpro-lite rebuild --json`: the exit code, the problems and the summary."""
    code, out, err = run_main("rebuild", "--data-dir", str(data_dir), "--json", *arguments)
    assert err == ""
    *problems, summary = [json.loads(line) for line in out.splitlines()]
    return code, problems, summary


def fail_to_rebuild(data_dir: Path, *arguments: str) -> str:
    """The same where it is refused: what it says."""
    code, out, err = run_main("rebuild", "--data-dir", str(data_dir), *arguments)
    assert (code, out) == (1, "")
    return err


def change_lines(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Have the lines of a manifest say something else, with the right checksum."""
    contents = [json.loads(line)["content"] for line in path.read_text("utf-8").splitlines()]
    for content in contents:
        change(content)
    path.write_bytes(seal([json.dumps(content).encode() for content in contents]))


def read_tree(data_dir: Path) -> dict[str, str]:
    """The manifests, by their paths, with the hashes of what is in them."""
    root = data_dir / "manifests"
    found = (path for path in root.rglob("*") if path.is_file() and path.name != "state")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
