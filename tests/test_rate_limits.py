"""Rate limits: uploads without a key by hour and day, requests of one key, and whose address counts."""

from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image
from shared import serve
from wire import check_refusal, client_at, nothing_is_stored

PICTURE = make_image("png", 8, 6)
HOUR_ENDS_AT = 1_700_002_800  # of the clock's 1_700_000_000
DAY_STARTS_AT = 1_699_920_000
DAY = 86_400


def rate_headers(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}


def attempt(api: Api) -> Any:
    """The cheapest upload: one without a file. It counts as any other."""
    return api.client.post("/v1/upload")


def test_20_uploads_in_an_hour(api: Api) -> None:
    for number in range(1, 21):
        answer = api.upload(PICTURE) if number % 10 == 0 else attempt(api)
        assert answer.status_code == (201 if number % 10 == 0 else 400)
        assert rate_headers(answer) == {
            "x-ratelimit-limit": "20",
            "x-ratelimit-remaining": str(20 - number),
            "x-ratelimit-reset": str(HOUR_ENDS_AT),
            "x-ratelimit-limit-daily": "100",
            "x-ratelimit-remaining-daily": str(100 - number),
        }
    for moment in (api.clock.at, HOUR_ENDS_AT - 1):
        api.clock.at = moment
        answer = api.upload(PICTURE)
        body = check_refusal(answer, 429, "rate_limited")
        assert body["action"] == {"type": "wait", "seconds": HOUR_ENDS_AT - moment}
        assert answer.headers["retry-after"] == str(HOUR_ENDS_AT - moment)
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert answer.headers["x-ratelimit-reset"] == str(HOUR_ENDS_AT)
    api.clock.at = HOUR_ENDS_AT
    answer = api.upload(PICTURE)
    assert answer.status_code == 201
    assert answer.headers["x-ratelimit-remaining"] == "19"
    assert answer.headers["x-ratelimit-reset"] == str(HOUR_ENDS_AT + 3600)


def test_100_uploads_in_a_day(api: Api) -> None:
    for hour in range(5):
        api.clock.at = DAY_STARTS_AT + hour * 3600
        for _ in range(20):
            assert attempt(api).status_code == 400
    api.clock.at += 3600
    answer = attempt(api)
    body = check_refusal(answer, 429, "rate_limited")
    assert body["action"]["seconds"] == DAY_STARTS_AT + DAY - api.clock.at
    assert answer.headers["retry-after"] == str(body["action"]["seconds"])
    assert answer.headers["x-ratelimit-remaining-daily"] == "0"
    api.clock.at = DAY_STARTS_AT + DAY
    assert attempt(api).headers["x-ratelimit-remaining-daily"] == "99"


def test_refused_attempts_count_for_the_day(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 2, "anonymous_uploads_per_day": 4})
    api.clock.at = DAY_STARTS_AT
    assert [attempt(api).status_code for _ in range(4)] == [400, 400, 429, 429]
    api.clock.at += 3600
    assert check_refusal(attempt(api), 429, "rate_limited")["action"]["seconds"] == DAY - 3600


def test_uploads_with_a_key_are_not_counted(api: Api) -> None:
    headers = api.new_key()
    for _ in range(21):
        answer = api.client.post("/v1/upload", headers=headers)
        check_refusal(answer, 400, "missing_file")
    assert rate_headers(answer) == {}
    assert attempt(api).headers["x-ratelimit-remaining"] == "19"


def test_the_counts_survive_a_restart(start: ApiFactory) -> None:
    api = start()
    for _ in range(20):
        attempt(api)
    api = start()
    answer = attempt(api)
    check_refusal(answer, 429, "rate_limited")
    assert answer.headers["x-ratelimit-remaining-daily"] == "79"
    api.clock.at = HOUR_ENDS_AT
    assert attempt(start()).status_code == 400


def test_without_an_hourly_limit(start: ApiFactory) -> None:
    api = start(limits={"anonymous_uploads_per_hour": 0})
    assert set(rate_headers(attempt(api))) == {"x-ratelimit-limit-daily", "x-ratelimit-remaining-daily"}


def test_anonymous_uploads_that_are_switched_off(start: ApiFactory) -> None:
    api = start(anonymous={"enabled": False})
    answer = api.upload(PICTURE)
    check_refusal(answer, 401, "unauthorized")
    assert nothing_is_stored(api)
    headers = authorization(make_key(api.data_dir, "--verified"))
    image = api.upload(PICTURE, headers).json()
    assert api.client.get(f"/v1/media/{image['id']}").status_code == 200


