"""Libraries as tests damage them, and what `imgpro-lite fsck` finds in them."""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from library import connect
from running import run

from imgpro_lite.clock import Clock
from imgpro_lite.services.fsck import check_everything
from imgpro_lite.services.fsck.checkup import Checkup, Options, Problem
from imgpro_lite.store.sqlite_file import connect_file

Damage = Callable[[Path], object]
NOBODY = 65534  # nearly everywhere


class Unseen:
    """Progress that nobody watches."""

    def begin(self, title: str, files: int | None = None, size_bytes: int | None = None) -> None:
        pass

    def advance(self, files: int, size_bytes: int = 0) -> None:
        pass


def check(
    data_dir: Path, *, quick: bool = False, repair: bool = False, remove_broken: bool = False, force: bool = False
) -> list[Problem]:
    """Everything that is found, without the half second that the command itself takes to start."""
    found: list[Problem] = []
    with closing(connect_file(data_dir / "imgpro.db")) as conn:
        options = Options(quick, repair, remove_broken, force)
        check_everything(Checkup(data_dir, conn, options, found.append, Unseen(), Clock()))
    return found


def kinds(problems: list[Problem]) -> set[str]:
    return {str(problem.kind) for problem in problems}


def told(data_dir: Path, **options: bool) -> list[tuple[str, bool]]:
    """The kind of each problem, and whether it was repaired."""
    return [(str(problem.kind), problem.repaired) for problem in check(data_dir, **options)]


def repair(data_dir: Path) -> list[Problem]:
    """What is repaired. Afterwards nothing is wrong any more."""
    found = check(data_dir, repair=True)
    assert [problem for problem in found if not problem.repaired] == []
    assert check(data_dir) == []
    return found


def run_fsck(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """`imgpro-lite fsck …` as the operator runs it: its exit code, and what it prints."""
    done = run(data_dir.parent, "fsck", "--data-dir", str(data_dir), *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout


def run_json(data_dir: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """The same with --json: the exit code, the problems and the summary."""
    code, output = run_fsck(data_dir, "--json", *arguments)
    *problems, summary = [json.loads(line) for line in output.splitlines()]
    return code, problems, summary


def execute(data_dir: Path, *statements: str) -> None:
    """Change the database behind the back of its rules."""
    with connect(data_dir) as conn:
        conn.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            conn.execute(statement)


def without_triggers(data_dir: Path, *statements: str) -> None:
    """Change rows, and nothing that is kept about them."""
    with connect(data_dir) as conn:
        triggers = conn.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            conn.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            conn.execute(statement)
        for _, sql in triggers:
            conn.execute(sql)


def without_index(data_dir: Path, index: str, statement: str) -> None:
    """Change rows, and one index of theirs not."""
    schema = "FROM sqlite_schema WHERE name = ?"
    with connect(data_dir) as conn:
        row = conn.execute(f"SELECT * {schema}", (index,)).fetchone()
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute(f"DELETE {schema}", (index,))
    with connect(data_dir) as conn:
        conn.execute(statement)
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)


def blob_of(data_dir: Path, media_id: str) -> Path:
    """The file of an image."""
    with connect(data_dir) as conn:
        ((sha256,),) = conn.execute("SELECT sha256 FROM media WHERE id = ?", (media_id,)).fetchall()
    name = sha256.hex()
    return data_dir / "blobs" / name[:2] / name[2:4] / name


def a_file(name: str) -> Damage:
    """Somebody leaves a file, or a crash does."""

    def make(data_dir: Path) -> None:
        path = data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")

    return make


def flip_a_bit(path: Path) -> None:
    """What a disk does in the course of years."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def overwrite_a_page(path: Path) -> None:
    """Damage a database in its middle."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


@contextmanager
def as_nobody(data_dir: Path) -> Iterator[Path]:
    """A copy of a library that belongs to a user without rights, whom this process is for the block."""
    with tempfile.TemporaryDirectory() as directory:  # tmp_path is below a folder that only its owner may enter
        copy = Path(directory) / "data"
        shutil.copytree(data_dir, copy)
        if os.geteuid() != 0:
            yield copy
            return
        for path in (Path(directory), copy, *copy.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield copy
        finally:
            os.setresuid(0, 0, 0)
