"""Quotas: a month's uploads and the storage of a team, and what strangers may store together."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image
from pydantic import ValidationError
from wire import check_refusal, nothing_is_stored, stored_blobs, used

from imgpro_lite import links
from imgpro_lite.settings import DEFAULT_PLANS, Settings
from imgpro_lite.store.data_dir import load_secrets

PICTURE = make_image("png", 8, 6)
MB = 1024 * 1024
MONTH_ENDS_AT = 1_701_388_800  # 2023-12-01, for the clock's 1_700_000_000
PRO = {"label": "Pro", "uploads_per_month": 1000, "storage_mb": 50, "price_usd_per_month": 10}
LIMIT_HEADERS = ("x-monthly", "x-storage", "x-ratelimit")


def plans(uploads: int = 0, storage_mb: int = 0, **others: Any) -> dict[str, Any]:
    return {"free": {"label": "Free", "uploads_per_month": uploads, "storage_mb": storage_mb}, **others}


def padded(size_bytes: int) -> bytes:
    return PICTURE + bytes(size_bytes - len(PICTURE))


def limit_headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(LIMIT_HEADERS)}


def verified(api: Api, plan: str = "free") -> dict[str, str]:
    return authorization(make_key(api.data_dir, "--verified", "--plan", plan))


# ── uploads in a month ──


def test_the_monthly_limit(start: ApiFactory) -> None:
    api = start(plans=plans(2, 5, pro=PRO), server={"public_url": "https://pics.example.com"})
    headers = verified(api)
    for remaining in (1, 0):
        answer = api.upload(PICTURE, headers)
        assert answer.status_code == 201
        assert answer.headers["x-monthly-uploads-remaining"] == str(remaining)
    answer = api.upload(PICTURE, {**headers, "Host": "evil.example"})
    body = check_refusal(answer, 413, "quota_exceeded")
    assert body["message"] == "Monthly upload limit reached."
    assert body["usage"] == {
        "plan": "free",
        "uploads_used": 2,
        "uploads_limit": 2,
        "storage_used_bytes": 2 * len(PICTURE),
        "storage_limit_bytes": 5 * MB,
    }
    assert set(body["action"]) == {"type", "url", "label"}
    assert body["action"]["type"] == "upgrade"
    assert body["action"]["label"] == "Upgrade to Pro ($10/mo) for 1,000 uploads"
    assert "retry-after" not in answer.headers
    assert limit_headers(answer) == {
        "x-monthly-uploads-used": "2",
        "x-monthly-uploads-limit": "2",
        "x-monthly-uploads-remaining": "0",
        "x-storage-used": str(2 * len(PICTURE)),
        "x-storage-limit": str(5 * MB),
        "x-storage-remaining": str(5 * MB - 2 * len(PICTURE)),
    }


def test_the_upgrade_link_is_signed_for_its_purpose(start: ApiFactory) -> None:
    api = start(plans=plans(1, 5, pro=PRO), server={"public_url": "https://pics.example.com/img"})
    headers = verified(api)
    api.upload(PICTURE, headers)
    url = urlsplit(api.upload(PICTURE, headers).json()["action"]["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://pics.example.com/img/upgrade/pro"
    (token,) = parse_qs(url.query, strict_parsing=True)["t"]
    ours = links.Links(load_secrets(api.data_dir), api.clock)
    assert ours.load(links.UPGRADE, token, max_age_seconds=60)["plan"] == "pro"
    for purpose in (links.VERIFY, links.VERIFY_RESEND):
        with pytest.raises(links.InvalidLink):
            ours.load(purpose, token, max_age_seconds=60)


@pytest.mark.parametrize(
    ("plan", "label"),
    [
        ("free", "Upgrade to Pro ($10/mo) for 1,000 uploads"),
        ("pro", "Upgrade to Scale ($49/mo) for 10,000 uploads"),
        ("scale", "Upgrade to Max ($299/mo) for 100,000 uploads"),
    ],
)
def test_the_next_plan_is_offered(start: ApiFactory, plan: str, label: str) -> None:
    # The plans of the contract, but with little storage, because that is quickly full.
    storage_mb = {name: number for number, name in enumerate(DEFAULT_PLANS, start=1)}
    api = start(
        plans={name: {**known.model_dump(), "storage_mb": storage_mb[name]} for name, known in DEFAULT_PLANS.items()}
    )
    body = check_refusal(api.upload(padded(storage_mb[plan] * MB + 1), verified(api, plan)), 413, "quota_exceeded")
    assert body["usage"]["plan"] == plan
    assert body["action"]["label"] == label


def test_a_plan_that_is_not_offered_is_skipped(start: ApiFactory) -> None:
    secret = {"label": "Secret", "uploads_per_month": 500, "storage_mb": 50, "offered": False}
    api = start(plans=plans(1, 5, secret=secret, pro=PRO))
    headers = verified(api)
    api.upload(PICTURE, headers)
    action = check_refusal(api.upload(PICTURE, headers), 413, "quota_exceeded")["action"]
    assert action["label"].startswith("Upgrade to Pro ")


def test_the_largest_plan_waits_for_the_next_month(start: ApiFactory) -> None:
    api = start(plans=plans(1, 5))
    headers = verified(api)
    assert api.upload(PICTURE, headers).status_code == 201
    answer = api.upload(PICTURE, headers)
    body = check_refusal(answer, 413, "quota_exceeded")
    seconds = MONTH_ENDS_AT - api.clock.at
    assert body["action"] == {"type": "wait", "seconds": seconds}
    assert answer.headers["retry-after"] == str(seconds)


def test_a_month_ends_at_its_last_second(start: ApiFactory) -> None:
    api = start(plans=plans(1, 5))
    headers = verified(api)
    assert api.upload(PICTURE, headers).status_code == 201
    api.clock.at = MONTH_ENDS_AT - 1
    check_refusal(api.upload(PICTURE, headers), 413, "quota_exceeded")
    api.clock.at = MONTH_ENDS_AT
    answer = api.upload(PICTURE, headers)
    assert answer.status_code == 201
    assert answer.headers["x-monthly-uploads-used"] == "1"
    assert answer.headers["x-storage-used"] == str(2 * len(PICTURE))  # storage does not reset


@pytest.mark.parametrize(("now", "ends_at"), [(1_709_164_800, 1_709_251_200), (1_704_067_199, 1_704_067_200)])
def test_the_ends_of_february_and_of_the_year(start: ApiFactory, now: int, ends_at: int) -> None:
    api = start(plans=plans(1, 5))
    api.clock.at = now  # 2024-02-29 00:00:00 and 2023-12-31 23:59:59
    headers = api.new_key()
    api.upload(PICTURE, headers)
    assert api.upload(PICTURE, headers).json()["action"]["seconds"] == ends_at - now


# ── storage ──


def test_the_storage_limit_is_used_to_its_last_byte(start: ApiFactory) -> None:
    api = start(plans=plans(100, 1, pro=PRO))
    headers = verified(api)
    assert api.upload(PICTURE, headers).status_code == 201
    left = MB - len(PICTURE)
    body = check_refusal(api.upload(padded(left + 1), headers), 413, "quota_exceeded")
    assert body["message"] == "Storage limit reached."
    assert body["usage"]["storage_used_bytes"] == len(PICTURE)
    assert body["action"]["type"] == "upgrade"
    assert used(api, headers) == (1, len(PICTURE))
    assert len(stored_blobs(api)) == 1
    answer = api.upload(padded(left), headers)
    assert answer.status_code == 201
    assert answer.headers["x-storage-remaining"] == "0"
    check_refusal(api.upload(PICTURE, headers), 413, "quota_exceeded")


def test_there_is_nothing_to_do_about_full_storage_on_the_largest_plan(start: ApiFactory) -> None:
    api = start(plans=plans(100, 1))
    answer = api.upload(padded(MB + 1), api.new_key())
    assert "action" not in check_refusal(answer, 413, "quota_exceeded")
    assert "retry-after" not in answer.headers


# ── many at once ──


def send_20(api: Api, headers: dict[str, str] | None, **fields: str) -> list[Any]:
    with ThreadPoolExecutor(20) as threads:
        return list(threads.map(lambda _: api.upload(PICTURE, headers, **fields), range(20)))


@pytest.mark.parametrize(("uploads", "fits"), [(3, 1), (100, 5)])
def test_parallel_uploads_never_exceed_a_quota(start: ApiFactory, uploads: int, fits: int) -> None:
    api = start(plans=plans(uploads, 1))
    headers = verified(api)
    for _ in range(2):
        assert api.upload(PICTURE, headers).status_code == 201
    if uploads == 100:  # room for five more, by storage
        assert api.upload(padded(MB - (2 + fits) * len(PICTURE)), headers).status_code == 201
    before = used(api, headers)
    answers = send_20(api, headers)
    assert sorted(answer.status_code for answer in answers) == [201] * fits + [413] * (20 - fits)
    assert used(api, headers) == (before[0] + fits, before[1] + fits * len(PICTURE))


def test_parallel_uploads_of_one_external_id(api: Api) -> None:
    answers = send_20(api, api.new_key(), external_id="sku-1")
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_parallel_uploads_never_exceed_a_rate_limit(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 7})
    assert sorted(answer.status_code for answer in send_20(api, None)) == [201] * 7 + [429] * 13


# ── without limits ──


def test_the_owners_plan_has_no_limits_and_no_headers(api: Api) -> None:
    headers = authorization(make_key(api.data_dir))
    for answer in (api.upload(PICTURE, headers), api.upload(b"", headers)):
        assert limit_headers(answer) == {}


def test_a_plan_with_limits_of_0_has_none(start: ApiFactory) -> None:
    api = start(plans=plans(0, 0), limits={"anonymous_uploads_per_hour": 0, "anonymous_uploads_per_day": 0})
    for headers in (api.new_key(), None):
        answer = api.upload(PICTURE, headers)
        assert answer.status_code == 201
        assert limit_headers(answer) == {}


def test_a_team_whose_plan_is_gone_is_on_the_smallest(start: ApiFactory) -> None:
    headers = verified(start(), "pro")
    answer = start(plans=plans(7, 1)).upload(PICTURE, headers)
    assert answer.headers["x-monthly-uploads-limit"] == "7"


def test_a_configuration_without_plans_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"plans": {}})


# ── strangers together, and the disk ──


def test_what_all_anonymous_images_may_take(start: ApiFactory) -> None:
    api = start(anonymous={"storage_mb": 1})
    assert api.upload(padded(MB - len(PICTURE))).status_code == 201
    check_refusal(api.upload(padded(len(PICTURE) + 1)), 413, "quota_exceeded")
    assert api.upload(PICTURE).status_code == 201
    answer = api.upload(PICTURE)
    body = check_refusal(answer, 413, "quota_exceeded")
    assert body["action"]["url"] == "http://localhost:4647/api/quick-start"
    assert answer.headers["x-ratelimit-remaining"] == "16"
    assert api.upload(PICTURE, api.new_key()).status_code == 201


def test_what_all_unverified_keys_may_take(start: ApiFactory) -> None:
    api = start(limits={"unverified_storage_mb": 1})
    first, second = api.new_key("a@example.com"), api.new_key("b@example.com")
    assert api.upload(padded(MB - len(PICTURE)), first).status_code == 201
    check_refusal(api.upload(padded(len(PICTURE) + 1), second), 413, "quota_exceeded")
    assert api.upload(PICTURE, second).status_code == 201
    for headers in (first, second):
        body = check_refusal(api.upload(PICTURE, headers), 413, "quota_exceeded")
        assert body["action"]["type"] == "verify"
        assert body["action"]["url"].startswith("http://localhost:4647/verify/resend?t=")
    for headers in (verified(api), None):
        assert api.upload(PICTURE, headers).status_code == 201


def test_a_disk_without_room(start: ApiFactory) -> None:
    api = start(storage={"min_free_mb": 2**40})
    for headers in (api.new_key(), None):
        answer = api.upload(PICTURE, headers)
        check_refusal(answer, 503, "storage_full")
        assert int(answer.headers["retry-after"]) > 0
        assert limit_headers(answer)
    assert nothing_is_stored(api)
