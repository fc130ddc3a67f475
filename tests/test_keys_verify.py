"""`imgpro-lite keys verify`: a space becomes the verified team of its address, or joins that team."""

import time
from typing import Any

import pytest
from commands import authorization, fail_keys, make_key, run_keys
from conftest import Api
from images import make_image
from wire import check_refusal, stored_blobs, used

PICTURE = make_image("png", 8, 6)
OTHER = make_image("png", 9, 6)
DAY = 86_400


@pytest.fixture(autouse=True)
def _today(api: Api) -> None:
    # The command goes by the real time, so the server must do so too.
    api.clock.at = int(time.time())


def new_key(api: Api) -> tuple[str, dict[str, str]]:
    """An unverified key: its id, and the headers that use it."""
    made = api.client.post("/v1/keys", json={"email": "dev@example.com"}).json()
    return made["key_id"], authorization(made)


def team_key(api: Api, *options: str) -> dict[str, str]:
    """A key of the verified team of the same address."""
    return authorization(make_key(api.data_dir, "--verified", "--plan", "free", *options, email="dev@example.com"))


def read(api: Api, image: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    return api.client.get(f"/v1/media/{image['id']}", headers=headers)


def test_the_first_verified_key_becomes_the_team_of_its_address(api: Api) -> None:
    key_id, headers = new_key(api)
    image = api.upload(PICTURE, headers, external_id="one").json()
    assert image["expires_at"] == api.clock.at + 30 * DAY
    assert "dev@example.com" in run_keys(api.data_dir, "verify", key_id)
    del image["expires_at"]
    assert read(api, image, headers).json() == image
    assert "expires_at" not in api.upload(OTHER, headers).json()
    api.clock.advance(days=31)
    assert read(api, image, headers).json() == image
    assert api.client.post("/v1/keys", json={}, headers=headers).json()["verified"] is True
    code, message = fail_keys(api.data_dir, "verify", key_id)
    assert (code, "verified already" in message) == (1, True)


def test_a_key_joins_the_team_that_its_address_has(api: Api) -> None:
    team, (key_id, joining) = team_key(api), new_key(api)
    own = api.upload(PICTURE, team, public="false").json()
    image = api.upload(OTHER, joining, public="false", tags="a", author="Jane").json()
    assert own["src"].split("/")[3] != image["src"].split("/")[3]
    run_keys(api.data_dir, "verify", key_id)
    del image["expires_at"]
    for headers in (team, joining):
        assert read(api, image, headers).json() == image
        assert read(api, own, headers).json() == own
    assert api.fetch(image["src"]).content == OTHER
    # New images of the key have the team's hash; the old URL stays as it was (decision 4).
    assert api.upload(OTHER, joining).json()["src"].split("/")[3] == own["src"].split("/")[3]


def test_usage_is_added_and_never_refused(api: Api) -> None:
    team, (key_id, joining) = team_key(api), new_key(api)
    for _ in range(3):
        api.upload(PICTURE, team)
    for _ in range(2):
        api.upload(OTHER, joining)
    run_keys(api.data_dir, "verify", key_id)
    expected = (5, 3 * len(PICTURE) + 2 * len(OTHER))
    assert used(api, team) == expected
    assert used(api, joining) == expected
    assert len(stored_blobs(api)) == 2


@pytest.mark.parametrize(
    ("team_at", "joining_at", "uploads"), [(-40 * DAY, 0, 1), (0, -40 * DAY, 1), (-40 * DAY, -40 * DAY, 0)]
)
def test_uploads_of_an_earlier_month_are_not_added(api: Api, team_at: int, joining_at: int, uploads: int) -> None:
    now = api.clock.at
    team, (key_id, joining) = team_key(api), new_key(api)
    for headers, moment in ((team, team_at), (joining, joining_at)):
        api.clock.at = now + moment
        assert api.upload(PICTURE, headers).status_code == 201
    api.clock.at = now
    run_keys(api.data_dir, "verify", key_id)
    assert used(api, team)[0] == uploads


def test_an_external_id_that_the_team_uses_is_dropped_from_the_joining_image(api: Api) -> None:
    team, (key_id, joining) = team_key(api), new_key(api)
    own = api.upload(PICTURE, team, external_id="same").json()
    clash = api.upload(OTHER, joining, external_id="same").json()
    other = api.upload(OTHER, joining, external_id="other").json()
    run_keys(api.data_dir, "verify", key_id)
    assert read(api, own, team).json()["external_id"] == "same"
    assert "external_id" not in read(api, clash, team).json()
    assert read(api, other, team).json()["external_id"] == "other"
    body = check_refusal(api.upload(OTHER, joining, external_id="same"), 409, "duplicate")
    assert body["media"]["id"] == own["id"]


def test_an_external_id_of_an_expired_image_of_the_team_is_no_clash(api: Api) -> None:
    team, (key_id, joining) = team_key(api), new_key(api)
    api.clock.advance(days=-1)
    api.upload(PICTURE, team, external_id="same", ttl="1h")
    api.clock.advance(days=1)
    image = api.upload(OTHER, joining, external_id="same").json()
    run_keys(api.data_dir, "verify", key_id)
    assert read(api, image, team).json()["external_id"] == "same"


@pytest.mark.parametrize("with_team", [False, True])
def test_a_ttl_stays(api: Api, with_team: bool) -> None:
    key_id, headers = new_key(api)
    if with_team:
        team_key(api)
    short = api.upload(PICTURE, headers, ttl="7d").json()
    long = api.upload(PICTURE, headers, ttl="60d").json()
    assert (short["expires_at"], long["expires_at"]) == (api.clock.at + 7 * DAY, api.clock.at + 30 * DAY)
    run_keys(api.data_dir, "verify", key_id)
    assert read(api, short, headers).json()["expires_at"] == api.clock.at + 7 * DAY
    assert read(api, long, headers).json()["expires_at"] == api.clock.at + 60 * DAY


@pytest.mark.parametrize("with_team", [False, True])
def test_an_image_that_expired_before_does_not_come_back(api: Api, with_team: bool) -> None:
    key_id, headers = new_key(api)
    if with_team:
        team_key(api)
    api.clock.advance(days=-31)
    expired = api.upload(PICTURE, headers).json()
    api.clock.advance(days=31)
    check_refusal(read(api, expired, headers), 404, "not_found")
    run_keys(api.data_dir, "verify", key_id)
    check_refusal(read(api, expired, headers), 404, "not_found")
    check_refusal(api.fetch(expired["src"]), 404, "not_found")


def test_other_spaces_of_the_address_stay_apart(api: Api) -> None:
    (key_id, headers), (_, other) = new_key(api), new_key(api)
    private = api.upload(PICTURE, other, public="false").json()
    run_keys(api.data_dir, "verify", key_id)
    check_refusal(read(api, private, headers), 404, "not_found")
    assert read(api, private, other).json()["expires_at"] == private["expires_at"]


def test_a_verified_address_may_have_new_keys_again(api: Api) -> None:
    keys = [new_key(api) for _ in range(3)]
    check_refusal(api.client.post("/v1/keys", json={"email": "dev@example.com"}), 403, "key_limit_reached")
    for key_id, _ in keys:
        run_keys(api.data_dir, "verify", key_id)
    assert api.client.post("/v1/keys", json={"email": "dev@example.com"}).json()["verified"] is False
