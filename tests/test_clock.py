"""Time comes from one clock: months and windows at their second, and clocks that jump, without an error."""

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_image
from library import Headers, add, check_counts, check_files, list_ids, list_page, owner, picture, sweep_now
from wire import check_refusal, stored_blobs

from imgpro_lite.store.cache import FAILURE_SECONDS, VariantCache

HOUR = 3600
DAY = 86_400
YEAR = 365 * DAY
PACKAGE = Path(__file__).parent.parent / "imgpro_lite"

# Wall clocks: what `clock.py` is for. `time.monotonic` and `time.perf_counter` are for deadlines and durations.
WALL_CLOCK = re.compile(
    r"\btime\.(?:time|time_ns|gmtime|localtime|ctime)\(|\bdatetime\.(?:now|utcnow|today)\(|date\.today\("
)


# What belongs to the machine, whatever time the server is in: its log, and the times of its files.
OF_THE_MACHINE = {"logs.py", "store/cache_files.py", "store/cache.py", "store/temporary_dir.py"}


def test_only_the_clock_reads_the_wall_clock() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if WALL_CLOCK.search(path.read_text())
    }
    assert found - OF_THE_MACHINE == {"clock.py"}


# ── months, hours, days ──


def one_upload(**sections: Any) -> dict[str, Any]:
    return {"plans": {"free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 5}}, **sections}


@pytest.mark.parametrize(
    "begins_at",
    [
        1_704_067_200,  # 2024-01-01, after December 31
        pytest.param(1_706_745_600, marks=pytest.mark.slow),  # 2024-02-01
        pytest.param(1_709_251_200, marks=pytest.mark.slow),  # 2024-03-01, after February 29
        pytest.param(1_740_787_200, marks=pytest.mark.slow),  # 2025-03-01, after February 28
        pytest.param(2_148_595_200, marks=pytest.mark.slow),  # 2038-02-01, the first after 32 bits
        4_107_542_400,  # 2100-03-01, after February 28: no leap year
    ],
)
def test_a_month_begins_at_its_second(start: ApiFactory, begins_at: int) -> None:
    api = start(**one_upload())
    headers = owner(api, "--plan", "free")
    api.clock.at = begins_at - 1
    assert api.upload(picture(), headers).status_code == 201
    body = check_refusal(api.upload(picture(), headers), 413, "quota_exceeded")
    assert body["action"] == {"type": "wait", "seconds": 1}
    assert api.client.get("/v1/usage", headers=headers).json()["resets_at"] == begins_at
    api.clock.at = begins_at
    usage = api.client.get("/v1/usage", headers=headers).json()
    assert (usage["uploads_used"], usage["uploads_remaining"]) == (0, 1)
    answer = api.upload(picture(), headers)
    assert (answer.status_code, answer.headers["x-monthly-uploads-used"]) == (201, "1")
    check_refusal(api.upload(picture(), headers), 413, "quota_exceeded")


@pytest.mark.parametrize(
    ("limit", "begins_at", "before_that"),
    [
        ("anonymous_uploads_per_hour", 1_700_002_800, HOUR),
        ("anonymous_uploads_per_day", 1_700_006_400, DAY),  # midnight, UTC
        ("anonymous_uploads_per_day", 1_709_164_800, DAY),  # of February 29
    ],
)
def test_a_window_begins_at_its_second(start: ApiFactory, limit: str, begins_at: int, before_that: int) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 0, "anonymous_uploads_per_day": 0, limit: 1})
    for at in (begins_at - before_that, begins_at):
        api.clock.at = at
        assert api.upload(picture()).status_code == 201
        for later in (at, at + before_that - 1):
            api.clock.at = later
            body = check_refusal(api.upload(picture()), 429, "rate_limited")
            assert body["action"]["seconds"] == at + before_that - later


# ── a clock that jumps ──

JUMPS = [-1, -HOUR, -DAY, -YEAR, -50 * YEAR, HOUR, DAY, YEAR, 20 * YEAR]


@pytest.mark.slow
@pytest.mark.parametrize("jump", JUMPS)
def test_whatever_the_clock_does_requests_are_answered(api: Api, jump: int) -> None:
    headers = owner(api, "--plan", "pro")
    content = make_image("jpeg", 700, 500)
    shown = api.upload(content, headers, tags="a", namespace="ns").json()
    assert api.fetch(f"{shown['src']}?size=s").status_code == 200
    cursor = list_page(api, headers, limit=1)
    assert cursor["has_more"] is False
    deleted = add(api, headers)["id"]
    api.client.delete(f"/v1/media/{deleted}", headers=headers)
    assert api.upload(picture()).status_code == 201
    api.clock.advance(seconds=jump)
    sweep_now(api)
    assert list_ids(api, headers, tags="a") == [shown["id"]]
    for address in (shown["src"], f"{shown['src']}?size=s", f"{shown['src']}?size=m"):
        answer = api.fetch(address)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=86400")
    usage = api.client.get("/v1/usage", headers=headers).json()
    assert usage["storage_used_bytes"] == len(content)
    assert usage["uploads_used"] in (0, 2)  # those of the month that the clock shows
    assert 0 < usage["resets_at"] - api.clock.at <= 31 * DAY
    again = api.upload(picture(), headers, ttl="1h").json()
    assert again["expires_at"] == api.clock.at + HOUR
    assert api.upload(picture()).headers["x-ratelimit-reset"] == str(api.clock.at - api.clock.at % HOUR + HOUR)
    assert api.client.post("/v1/keys", json={"email": "a@example.com"}).status_code == 201
    assert api.client.get("/healthz").status_code == 200
    check_counts(api.data_dir)
    check_files(api.data_dir)


