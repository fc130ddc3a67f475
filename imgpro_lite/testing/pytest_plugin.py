"""The pytest plugin: the fixture `imgpro`. Everything else is imported when a test asks for it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from imgpro_lite.testing.server_process import ServerProcess
    from imgpro_lite.testing.stand_in import StandIn

T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the stand-in. Paths are relative to the directory of the ini file."""
    group = parser.getgroup("imgpro", "the stand-in for the img.pro API")
    group.addoption("--imgpro-seed", metavar="DIR", help="Seed folder that every test of `imgpro` begins with.")
    parser.addini("imgpro_seed", "Seed folder that every test of `imgpro` begins with.")
    parser.addini("imgpro_config", "Configuration file of the server; without it the hosted API's limits hold.")


@pytest.fixture(scope="session")
def imgpro_server(pytestconfig: pytest.Config) -> "Iterator[ServerProcess]":
    """The process behind `imgpro`: one for each session, or each process of pytest-xdist. Its `base_url` and `key` stay
    the same, for programs that are configured once."""
    from imgpro_lite.testing.server_process import ServerProcess

    seed, config = _seed(pytestconfig), _ini_path(pytestconfig, "imgpro_config")
    with _or_fail(lambda: ServerProcess.start(seed=seed, config=config)) as server:
        yield server


@pytest.fixture(scope="session")
def _imgpro_stand_in(imgpro_server: "ServerProcess") -> "StandIn":
    from imgpro_lite.testing.stand_in import StandIn

    return StandIn(imgpro_server.base_url, imgpro_server.facts["control_url"], imgpro_server.key)


@pytest.fixture
def imgpro(
    imgpro_server: "ServerProcess", _imgpro_stand_in: "StandIn", pytestconfig: pytest.Config
) -> "Iterator[StandIn]":
    """A server that does as the img.pro API does: empty, or with the seed, for each test. `imgpro.base_url` and
    `imgpro.key` are for the program under test; the methods move its time, read its mail, and make it fail."""
    _or_fail(imgpro_server.check)
    before = _imgpro_stand_in.snapshots()  # made by fixtures of the session, for all tests
    _imgpro_stand_in.reset()
    imgpro_server.log.read_new()
    yield _imgpro_stand_in
    if pytestconfig.getoption("capture") != "no":
        sys.stderr.write(imgpro_server.log.read_new())  # which pytest shows with a test that fails
    if imgpro_server.is_running():
        for snapshot in _imgpro_stand_in.snapshots():
            if snapshot not in before:
                snapshot.delete()


def _or_fail(act: Callable[[], T]) -> T:
    """What it gives. A server that failed is told by its message alone, once."""
    from imgpro_lite.testing.server_process import ServerFailed

    try:
        return act()
    except ServerFailed as error:
        message = str(error)
    pytest.fail(message, pytrace=False)


def _seed(config: pytest.Config) -> Path | None:
    given: str | None = config.getoption("--imgpro-seed")
    return config.invocation_params.dir / given if given else _ini_path(config, "imgpro_seed")


def _ini_path(config: pytest.Config, name: str) -> Path | None:
    value: str = config.getini(name)
    directory = config.inipath.parent if config.inipath else config.rootpath
    return directory / value if value else None
