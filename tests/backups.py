"""Backups as tests make, damage and restore them, in this process."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from commands import run_main


def run_backup(data_dir: Path, dest: Path, *arguments: str) -> tuple[int, str, str]:
    """`imgpro-lite backup DEST`: the exit code, and what it prints."""
    return run_main("backup", str(dest), "--data-dir", str(data_dir), *arguments)


def back_up(data_dir: Path, dest: Path, *arguments: str) -> dict[str, Any]:
    """The same, which must succeed: its summary."""
    code, out, err = run_backup(data_dir, dest, "--json", *arguments)
    assert code == 0, out + err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert summary["ok"] is True
    return summary


def fail_backup(data_dir: Path, dest: Path, *arguments: str) -> str:
    """The same, which must be refused, with every file as it was: what it says."""
    before = tree(dest), tree(data_dir)
    code, out, err = run_backup(data_dir, dest, *arguments)
    assert (code, out) == (1, ""), out + err
    assert (tree(dest), tree(data_dir)) == before
    return err


def verify(dest: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """`imgpro-lite backup verify DEST`: the exit code and the problems."""
    code, out, _ = run_main("backup", "verify", str(dest), "--json", *arguments)
    *problems, summary = [json.loads(line) for line in out.splitlines()]
    assert summary["ok"] is (code == 0)
    return code, problems


def restore(dest: Path, data_dir: Path, *arguments: str) -> dict[str, Any]:
    """`imgpro-lite restore DEST`, which must succeed: its summary."""
    code, out, err = run_main("restore", str(dest), "--data-dir", str(data_dir), "--json", *arguments)
    assert code == 0, out + err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def fail_restore(dest: Path, data_dir: Path, *arguments: str) -> str:
    """The same, which must be refused, with every file as it was: what it says."""
    before = tree(dest), tree(data_dir)
    code, out, err = run_main("restore", str(dest), "--data-dir", str(data_dir), *arguments)
    assert (code, out) == (1, ""), out + err
    assert (tree(dest), tree(data_dir)) == before
    return err


def tree(directory: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every directory, but the locks."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != "lock" and not path.name.endswith(("-wal", "-shm"))
    }


def in_backup(dest: Path, sha256: str) -> Path:
    """Where a stored file is in the backups."""
    return dest / "blobs" / sha256[:2] / sha256[2:4] / sha256


def newest(dest: Path) -> Path:
    """The folder of the newest backup."""
    return max(
        (dest / "backups").iterdir(), key=lambda folder: json.loads((folder / "about.json").read_text())["number"]
    )


def change_about(folder: Path, **changes: Any) -> None:
    path = folder / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rows_of(database: Path, sql: str) -> list[Any]:
    """What a database says that nobody writes to."""
    with closing(sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)) as conn:
        return conn.execute(sql).fetchall()
