"""The pool: it survives whatever happens to its workers, keeps order and deadlines, and leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import BlockingPool, make_image

from imgpro_lite.errors import Overloaded, TransformFailed, UnsupportedFormat
from imgpro_lite.formats import Format
from imgpro_lite.imaging import process, workers
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.imaging.jobs import Priority, Transform, Transformed
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.tally import Replaced

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
QUICK = Transform(Format.JPEG, Format.JPEG, 30, 80)
SLOW = Transform(Format.PNG, Format.AVIF, None, 60)


@pytest.fixture(scope="module")
def slow_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 megapixels, which SLOW encodes in about a second."""
    path = tmp_path_factory.mktemp("slow") / "source"
    path.write_bytes(make_image("png", 4000, 4000, compression=1))
    return path


@pytest.fixture
def quick_picture(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(make_image("jpeg", 90, 60))
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[BlockingPool]:
    with BlockingPool(tmp_path) as pool:
        yield pool


def is_running(pid: int) -> bool:
    """Whether the process lives; one that is dead and waits for init to notice does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_nothing_that_decodes_is_imported_by_the_server() -> None:
    code = "import sys, imgpro_lite.imaging.pool as _; print({'pyvips', 'PIL', 'pillow_heif'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


# --- faults


def test_a_killed_worker_is_replaced_and_its_job_done(pool: BlockingPool, slow_picture: Path, tmp_path: Path) -> None:
    async def scenario() -> Transformed:
        job = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "out", SLOW))
        await asyncio.sleep(0.2)
        os.kill(pool.pool.pids[0], signal.SIGKILL)
        return await job

    assert pool.run(scenario()) == Transformed(4000, 4000)
    assert (tmp_path / "out").stat().st_size > 1000


def test_a_job_that_kills_twice_is_given_up(pool: BlockingPool, slow_picture: Path, tmp_path: Path) -> None:
    async def scenario() -> set[int]:
        killed = set()
        job = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "out", SLOW))
        while not job.done():
            await asyncio.sleep(0.15)
            for pid in set(pool.pool.pids) - killed:
                if len(killed) < 2:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        with pytest.raises(TransformFailed, match="could not be made"):
            await job
        return killed

    assert len(pool.run(scenario())) == 2
    assert not (tmp_path / "out").exists()
    pool.run(pool.pool.ping())


def test_an_idle_worker_that_died_is_not_noticed(pool: BlockingPool, quick_picture: Path, tmp_path: Path) -> None:
    os.kill(pool.pool.pids[0], signal.SIGKILL)
    time.sleep(0.1)
    assert pool.run(pool.pool.transform(quick_picture, tmp_path / "out", QUICK)) == Transformed(45, 30)


def test_workers_that_do_not_start(
    tmp_path: Path, quick_picture: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither who was told that it is their turn nor who stands in line waits for ever; what happens is counted."""

    async def views(pool: WorkerPool) -> list[object]:
        jobs = [pool.transform(quick_picture, tmp_path / f"out{number}", QUICK) for number in range(3)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    with BlockingPool(tmp_path, queue_seconds=0.4) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(process, "worker_command", lambda argument: [sys.executable, "-S", "-c", ""])
            patch.setattr(workers, "_RESTART_SECONDS", 0.05)
            os.kill(pool.pool.pids[0], signal.SIGKILL)
            answers = pool.run(views(pool.pool))
        assert [type(answer) for answer in answers] == [Overloaded] * 3
        assert pool.pool.count_alive() == 0
        replaced = pool.pool.tally.replaced
        assert replaced[Replaced.DIED] == 1
        assert 1 <= replaced[Replaced.DID_NOT_START] <= 2 ** caplog.text.count("a worker does not start")
        while not pool.pool.count_alive():  # a real one takes longer to start than the jobs above were willing to wait
            pool.run(asyncio.sleep(0.01))
        pool.run(pool.pool.transform(quick_picture, tmp_path / "out", QUICK))
        assert pool.pool.count_alive() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_the_deadline(tmp_path: Path, slow_picture: Path) -> None:
    with BlockingPool(tmp_path, transform_deadline_seconds=0.3) as pool:
        before = pool.pool.pids
        with pytest.raises(TransformFailed):
            pool.run(pool.pool.transform(slow_picture, tmp_path / "out", SLOW))
        assert not (tmp_path / "out").exists()
        assert pool.probe(make_image("jpeg", 9, 9)).width == 9
        assert pool.pool.pids != before


def test_the_deadline_of_a_probe(tmp_path: Path, slow_picture: Path) -> None:
    with (
        BlockingPool(tmp_path, transform_deadline_seconds=0.01) as pool,
        pytest.raises(UnsupportedFormat),
    ):
        pool.run(pool.pool.probe(slow_picture, Format.PNG))


def test_a_caller_who_goes_away(pool: BlockingPool, slow_picture: Path, quick_picture: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        at_work = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "a", SLOW))
        in_line = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "b", SLOW))
        await asyncio.sleep(0.2)
        at_work.cancel()
        in_line.cancel()
        await asyncio.gather(at_work, in_line, return_exceptions=True)
        assert await pool.pool.transform(quick_picture, tmp_path / "c", QUICK) == Transformed(45, 30)

    pool.run(scenario())
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_target_that_exists_is_not_touched(pool: BlockingPool, quick_picture: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        pool.run(pool.pool.transform(quick_picture, tmp_path / "out", QUICK))
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_a_broken_source_leaves_no_target(pool: BlockingPool, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(TransformFailed):
        pool.run(pool.pool.transform(tmp_path / "broken", tmp_path / "out", QUICK))
    assert not (tmp_path / "out").exists()


# --- order and load


def test_priorities(pool: BlockingPool, slow_picture: Path, quick_picture: Path, tmp_path: Path) -> None:
    finished = []

    async def ask(priority: Priority) -> None:
        await pool.pool.transform(quick_picture, tmp_path / priority.name, QUICK, priority=priority)
        finished.append(priority)

    async def scenario() -> None:
        first = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "slow", SLOW))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, *(ask(priority) for priority in reversed(Priority)))

    pool.run(scenario())
    assert finished == [Priority.UPLOAD, Priority.VIEW, Priority.BACKGROUND]