def test_requests_of_one_key_in_a_minute(start: ApiFactory) -> None:
    api = start(limits={"requests_per_key_per_minute": 2})
    mine, other = api.new_key(), api.new_key()
    image = api.upload(PICTURE, mine).json()
    assert api.client.get(f"/v1/media/{image['id']}", headers=mine).status_code == 200
    answer = api.client.get(f"/v1/media/{image['id']}", headers=mine)
    seconds = 60 - api.clock.at % 60
    assert check_refusal(answer, 429, "rate_limited")["action"] == {"type": "wait", "seconds": seconds}
    assert answer.headers["retry-after"] == str(seconds)
    assert api.client.get(f"/v1/media/{image['id']}", headers=other).status_code == 200
    api.clock.advance(seconds=seconds)
    assert api.upload(PICTURE, mine).status_code == 201


# ── whose address counts ──


def remaining(api: Api, peer: str, *forwarded_for: str) -> int:
    """What an address has left after one more attempt."""
    headers = [("X-Forwarded-For", value) for value in forwarded_for]
    answer = client_at(api, peer).post("/v1/upload", headers=headers)
    return int(answer.headers["x-ratelimit-remaining"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
        ("2001:DB8::1", "2001:0db8::0001"),
    ],
)
def test_addresses_that_are_the_same(api: Api, first: str, second: str) -> None:
    assert (remaining(api, first), remaining(api, second)) == (19, 18)


@pytest.mark.parametrize(
    ("first", "second"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "::192.0.2.1")]
)
def test_addresses_that_are_not(api: Api, first: str, second: str) -> None:
    assert (remaining(api, first), remaining(api, second)) == (19, 19)


def test_forwarded_addresses_are_not_believed_from_anybody(api: Api) -> None:
    for number in range(3):
        headers = {"X-Real-IP": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
        client_at(api, "127.0.0.1").post("/v1/upload", headers=headers)
        left = remaining(api, "127.0.0.1", f"198.51.100.{number}")
    assert left == 20 - 6


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # only what our proxy added is believed
        (["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7, 10.9.9.9"], "198.51.100.7"),  # two proxies of ours
        (["198.51.100.7,10.9.9.9,\t10.8.8.8"], "198.51.100.7"),
        (["2001:db8::5"], "2001:db8::1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["10.9.9.9"], "10.9.9.9"),
        ([], "10.0.0.1"),
        (["garbage"], "10.0.0.1"),
        (["198.51.100.7, garbage"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["_hidden"], "10.0.0.1"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:db8::5]:4711"], "2001:db8::1"),
        (["[2001:db8::5]"], "2001:db8::1"),
        (["2001:db8::5%eth0"], "2001:db8::1"),
        (["::ffff:10.9.9.9"], "10.9.9.9"),
        (["198.51.100.7, ::ffff:10.9.9.9"], "198.51.100.7"),
        (["198.51.100.7", "unknown", "10.9.9.9"], "10.9.9.9"),
        (["198.51.100.7, 127.0.0.1"], "127.0.0.1"),  # this machine is no proxy unless the settings say so
        (["999.1.1.1"], "10.0.0.1"),
    ],
)
def test_behind_a_trusted_proxy(behind_proxy: Api, forwarded_for: list[str], client: str) -> None:
    assert remaining(behind_proxy, "10.0.0.1", *forwarded_for) == 19
    assert remaining(behind_proxy, client) == 18


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    limits = {"anonymous_uploads_per_hour": 20, "anonymous_uploads_per_day": 100}
    with serve(tmp_path_factory.mktemp("proxied"), limits=limits, server={"trusted_proxies": ["10.0.0.0/8"]}) as api:
        yield api


@pytest.fixture
def behind_proxy(proxied: Api) -> Api:
    """A server behind a proxy, on a new day."""
    proxied.clock.advance(days=1)
    return proxied


def test_a_peer_that_is_no_trusted_proxy_is_itself(start: ApiFactory) -> None:
    api = start(server={"trusted_proxies": ["10.0.0.0/8"]})
    assert remaining(api, "192.0.2.1", "198.51.100.7") == 19
    assert remaining(api, "192.0.2.1", "198.51.100.8") == 18


def test_keys_are_limited_by_the_forwarded_address(start: ApiFactory) -> None:
    api = start(server={"trusted_proxies": ["10.0.0.0/8"]}, limits={"keys_per_ip_per_hour": 1})

    def ask(forwarded_for: str) -> int:
        headers = {"X-Forwarded-For": forwarded_for}
        return client_at(api, "10.0.0.1").post("/v1/keys", json={"email": "a@example.com"}, headers=headers).status_code

    assert [ask("198.51.100.7"), ask("198.51.100.7"), ask("198.51.100.8")] == [201, 429, 201]
