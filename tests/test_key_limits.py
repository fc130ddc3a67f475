"""POST /v1/keys: how many keys an address may have and ask for, and a registration that is closed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from conftest import Api, ApiFactory, FakeClock
from wire import check_refusal, client_at

HOUR_ENDS_AT = 1_700_002_800  # of the clock's 1_700_000_000


def ask(api: Api, email: Any = "dev@example.com", **headers: str) -> Any:
    return api.client.post("/v1/keys", json={"email": email}, headers=headers)


def check_rate_limited(answer: Any, clock: FakeClock) -> None:
    """A refusal that says when the clock hour ends."""
    body = check_refusal(answer, 429, "rate_limited")
    seconds = HOUR_ENDS_AT - clock.at
    assert body["action"] == {"type": "wait", "seconds": seconds}
    assert answer.headers["retry-after"] == str(seconds)


def test_a_fourth_unverified_key_is_refused(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://pics.example.com/img"})
    for _ in range(3):
        assert ask(api).status_code == 201
    answer = ask(api, Host="evil.example", **{"X-Forwarded-Host": "evil.example"})
    body = check_refusal(answer, 403, "key_limit_reached")
    action = body["action"]
    assert set(action) == {"type", "url", "label"}
    assert action["type"] == "verify"
    assert action["label"]
    url = urlsplit(action["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://pics.example.com/img/verify/resend"
    assert url.query.startswith("t=")
    assert "evil" not in answer.text
    assert "dev@example.com" not in answer.text
    assert ask(api, "other@example.com").status_code == 201


def test_keys_of_the_last_30_days_count(api: Api) -> None:
    for _ in range(3):
        assert ask(api).status_code == 201
    api.clock.advance(days=30, seconds=-1)
    check_refusal(ask(api), 403, "key_limit_reached")
    api.clock.advance(seconds=1)
    assert ask(api).status_code == 201


def test_further_keys_of_an_unverified_team_count_as_well(api: Api) -> None:
    mine = api.new_key()
    for _ in range(2):
        assert api.client.post("/v1/keys", json={}, headers=mine).status_code == 201
    check_refusal(api.client.post("/v1/keys", json={}, headers=mine), 403, "key_limit_reached")


def test_parallel_requests_never_exceed_the_limit(start: ApiFactory) -> None:
    api = start(limits={"keys_per_email_per_hour": 0})
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: ask(api), range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [403] * 17


def test_a_limit_of_0_is_none(start: ApiFactory) -> None:
    api = start(limits={"unverified_keys_per_email": 0, "keys_per_email_per_hour": 0, "keys_per_ip_per_hour": 0})
    assert [ask(api).status_code for _ in range(25)] == [201] * 25


def test_a_sixth_attempt_for_one_address_in_an_hour_is_refused(api: Api) -> None:
    assert [ask(api).status_code for _ in range(5)] == [201, 201, 201, 403, 403]
    check_rate_limited(ask(api, " DEV@example.com"), api.clock)
    assert ask(api, "other@example.com").status_code == 201
    api.clock.at = HOUR_ENDS_AT - 1
    check_rate_limited(ask(api), api.clock)
    api.clock.at = HOUR_ENDS_AT
    check_refusal(ask(api), 403, "key_limit_reached")


def test_the_limit_of_an_address_counts_every_client(api: Api) -> None:
    for host in range(5):
        client_at(api, f"192.0.2.{host}").post("/v1/keys", json={"email": "dev@example.com"})
    answer = client_at(api, "192.0.2.9").post("/v1/keys", json={"email": "dev@example.com"})
    check_rate_limited(answer, api.clock)


def test_a_21st_attempt_of_one_client_in_an_hour_is_refused(api: Api) -> None:
    for number in range(20):
        assert ask(api, f"dev{number}@example.com").status_code == 201
    check_rate_limited(ask(api, "another@example.com"), api.clock)
    answer = client_at(api, "192.0.2.1").post("/v1/keys", json={"email": "another@example.com"})
    assert answer.status_code == 201
    api.clock.at = HOUR_ENDS_AT
    assert ask(api, "yet.another@example.com").status_code == 201


def test_refused_attempts_count_for_the_client(api: Api) -> None:
    for _ in range(10):
        check_refusal(ask(api, "wrong"), 422, "validation_error")
        check_refusal(api.client.post("/v1/keys", content=b"{"), 400, "bad_request")
    check_rate_limited(ask(api), api.clock)


def test_the_limits_survive_a_restart(start: ApiFactory) -> None:
    api = start()
    for _ in range(5):
        ask(api)
    api = start()
    check_rate_limited(ask(api), api.clock)


def test_a_closed_registration(start: ApiFactory) -> None:
    mine = start().new_key()
    api = start(server={"registration_closed": True, "public_url": "https://pics.example.com"})
    body = check_refusal(ask(api, Host="evil.example"), 403, "registration_closed")
    assert body["action"]["type"] == "redirect"
    assert body["action"]["url"] == "https://pics.example.com/dashboard"
    # A caller who has a key is no stranger.
    assert api.client.post("/v1/keys", json={}, headers=mine).status_code == 201
