"""Eight writers against a real server, which is killed again and again; after each start every promise is checked.

`scripts/crash-test` runs it by hand, tests/e2e/test_crash_loop.py a few rounds of it.
"""

import argparse
import contextlib
import hashlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

import httpx2
from commands import authorization, make_key
from crash_writers import Writer
from library import add_rows, blob_path, check_counts, check_files, connect
from running import WAIT_SECONDS, Running, command, environment, run, servers, until

from imgpro_lite.cli.main import cli

WRITERS = 8
# From the first answer until the server is killed: some die in the first upload, some in the middle of sweeps.
MOST_SECONDS = 1.5
# One start in so many is killed too, while it looks for what the kill before has left.
CUT_STARTS = 5
CUT_START_SECONDS = 0.05
# In one cycle of so many a backup is made meanwhile, and killed with the server.
BACKED_UP = 3
# Of the images that were checked after an earlier start, so many of each writer are checked again; at the end all.
CHECKED_AGAIN = 5
# Nothing waits before its bytes go, so that sweeps purge all the time; one worker is more than the writers need.
CONFIG = "[storage]\ngrace_days = 0\n"
# A look for files without a row takes about 10 ms for each directory that has one.
SETTLE_SECONDS = 120


@dataclass
class Loop:
    """The cycles, and what was found wrong."""

    directory: Path
    seed: int
    most_seconds: float = MOST_SECONDS
    violations: list[str] = field(default_factory=list)
    ready_seconds: list[float] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    def run(self, cycles: int, images: int = 0) -> None:
        """Start, check, load and kill, so many times, with so many other images; at the end check all once more."""
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        self._add_images(images)
        chance = random.Random(self.seed)
        writers = [self._writer(number, chance.randrange(2**31)) for number in range(WRITERS)]
        with servers(self.directory) as start:
            for cycle in range(cycles):
                server = self._start(start)
                self._note(f"cycle {cycle}", lambda server=server: self._check_after_start(server, writers))
                killed_at = time.time()
                with self._backup() if cycle % BACKED_UP == 0 else contextlib.nullcontext():
                    self._kill_under_load(server, writers, chance.uniform(0, self.most_seconds))
                self._note(f"cycle {cycle}, killed", lambda at=killed_at: self._check_promises(at))
                if chance.randrange(CUT_STARTS) == 0:
                    cut = self._start(start)
                    time.sleep(chance.uniform(0, CUT_START_SECONDS))
                    cut.end(SIGKILL)
            for writer in writers:
                writer.checked.clear()
            server = self._start(start)
            self._note("at the end", lambda: self._check_after_start(server, writers))
            server.end()
            self._note("at the end", self._check_by_command)
            self._note("at the end", self._check_backups)
        self.checked["requests"] = sum(writer.done.total() for writer in writers)

    def _add_images(self, count: int) -> None:
        data_dir = self.directory / "data"
        headers = authorization(make_key(data_dir, "--verified", email="many@example.com"))
        hashes = []
        for number in range(count):
            content = number.to_bytes(100, "big")
            hashes.append(hashlib.sha256(content))
            path = blob_path(data_dir, hashes[-1].hexdigest())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        ids = add_rows(data_dir, headers, count)
        with connect(data_dir) as conn:
            conn.execute("BEGIN")
            rows = [(one.digest(), media_id) for one, media_id in zip(hashes, ids, strict=True)]
            conn.executemany("UPDATE media SET sha256 = ? WHERE id = ?", rows)
            conn.execute("COMMIT")

    def _start(self, start: Callable[..., Running]) -> Running:
        begun_at = time.monotonic()
        server = start(config=CONFIG)
        self.ready_seconds.append(time.monotonic() - begun_at)
        return server

    def _writer(self, number: int, seed: int) -> Writer:
        key = make_key(self.directory / "data", "--verified", email=f"writer{number}@example.com")
        return Writer(authorization(key), random.Random(seed))

    def _kill_under_load(self, server: Running, writers: list[Writer], seconds: float) -> None:
        stop = threading.Event()
        uploaded = sum(writer.done["POST"] for writer in writers)
        with ThreadPoolExecutor(WRITERS) as threads:
            working = [threads.submit(writer.work, server.url, stop) for writer in writers]
            # However slow the machine is, something is acknowledged; the other writers wait for an answer then.
            until(lambda: sum(writer.done["POST"] for writer in writers) > uploaded)
            time.sleep(seconds)
            server.end(SIGKILL)
            stop.set()
        for writer in working:
            self._note("a writer", writer.result)

    @contextlib.contextmanager
    def _backup(self) -> Iterator[None]:
        """One that is made during the block, and killed at its end, if it has not ended."""
        with subprocess.Popen(
            command("backup", "dest", "--data-dir", "data", "--keep", "2"),
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            yield
            process.kill()

    def _check_backups(self) -> None:
        """Those that were completed are whole, the killed ones have left nothing in the way, and a restored one is a
        library."""
        for line in (
            ("backup", "dest", "--data-dir", "data", "--keep", "2"),
            ("backup", "verify", "dest"),
            ("restore", "dest", "--data-dir", "restored"),
            ("fsck", "--data-dir", "restored"),
        ):
            ended = run(self.directory, *line)
            assert ended.returncode == 0, ended.stdout + ended.stderr
        self.checked["backups"] = len(list((self.directory / "dest" / "backups").iterdir()))

    def _note(self, where: str, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception as error:
            self.violations.append(f"{where}: {type(error).__name__}: {error}"[:500])

    def _check_promises(self, since: float = 0) -> None:
        """What holds at every moment, also before anybody has put anything in order. Files that are older than `since`
        (Unix time) were checked before."""
        data_dir = self.directory / "data"
        check_counts(data_dir)
        check_files(data_dir)
        for name in self._rows() & self._files():
            path = blob_path(data_dir, name)
            if path.stat().st_mtime >= since - 1:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == name, f"other bytes: {name}"

    def _check_after_start(self, server: Running, writers: list[Writer]) -> None:
        # A start sweeps, and looks for files without rows, in the background.
        try:
            until(lambda: not self._count_due() and self._files() <= self._rows(), SETTLE_SECONDS)
        except AssertionError:
            orphans = self._files() - self._rows()
            raise AssertionError(f"{self._count_due()} rows not swept, {len(orphans)} files without a row") from None
        self._check_promises(time.time())
        assert not list((server.data_dir / "tmp").iterdir()), "leftovers in tmp/"
        assert not list((server.data_dir / "cache").rglob("*.tmp")), "leftovers in cache/"
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=WAIT_SECONDS) as client:
            for writer in writers:
                self._check_writer(client, writer)

    def _check_by_command(self) -> None:
        """What an operator would run after a crash, where there is such a command."""
        if "fsck" in cli.commands:
            ended = run(self.directory, "fsck", "--data-dir", str(self.directory / "data"))
            assert ended.returncode == 0, ended.stdout + ended.stderr

    def _check_writer(self, client: httpx2.Client, writer: Writer) -> None:
        for media_id, kept in writer.unsure.items():  # deleted or not, but not half
            if client.get(f"/v1/media/{media_id}", headers=writer.headers).status_code == 200:
                writer.kept[media_id] = kept
            else:
                writer.deleted.add(media_id)
        writer.unsure.clear()
        old = sorted(writer.checked & writer.kept.keys())
        again = set(writer.random.sample(old, min(CHECKED_AGAIN, len(old))))
        for media_id in (writer.kept.keys() - writer.checked) | again:
            self._check_image(client, writer, media_id)
        writer.checked = set(writer.kept)
        writer.unsure_names.clear()
        for media_id in writer.random.sample(sorted(writer.deleted), min(5, len(writer.deleted))):
            answer = client.get(f"/v1/media/{media_id}", headers=writer.headers)
            assert answer.status_code == 404, f"came back: {media_id}"
            self.checked["deletions"] += 1

    def _check_image(self, client: httpx2.Client, writer: Writer, media_id: str) -> None:
        kept = writer.kept[media_id]
        shown = client.get(f"/v1/media/{media_id}", headers=writer.headers)
        assert shown.status_code == 200, f"lost: {media_id}"
        possible = {kept.name, writer.unsure_names.get(media_id, kept.name)}
        assert shown.json()["name"] in possible, f"a change is lost: {media_id}"
        kept.name = shown.json()["name"]
        content = client.get(kept.src, headers=writer.headers).content
        assert hashlib.sha256(content).hexdigest() == kept.sha256, f"half readable: {media_id}"
        self.checked["images"] += 1

    def _files(self) -> set[str]:
        return {path.name for path in (self.directory / "data" / "blobs").rglob("*") if path.is_file()}

    def _count_due(self) -> int:
        """What the sweep has not done yet."""
        deleted = "SELECT (SELECT count(*) FROM media WHERE deleted_at IS NOT NULL)"
        with connect(self.directory / "data") as conn:
            return int(conn.execute(f"{deleted} + (SELECT count(*) FROM purgeable_blobs)").fetchone()[0])

    def _rows(self) -> set[str]:
        with connect(self.directory / "data") as conn:
            found = conn.execute("SELECT sha256 FROM media UNION SELECT sha256 FROM purgeable_blobs").fetchall()
        return {sha256.hex() for (sha256,) in found}


def main() -> int:
    """Run by hand: print a table, and give 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cycles", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--images", type=int, default=0, help="other images in the library")
    given = parser.parse_args()
    begun_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imgpro-crash-") as directory:
        loop = Loop(Path(directory), given.seed)
        loop.run(given.cycles, given.images)
    ready = sorted(loop.ready_seconds)
    lines = [
        f"other images              {given.images}",
        f"seed                      {given.seed}",
        f"cycles                    {given.cycles} in {time.monotonic() - begun_at:.0f} s, {len(ready)} starts",
        f"requests answered         {loop.checked['requests']}",
        f"images read and compared  {loop.checked['images']}",
        f"deletions confirmed       {loop.checked['deletions']}",
        f"ready after kill -9       median {ready[len(ready) // 2]:.2f} s, most {ready[-1]:.2f} s",
        f"backups restored          {min(loop.checked['backups'], 1)}",
        f"promises broken           {len(loop.violations)}",
        *(f"  {violation}" for violation in loop.violations),
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    return 1 if loop.violations else 0


if __name__ == "__main__":
    sys.exit(main())