@pytest.mark.parametrize("back", [HOUR, DAY, YEAR])
def test_no_bytes_go_early_when_the_clock_is_set_back(api: Api, back: int) -> None:
    headers = owner(api)
    deleted, ends = add(api, headers), api.upload(picture(1), headers, ttl="1h").json()
    api.client.delete(f"/v1/media/{deleted['id']}", headers=headers)
    deleted_at = api.clock.at
    api.clock.advance(seconds=HOUR)
    assert sweep_now(api).expired == 1
    api.clock.advance(seconds=-back)
    # A week on the clock that was set back is no week after the deletion yet.
    for at in (api.clock.at, api.clock.at + 7 * DAY - 1, deleted_at + 7 * DAY - 1):
        api.clock.at = min(at, deleted_at + 7 * DAY - 1)
        assert sweep_now(api).purged == 0
        assert len(stored_blobs(api)) == 2
    check_files(api.data_dir)
    api.clock.at = deleted_at + 7 * DAY
    assert sweep_now(api).purged == 1
    api.clock.at = deleted_at + HOUR + 7 * DAY
    assert sweep_now(api).purged == 1
    assert stored_blobs(api) == []
    assert api.client.get(f"/v1/media/{ends['id']}", headers=headers).status_code == 404


def test_what_a_clock_that_was_a_year_ahead_has_ended_keeps_its_bytes(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, ttl="1h")
    api.clock.advance(seconds=YEAR)
    assert sweep_now(api).expired == 1
    api.clock.advance(seconds=-YEAR)
    for days in (0, 7, 300):
        api.clock.advance(days=days)
        assert sweep_now(api).purged == 0
    assert len(stored_blobs(api)) == 1
    assert api.fetch(shown["src"]).status_code == 404  # until the operator restores it


def test_quotas_and_windows_of_a_clock_that_is_set_back(start: ApiFactory) -> None:
    """Each is that of the month, or the hour, which the clock shows: nobody waits for a future that was never there."""
    api = start(**one_upload(limits={"anonymous_uploads_per_hour": 1, "anonymous_uploads_per_day": 0}))
    headers = owner(api, "--plan", "free")

    def upload_twice(sender: Headers | None, code: str) -> None:
        assert api.upload(picture(), sender).status_code == 201
        assert api.upload(picture(), sender).json()["error"] == code

    for jump in (0, YEAR, -YEAR, -YEAR, 2 * YEAR):
        api.clock.advance(seconds=jump)
        upload_twice(headers, "quota_exceeded")
        upload_twice(None, "rate_limited")
    api = start(**one_upload(limits={"anonymous_uploads_per_hour": 1, "anonymous_uploads_per_day": 0}))
    assert api.upload(picture()).json()["error"] == "rate_limited"  # saved as it was
    api.clock.advance(seconds=-YEAR)
    upload_twice(None, "rate_limited")
    check_counts(api.data_dir)


def test_a_failure_is_not_remembered_longer_because_the_clock_was_set_back(tmp_path: Path) -> None:
    cache = VariantCache(tmp_path / "cache", 1000)
    cache.remember_failure("x", 1_700_000_000)
    assert cache.is_known_failure("x", 1_700_000_000 + FAILURE_SECONDS - 1)
    assert not cache.is_known_failure("x", 1_700_000_000 - 1)


@pytest.mark.parametrize(
    "at",
    [2_147_483_648, *[pytest.param(at, marks=pytest.mark.slow) for at in (2**31 - 2, 2**31 - 1, 2**32)]],
)
def test_times_past_32_bits(api: Api, at: int) -> None:
    api.clock.at = at
    headers = owner(api, "--plan", "pro")
    shown = add(api, headers, ttl="1h", date=str(at))
    assert (shown["created_at"], shown["date"], shown["expires_at"]) == (at, at, at + HOUR)
    assert add(api, headers, ttl="36500d")["expires_at"] == at + 36_500 * DAY
    api.clock.advance(seconds=HOUR)
    assert shown["id"] not in list_ids(api, headers)
    assert sweep_now(api).expired == 1
    api.clock.advance(days=7)
    assert sweep_now(api).purged == 1
    check_counts(api.data_dir)
