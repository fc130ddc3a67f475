"""Imports at the same time: how many there are of each caller and from each address, and who has to wait."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from origins import ORIGIN_ADDRESS, FakeInternet, Origin, answer, origin, redirect
from running import until
from shared import serve
from wire import ENDS, HANGS_UP, check_refusal, client_at, send_raw

from imgpro_lite.errors import Overloaded
from imgpro_lite.fetching.resolver import MAX_LOOK_UPS_PER_CALLER, Resolver, look_up
from imgpro_lite.fetching.slots import MAX_WAITING_PER_CALLER, Slots

SECOND_ADDRESS = "127.0.0.3"
STRANGERS = [f"192.0.2.{number}" for number in range(10, 20)]


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as running:
        yield running


@pytest.fixture(scope="module")
def second_site(site: Origin) -> Iterator[Origin]:
    """The same port at another address."""
    with origin(SECOND_ADDRESS, port=site.port) as running:
        running.pages = site.pages
        yield running


@pytest.fixture
def fake() -> FakeInternet:
    fake = FakeInternet()
    fake.names |= {"alias.example": [ORIGIN_ADDRESS], "second.example": [SECOND_ADDRESS], "slow.example": ["never"]}
    return fake


@pytest.fixture
def impatient(tmp_path: Path, site: Origin, second_site: Origin, fake: FakeInternet) -> Iterator[Api]:
    """A server where nobody waits long for a turn."""
    fetching = imports(site, queue_seconds=0.05)
    with serve(tmp_path / "impatient", internet=fake.internet, **{"import": fetching}) as api:
        yield api
    fake.resolves.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def imports(site: Origin, **more: Any) -> dict[str, Any]:
    return {"allow_networks": [ORIGIN_ADDRESS, SECOND_ADDRESS], "ports": [site.port], **more}


class Gate:
    """A page that is answered only when the test says so."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, sock: Any) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.arrived.release()
        assert self.opened.wait(30)
        with self._lock:
            self.now -= 1
        sock.sendall(answer())


def import_(api: Api, url: str, address: str) -> Any:
    return client_at(api, address).post("/v1/import", json={"url": url})


def hold(pool: ThreadPoolExecutor, gate: Gate, api: Api, url: str, addresses: list[str]) -> list[Future[Any]]:
    """Begin imports of a page with a gate, all of which are there when this returns."""
    begun = [pool.submit(import_, api, url, address) for address in addresses]
    for _ in begun:
        assert gate.arrived.acquire(timeout=30)
    return begun


def check_all_succeed(gate: Gate, begun: list[Future[Any]]) -> None:
    gate.opened.set()
    assert [import_.result(30).status_code for import_ in begun] == [201] * len(begun)


def test_two_from_one_address_and_four_in_all(
    start: ApiFactory, site: Origin, second_site: Origin, fake: FakeInternet, pool: ThreadPoolExecutor
) -> None:
    """However many names the address has; who comes too early waits."""
    api = start(internet=fake.internet, **{"import": imports(site)})
    site.pages |= {"/a.png": (first := Gate()), "/b.png": (second := Gate())}
    begun = hold(pool, first, api, site.url("/a.png"), STRANGERS[:1])
    begun += hold(pool, first, api, site.url("/a.png", "ALIAS.example."), STRANGERS[1:2])
    begun += [pool.submit(import_, api, site.url("/a.png", "alias.example"), STRANGERS[2])]
    begun += hold(pool, second, api, site.url("/b.png", "second.example"), STRANGERS[3:5])
    begun += [pool.submit(import_, api, site.url("/b.png", "second.example"), STRANGERS[5])]
    first.opened.set()
    check_all_succeed(second, begun)
    assert (first.most, second.most) == (2, 2)