def test_a_page_of_100_pictures_is_served(pool: BlockingPool, quick_picture: Path, tmp_path: Path) -> None:
    async def scenario() -> list[Transformed]:
        return await asyncio.gather(*(pool.pool.transform(quick_picture, tmp_path / f"{n}", QUICK) for n in range(100)))

    assert pool.run(scenario()) == [Transformed(45, 30)] * 100


def test_overload(tmp_path: Path, quick_picture: Path) -> None:
    with BlockingPool(tmp_path, queue_seconds=0.5) as pool:

        async def scenario() -> list[Transformed | BaseException]:
            jobs = (pool.pool.transform(quick_picture, tmp_path / f"{n}", QUICK) for n in range(30))
            upload = pool.pool.probe(quick_picture, Format.JPEG)
            answers = await asyncio.gather(*jobs, upload, return_exceptions=True)
            assert answers.pop().width == 90  # the line of views is no reason to refuse an upload
            return answers

        answers = pool.run(scenario())
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert 20 <= len(refused) < 30
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert len(refused) + answers.count(Transformed(45, 30)) == 30
        pool.run(pool.pool.ping())


def test_ping_when_idle_and_when_busy(pool: BlockingPool, slow_picture: Path, tmp_path: Path) -> None:
    async def scenario() -> bool:
        await pool.pool.ping()
        job = asyncio.create_task(pool.pool.transform(slow_picture, tmp_path / "out", SLOW))
        await asyncio.sleep(0.05)
        await pool.pool.ping()
        is_busy = not job.done()
        await job
        return is_busy

    assert pool.run(scenario()), "the ping waited for the job"


def test_workers_are_replaced_after_some_jobs(tmp_path: Path) -> None:
    with BlockingPool(tmp_path, jobs_per_worker=2) as pool:
        seen = []
        for _ in range(5):
            pool.probe(make_image("jpeg", 9, 9))
            seen.append(pool.pool.pids)
        assert len({tuple(pids) for pids in seen}) > 1


@pytest.mark.parametrize(
    ("settings", "cores", "memory_mb", "expected"),
    [
        ({}, 8, 32_000, (8, 1024)),
        ({}, 2, 4000, (2, 1000)),
        ({}, 2, 1000, (1, 512)),
        ({}, 4, 500, (1, 512)),
        ({"workers": 3}, 8, 6000, (3, 1000)),
        ({"workers": 3, "worker_memory_mb": 700}, 8, 500, (3, 700)),
    ],
)
def test_sharing_out(settings: dict[str, int], cores: int, memory_mb: int, expected: tuple[int, int]) -> None:
    assert share_out(ImagingSettings(**settings), cores, memory_mb) == expected


