"""A real server for every test: real SQLite, disk and workers. Only time is faked, and the internet."""

import asyncio
import compileall
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import NO_BROWSER
from hypothesis import HealthCheck
from hypothesis import settings as examples
from starlette.testclient import TestClient

import imgpro_lite
from imgpro_lite.app import create_app
from imgpro_lite.clock import Clock
from imgpro_lite.dev.mode import DevMode
from imgpro_lite.fetching.internet import Internet
from imgpro_lite.imaging.pool import WorkerPool
from imgpro_lite.imaging.waiting import Job
from imgpro_lite.settings import ImagingSettings, Settings

# The same examples every time, so that a change is never blamed for what was there before; `--full` tries others.
# How long one takes says nothing on a machine that is busy.
_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
examples.register_profile("same", derandomize=True, max_examples=50, **_PATIENT)
examples.register_profile("others", print_blob=True, max_examples=300, **_PATIENT)
examples.load_profile("same")


def pytest_configure() -> None:
    """Compile what pip would have compiled: workers and commands are processes of their own, hundreds of them here."""
    compileall.compile_dir(Path(imgpro_lite.__file__).parent, quiet=2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was not tried for want of a browser, as nobody reads the reasons of single tests."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of pages were skipped: {NO_BROWSER}", yellow=True)


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than there are cores, as tests wait for servers and browsers every now and then."""
    return (os.cpu_count() or 1) + 1


# Of a table of cases that each start a server of their own, so many are run where time counts; `--full` runs all.
MAX_SERVERS_FOR_A_TEST = 4


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Make slow tests of most of the cases, evenly, of tables that cost a server for each."""
    tables: dict[str, list[pytest.Function]] = {}
    for item in items:
        if {"api", "start"} & set(item.fixturenames) and not item.get_closest_marker("slow"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for table in tables.values():
        kept = {
            round(number * (len(table) - 1) / (MAX_SERVERS_FOR_A_TEST - 1)) for number in range(MAX_SERVERS_FOR_A_TEST)
        }
        for number, item in enumerate(table):
            if len(table) > MAX_SERVERS_FOR_A_TEST and number not in kept:
                item.add_marker(pytest.mark.slow)


class FakeClock(Clock):
    """A wall clock that stands still until a test moves it."""

    def __init__(self, at: int = 1_700_000_000) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def advance(self, *, days: int = 0, seconds: int = 0) -> None:
        self.at += days * 86_400 + seconds


class PoolOnDemand(WorkerPool):
    """Real workers, which start with the first picture: most tests have none, and a process costs 0.1 s of CPU."""

    def __init__(self, settings: ImagingSettings) -> None:
        super().__init__(settings)
        self._starting = asyncio.Lock()
        self._is_closed = False

    async def start(self) -> None:
        """Leave it for later."""

    async def close(self) -> None:
        async with self._starting:
            self._is_closed = True
        await super().close()

    async def _do(self, job: Job) -> dict[str, Any]:
        async with self._starting:
            if not self._tasks and not self._is_closed:
                await super().start()
        return await super()._do(job)


@dataclass
class Api:
    """A running server as a developer sees it, with an API key and what a test may turn."""

    client: TestClient
    clock: FakeClock
    data_dir: Path

    def new_key(self, email: str = "dev@example.com", **options: Any) -> dict[str, str]:
        """Make a key through the API: the headers that use it."""
        answer = self.client.post("/v1/keys", json={"email": email, **options})
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['key']}"}

    def upload(
        self, content: bytes, headers: dict[str, str] | None = None, filename: str = "photo.jpg", **fields: str
    ) -> Any:
        """Upload a file; the answer, whatever it is."""
        return self.client.post("/v1/upload", headers=headers, files={"file": (filename, content)}, data=fields)

    def fetch(self, src: str, **options: Any) -> Any:
        """GET an address that an answer gave."""
        assert src.startswith("http://localhost:4647/"), src
        return self.client.get(src.removeprefix("http://localhost:4647"), **options)


def base_url(dev: DevMode | None) -> str:
    """Where clients of the tests ask. Any name will do but in dev mode, which answers to those of this machine only."""
    return "http://localhost:4647" if dev else "http://testserver"


ApiFactory = Callable[..., Api]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def start(tmp_path: Path, clock: FakeClock) -> Iterator[ApiFactory]:
    """Start a server with settings of the test's own: `start(limits={"file_mb": 1})`. Again for a restart,
    with `crashed` as after a kill -9, with `workers_at_once` as people have it, not with the first picture."""
    with ExitStack() as stack:

        def start_server(
            *,
            crashed: bool = False,
            workers_at_once: bool = False,
            internet: Internet | None = None,
            dev: DevMode | None = None,
            **sections: Any,
        ) -> Api:
            stack.close()
            if crashed:
                (tmp_path / "data" / "running").touch()  # as kill -9 leaves it
            # One worker, and none more in the background but where a test asks for it.
            imaging = {"workers": 1, "refine_avif": False, **sections.pop("imaging", {})}
            storage = {"reserve_mb": 0, **sections.pop("storage", {})}  # 16 MB for each test would be gigabytes
            settings = Settings.model_validate(
                {"data_dir": tmp_path / "data", "imaging": imaging, "storage": storage, **sections}
            )
            pool = None if workers_at_once else PoolOnDemand(settings.imaging)
            app = create_app(settings, clock, internet, pool, dev)
            client = stack.enter_context(TestClient(app, base_url(dev), raise_server_exceptions=False))
            return Api(client, clock, settings.data_dir)

        yield start_server


@pytest.fixture
def api(start: ApiFactory) -> Api:
    """A server with the default settings."""
    return start()