def test_one_caller_has_half_of_the_turns(
    impatient: Api, site: Origin, second_site: Origin, pool: ThreadPoolExecutor
) -> None:
    site.pages |= {"/held.png": (gate := Gate()), "/photo.png": answer()}
    begun = hold(pool, gate, impatient, site.url("/held.png"), STRANGERS[:1] * 2)
    second = site.url("/photo.png", "second.example")
    refused = import_(impatient, second, STRANGERS[0])
    check_refusal(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert import_(impatient, second, STRANGERS[1]).status_code == 201
    check_all_succeed(gate, begun)
    assert import_(impatient, second, STRANGERS[0]).status_code == 201


def test_a_redirect_needs_a_turn_at_its_address(
    impatient: Api, site: Origin, second_site: Origin, pool: ThreadPoolExecutor
) -> None:
    """And gives back the one before, where there is room then."""
    site.pages |= {
        "/held.png": (gate := Gate()),
        "/photo.png": answer(),
        "/r": redirect(site.url("/held.png", "second.example")),
    }
    begun = hold(pool, gate, impatient, site.url("/r"), STRANGERS[:2])
    check_refusal(import_(impatient, site.url("/r"), STRANGERS[2]), 503, "overloaded")
    assert import_(impatient, site.url("/photo.png"), STRANGERS[2]).status_code == 201
    check_all_succeed(gate, begun)


def test_a_resolver_that_does_not_answer_costs_few_threads(impatient: Api, site: Origin, fake: FakeInternet) -> None:
    """Although those who asked have long gone; and all others still get their answers."""
    site.pages["/photo.png"] = answer()
    body = f'{{"url": "{site.url("/photo.png", "slow.example")}"}}'.encode()
    for _ in range(3 * MAX_LOOK_UPS_PER_CALLER):
        asked = len(fake.asked)

        def is_asked(asked: int = asked) -> bool:
            return len(fake.asked) > min(asked, MAX_LOOK_UPS_PER_CALLER - 1)

        send_raw(
            impatient,
            "/v1/import",
            [body, ENDS, lambda is_asked=is_asked: until(is_asked), HANGS_UP],
            [(b"content-length", b"%d" % len(body))],
        )
    assert fake.asked == ["slow.example"] * MAX_LOOK_UPS_PER_CALLER  # each in a thread
    check_refusal(import_(impatient, site.url("/photo.png"), "192.0.2.1"), 503, "overloaded")
    assert import_(impatient, site.url("/photo.png"), STRANGERS[0]).status_code == 201
    fake.resolves.set()
    until(lambda: import_(impatient, site.url("/photo.png"), "192.0.2.1").status_code == 201)


def test_a_system_without_threads_is_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time anew: nothing is counted that did not begin."""

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        resolver = Resolver(look_up, 0.05)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            for _ in range(MAX_LOOK_UPS_PER_CALLER + 1):
                with pytest.raises(Overloaded, match="The server is busy"):
                    await resolver.resolve("127.0.0.1", "a", 30)
        assert await resolver.resolve("127.0.0.1", "a", 30) == ["127.0.0.1"]

    asyncio.run(run())


# ── the order ──


def in_order(slots: Slots, callers: list[tuple[str, str]], running: int) -> list[str]:
    """Who gets a slot, in order, when `running` of the callers, who come one after the other, are there already, and
    end one after the other."""

    async def run() -> list[str]:
        order: list[str] = []
        ends: list[asyncio.Event] = []

        async def use(caller: str, host: str) -> None:
            async with slots.take(caller, host):
                order.append(caller)
                ends.append(asyncio.Event())
                await ends[-1].wait()

        tasks = []
        for caller, host in callers:
            tasks.append(asyncio.create_task(use(caller, host)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(order) == running
        for number in range(len(callers)):
            ends[number].set()
            for _ in range(5):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return order

    return asyncio.run(run())


def test_who_waits_goes_before_who_comes_later() -> None:
    callers = [("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")]
    assert in_order(Slots(1, 1, 1, 30), callers, 1) == ["a", "b", "c", "d"]


def test_who_has_none_goes_first() -> None:
    callers = [("a", "x"), ("b", "x"), ("b", "x"), ("b", "x"), ("c", "x")]
    assert in_order(Slots(2, 2, 9, 30), callers, 2) == ["a", "b", "c", "b", "b"]


def test_a_host_that_is_busy_keeps_nobody_else_waiting() -> None:
    callers = [("a", "x"), ("b", "x"), ("c", "y")]
    assert in_order(Slots(2, 2, 1, 30), callers, 2) == ["a", "c", "b"]


def test_who_leaves_the_line_leaves_nothing_behind() -> None:
    """Cancelled while waiting, and in the moment in which its turn comes."""

    async def run() -> None:
        slots = Slots(1, 1, 1, 30)
        slot = await slots.acquire("a", "x")
        waiting = [asyncio.create_task(slots.acquire(caller, "x")) for caller in ("b", "c")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        slots.release(slot)
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(30):
            slots.release(await slots.acquire("d", "x"))

    asyncio.run(run())


def test_the_line_of_one_caller_is_bounded() -> None:
    async def run() -> None:
        slots = Slots(1, 1, 1, 30)
        slot = await slots.acquire("a", "x")
        waiting = [asyncio.create_task(slots.acquire("a", "x")) for _ in range(MAX_WAITING_PER_CALLER)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await slots.acquire("a", "x")
        other = asyncio.create_task(slots.acquire("b", "x"))
        await asyncio.sleep(0)
        slots.release(slot)
        async with asyncio.timeout(30):
            slots.release(await waiting[0])
        for task in (*waiting[1:], other):
            task.cancel()
        await asyncio.gather(*waiting[1:], other, return_exceptions=True)

    asyncio.run(run())