# --- nothing is left behind


def test_close_ends_every_process(tmp_path: Path, slow_picture: Path) -> None:
    async def scenario() -> list[int]:
        pool = WorkerPool(ImagingSettings(workers=2))
        await pool.start()
        pids = pool.pids
        jobs = [asyncio.create_task(pool.transform(slow_picture, tmp_path / f"{n}", SLOW)) for n in range(5)]
        await asyncio.sleep(0.1)
        await pool.close()
        for job in jobs:
            with pytest.raises(Overloaded):
                await job
        with pytest.raises(RuntimeError):
            await pool.probe(slow_picture, Format.PNG)
        return pids

    pids = asyncio.run(scenario())
    assert len(pids) == 2
    assert not [pid for pid in pids if is_running(pid)]
    assert list(tmp_path.iterdir()) == []


def test_workers_die_with_the_server(tmp_path: Path, slow_picture: Path) -> None:
    code = f"""
import asyncio
from pathlib import Path
from imgpro_lite.formats import Format
from imgpro_lite.imaging.jobs import Transform
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.settings import ImagingSettings
from imgpro_lite.tally import Replaced

async def main():
    pool = WorkerPool(ImagingSettings(workers=2))
    await pool.start()
    print(*pool.pids, flush=True)
    job = Transform(Format.PNG, Format.AVIF, None, 60)
    await pool.transform(Path({str(slow_picture)!r}), Path({str(tmp_path / "out")!r}), job)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        time.sleep(0.1)
        server.kill()
    until = time.monotonic() + 5
    while any(is_running(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not [pid for pid in pids if is_running(pid)]


def test_it_works_on_uvloop(tmp_path: Path, quick_picture: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        pool = WorkerPool(ImagingSettings(workers=2))
        await pool.start()
        try:
            assert await pool.transform(quick_picture, tmp_path / "out", QUICK) == Transformed(45, 30)
            os.kill(pool.pids[0], signal.SIGKILL)
            for n in range(4):
                assert await pool.transform(quick_picture, tmp_path / f"{n}", QUICK) == Transformed(45, 30)
        finally:
            await pool.close()

    uvloop.run(scenario())


# --- the sandbox


@needs_proc
def test_a_worker_has_no_secrets_and_no_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPRO_SECRET", "do-not-tell")
    with BlockingPool(tmp_path) as pool:
        process = Path(f"/proc/{pool.pool.pids[0]}")
        assert b"do-not-tell" not in (process / "environ").read_bytes()
        assert "NoNewPrivs:\t1" in (process / "status").read_text()
        assert (process / "oom_score_adj").read_text().strip() == "1000"
        limits = (process / "limits").read_text()
        assert "Max address space         1073741824" in limits or pool.pool.limits.memory_mb < 1024
        # standard streams, the job socket, and what Python and libvips hold: nothing of the server
        links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        assert all(link.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null")) for link in links), links


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_a_worker_cannot_open_files_or_connections(tmp_path: Path) -> None:
    """In a process that went through the same door as a worker."""
    (tmp_path / "blob").write_text("a stranger's picture")
    code = f"""
import socket, subprocess, sys
from imgpro_lite.imaging import sandbox
print("Landlock" in str(sandbox.enter(1024)))
folder = {str(tmp_path)!r}
for path in (folder + "/blob", folder + "/new", "/etc/passwd", "/proc/1/environ"):
    try:
        open(path, "w" if path.endswith("new") else "r")
        print("opened", path)
    except PermissionError:
        pass
for forbidden in (
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    lambda: subprocess.run([sys.executable, "-c", "print('ran')"]),
):
    try:
        forbidden()
        print("it could")
    except PermissionError:
        pass
import PIL.Image
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(
        "\n", 1
    )
    if shown[0] != "True":
        pytest.skip("this kernel has no Landlock")
    assert shown[1] == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the others have fewer")
def test_the_protections_are_told(pool: BlockingPool) -> None:
    assert {"memory limit", "no core dumps", "no new privileges", "dies with the server"} <= set(pool.pool.protections)
