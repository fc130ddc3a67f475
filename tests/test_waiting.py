"""The line in front of the workers: owners take turns, and nobody waits longer than is bearable."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpro_lite.errors import Overloaded, StorageFull, UnsupportedFormat
from imgpro_lite.imaging import worker
from imgpro_lite.imaging.jobs import Limits, Priority
from imgpro_lite.imaging.waiting import Job, WaitingLine


def job(owner: str, priority: Priority = Priority.UPLOAD) -> Job:
    return Job({"do": "nothing"}, None, (), 1, priority, UnsupportedFormat, "", owner=owner)


def served(*owners: str, before: int = 0) -> list[str]:
    """In which order jobs are taken that arrive in this order, of which some arrive when so many have been taken."""

    async def wait() -> list[str]:
        line = WaitingLine(1, 1e9)
        for owner in owners[before:]:
            line.join(job(owner))
        taken = [(await line.next()).owner for _ in range(before)]
        for owner in owners[:before]:
            line.join(job(owner))
        return taken + [(await line.next()).owner for _ in range(len(owners) - before)]

    return asyncio.run(wait())


def test_one_with_many_jobs_waits_for_one_with_few() -> None:
    assert "".join(served(*"aaaaabbc")) == "abcabaaa"


@given(owners=st.lists(st.sampled_from("abc")))
def test_everybodys_first_goes_before_anybodys_second(owners: list[str]) -> None:
    order = served(*owners)
    assert Counter(order) == Counter(owners)
    seen: Counter[str] = Counter()
    rounds = [seen.update(owner) or seen[owner] for owner in order]
    assert rounds == sorted(rounds)


@given(owners=st.lists(st.sampled_from("abc"), min_size=4), before=st.integers(0, 2))
def test_everybody_is_served(owners: list[str], before: int) -> None:
    assert Counter(served(*owners, before=before)) == Counter(owners)


def test_who_comes_later_waits_for_one_turn_of_the_others() -> None:
    assert "".join(served("c", *"abababab", before=1)) == "ababcabab"


def test_what_is_nobodys_is_taken_as_it_comes() -> None:
    async def wait() -> list[int]:
        line = WaitingLine(1, 1e9)
        jobs = [job("", Priority.VIEW) for _ in range(5)]
        for one in jobs:
            line.join(one)
        return [jobs.index(await line.next()) for _ in jobs]

    assert asyncio.run(wait()) == [0, 1, 2, 3, 4]


def test_a_line_that_is_too_long_for_one_is_not_for_another() -> None:
    async def wait() -> None:
        line = WaitingLine(1, 1)
        while line.expected_wait_seconds(Priority.UPLOAD) <= 1:
            line.join(job("a"))
        with pytest.raises(Overloaded):
            line.join(job("a"))
        line.join(job("b"))
        assert line.expected_wait_seconds(Priority.VIEW) > 1
        for _ in range(12):
            await line.next()
        assert line.expected_wait_seconds(Priority.BACKGROUND) == 0

    asyncio.run(wait())


WORDS = {
    "unable to copy to memory\nglib: Error creating thread: Resource temporarily unavailable": Overloaded,
    "can't start new thread": Overloaded,
    "write error\nsystem error: No space left on device": StorageFull,
    "VipsJpeg: premature end of JPEG image": UnsupportedFormat,
}


@pytest.mark.parametrize("words", WORDS)
def test_a_fault_of_the_system_is_not_the_pictures(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """What a worker says about an error, and what the caller hears of it."""

    def fail(*_arguments: object) -> None:
        raise RuntimeError(words)

    async def outcome() -> BaseException | None:
        asked = job("a")
        (answer,) = worker._answer({"paths": []}, None, Limits(1024, 250, 0))
        asked.settle(answer)
        return asked.answer.exception()

    monkeypatch.setattr(worker, "_run", fail)
    assert type(asyncio.run(outcome())) is WORDS[words]
