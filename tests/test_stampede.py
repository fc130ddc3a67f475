"""Many ask for a picture that is not made yet, or that cannot be made, or whose worker dies."""

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from running import until
from starlette.types import Message, Scope
from views import being_made

from imgpro_lite.single_flight import SingleFlight

WAIT_SECONDS = 20  # for what happens within a second; only a hanging test waits so long

SMALL = (900, 700)
LARGE = (6000, 4000)  # takes long enough in AVIF for others to come, or for its worker to be killed


def upload(api: Api, size: tuple[int, int] = SMALL) -> str:
    """Upload a picture; its path without the extension."""
    answer = api.upload(make_image("jpeg", *size))
    assert answer.status_code == 201, answer.text
    src: str = answer.json()["src"]
    return src.removeprefix("http://localhost:4647").removesuffix(".jpeg")


def at_once(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """The answers of `count` threads that all begin together."""
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait(WAIT_SECONDS)
        return ask(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def cache_files(api: Api, pattern: str = "*") -> list[Path]:
    return [path for path in (api.data_dir / "cache").rglob(pattern) if path.is_file()]


def worker_pids(api: Api) -> set[int]:
    """The worker processes of this test's server."""
    return set(api.client.app.state.runtime.pool.pids)  # type: ignore[attr-defined]


def blob(api: Api) -> Path:
    """The file of the only image."""
    (path,) = (path for path in (api.data_dir / "blobs").rglob("*") if path.is_file())
    return path


def test_200_who_ask_at_once_cost_one_transform(start: ApiFactory) -> None:
    # The worker is replaced after its third job, and the upload was the first: nothing had to be taken out.
    api = start(imaging={"jobs_per_worker": 3})
    path = upload(api, (2400, 1800))
    before = worker_pids(api)
    answers = at_once(200, lambda number: api.client.get(f"{path}.avif?size=l&x={number}"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert len(cache_files(api)) == 1
    assert worker_pids(api) == before  # so the stampede was the second job, and no more
    for extension in ("webp", "png"):
        assert api.client.get(f"{path}.{extension}?size=s").status_code == 200
    assert worker_pids(api) != before  # which is how another would have been noticed


def test_different_variants_at_once_are_not_mixed_up(api: Api) -> None:
    path = upload(api)
    wanted = [f"{path}.{ext}?size={size}" for ext in ("png", "webp") for size in ("s", "m", "")]
    alone = dict.fromkeys(wanted)
    answers = at_once(24, lambda number: api.client.get(wanted[number % len(wanted)]))
    for number, answer in enumerate(answers):
        alone[wanted[number % len(wanted)]] = alone[wanted[number % len(wanted)]] or answer.content
        assert answer.content == alone[wanted[number % len(wanted)]]
    assert len(set(alone.values())) == len(cache_files(api)) == len(wanted)


def test_one_who_goes_away_does_not_take_the_work_along() -> None:
    async def scene() -> None:
        flight, calls, go_on = SingleFlight(), [], asyncio.Event()

        async def work() -> str:
            calls.append(1)
            await go_on.wait()
            return "made"

        waiting = [asyncio.create_task(flight.run("variant", work)) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*waiting[1:]) == ["made"] * 4
        assert waiting[0].cancelled()
        assert calls == [1]
        await flight.run("variant", work)
        assert calls == [1, 1]  # it is kept while it runs, and not longer

    asyncio.run(scene())


def test_when_all_go_away_the_work_still_ends_and_its_failure_is_quiet() -> None:
    async def scene() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        flight, go_on = SingleFlight(), asyncio.Event()

        async def work() -> None:
            await go_on.wait()
            raise ValueError

        task = asyncio.create_task(flight.run("variant", work))
        await asyncio.sleep(0)
        task.cancel()
        go_on.set()
        await flight.drain()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert complaints == []

    asyncio.run(scene())


def test_a_failure_reaches_everybody(api: Api) -> None:
    path = upload(api)
    blob(api).write_bytes(b"not a picture any more")
    answers = at_once(20, lambda _: api.client.get(f"{path}.webp"))
    assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(422, "transform_failed")}


def test_a_failure_that_is_being_sent_to_one_is_answered_to_another(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Both have the same exception, and the frames of both are in its traceback."""
    path = upload(api)
    blob(api).unlink()

    async def scene() -> list[str]:
        errors: list[str] = []
        second_is_done = asyncio.Event()

        async def ask(hold: asyncio.Event | None) -> None:
            async def send(message: Message) -> None:
                if hold:
                    await hold.wait()
                if message["type"] == "http.response.body":
                    errors.append(json.loads(message["body"])["error"])

            scope = get_scope(f"{path}.webp")
            await api.client.app(scope, lambda: asyncio.sleep(0, {"type": "http.request"}), send)

        async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
            tasks.create_task(ask(second_is_done))
            await tasks.create_task(ask(None))
            second_is_done.set()
        return errors

    assert api.client.portal is not None
    assert api.client.portal.call(scene) == ["transform_failed"] * 2
    assert "request failed" not in caplog.text


def get_scope(path: str) -> Scope:
    """A GET as the server hands it to the application."""
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost:4647")],
        "client": ("127.0.0.1", 1),
        "state": {},
    }


@pytest.mark.parametrize("damage", ["noise", "cut", "empty"])
def test_a_picture_that_cannot_be_made_is_not_tried_again_for_ten_minutes(
    api: Api, clock: FakeClock, damage: str
) -> None:
    path = upload(api)
    address = f"{path}.webp?size=s"
    original = blob(api).read_bytes()
    noise = random.Random(1).randbytes(len(original))
    blob(api).write_bytes({"noise": noise, "cut": original[: len(original) // 2], "empty": b""}[damage])
    failed = api.client.get(address)
    assert (failed.status_code, failed.json()["error"]) == (422, "transform_failed")
    assert failed.headers["cache-control"] == "no-store"
    assert set(failed.json()) == {"error", "message"}
    assert str(api.data_dir) not in failed.text
    assert cache_files(api) == []
    blob(api).write_bytes(original)
    assert api.client.get(f"{path}.png?size=s").status_code == 200  # only this variant is known to fail
    clock.advance(seconds=599)
    assert api.client.get(address).status_code == 422
    clock.advance(seconds=1)
    assert api.client.get(address).status_code == 200


def test_a_missing_blob_is_a_clean_refusal_and_the_log_says_what_to_do(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    path = upload(api)
    missing = blob(api)
    missing.unlink()
    for address in (f"{path}.jpeg", f"{path}.webp"):
        answer = api.client.get(address)
        assert (answer.status_code, answer.json()["error"]) == (422, "transform_failed"), address
        assert answer.headers["cache-control"] == "no-store"
        assert str(api.data_dir) not in answer.text
        line = next(record.getMessage() for record in caplog.records if record.levelname == "ERROR")
        assert all(words in line for words in (str(missing), "backup", "`imgpro-lite fsck`"))
        caplog.clear()
    assert cache_files(api) == []


def begin(api: Api, threads: ThreadPoolExecutor, address: str) -> "Future[Any]":
    """Ask for a picture, and return when a worker makes it."""
    asked = threads.submit(api.client.get, address)
    until(lambda: cache_files(api, "*.tmp") or asked.done())
    assert not asked.done(), "the picture was made too fast for this test"
    return asked


def test_a_killed_worker_costs_nobody_an_answer(api: Api) -> None:
    path = upload(api)
    (victim,) = worker_pids(api)
    with being_made(api, f"{path}.webp?size=l") as asked:
        os.kill(victim, signal.SIGKILL)
    assert asked.result(WAIT_SECONDS).status_code == 200
    assert victim not in worker_pids(api)
    assert len(cache_files(api)) == 1
    assert api.client.get(f"{path}.webp?size=s").status_code == 200
    assert api.client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_a_picture_that_kills_every_worker_is_given_up(start: ApiFactory) -> None:
    api = start(cache={"intermediates_mb": 0})
    path = upload(api, LARGE)
    with ThreadPoolExecutor(1) as threads:
        asked = begin(api, threads, f"{path}.avif?size=l")
        (first,) = worker_pids(api)
        os.kill(first, signal.SIGKILL)
        (second,) = until(lambda: worker_pids(api) - {first})
        until(lambda: cache_files(api, "*.tmp"))
        os.kill(second, signal.SIGKILL)
        answer = asked.result(WAIT_SECONDS)
    assert (answer.status_code, answer.json()["error"]) == (422, "transform_failed")
    assert cache_files(api) == []
    assert api.client.get(f"{path}.webp?size=s").status_code == 200


def test_too_many_different_pictures_are_refused_and_can_be_had_later(start: ApiFactory) -> None:
    api = start(imaging={"queue_seconds": 0.01})
    path = upload(api, (3000, 2000))
    wanted = [f"{path}.{ext}?size={size}" for ext in ("jpeg", "png", "webp", "avif") for size in ("s", "m", "l")]
    answers = at_once(len(wanted), lambda number: api.client.get(wanted[number]))
    refused = [(address, answer) for address, answer in zip(wanted, answers, strict=True) if answer.status_code != 200]
    assert 0 < len(refused) < len(wanted)
    for address, answer in refused:
        assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["cache-control"] == "no-store"
        assert api.client.get(address).status_code == 200
    assert len(cache_files(api)) == len(wanted)
