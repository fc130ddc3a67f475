"""Teams and keys over the control plane of dev mode: a test brings about in one request what it is about."""

from collections.abc import Iterator
from typing import Any

import pytest
from checking import check
from conftest import Api
from images import make_image
from mailing import read_outbox
from shared import serve

from imgpro_lite.dev.mode import DevMode

CHOSEN = "img_live_" + "Aa0" * 10 + "zZ"
FREE_STORAGE_BYTES = 5 * 1024**3


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(
        tmp_path_factory.mktemp("dev"),
        limits={"unverified_keys_per_email": 3, "unverified_storage_mb": 1},
        dev=DevMode(),
        upgrade={"mode": "apply"},
    ) as api:
        yield api


def make_key(dev: Api, email: str, **fields: Any) -> Any:
    answer = dev.client.post("/_dev/keys", json={"email": email, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(made: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['key']}"}


def change(dev: Api, team: str, **fields: Any) -> Any:
    answer = dev.client.patch(f"/_dev/teams/{team}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def usage(dev: Api, made: Any) -> Any:
    return dev.client.get("/v1/usage", headers=bearer(made)).json()


def follow(dev: Api, url: str) -> Any:
    return dev.client.get(url.removeprefix("http://localhost:4647"))


# ── keys ──


def test_a_key_is_free_and_unverified(dev: Api) -> None:
    made = make_key(dev, "New@Example.com")
    assert made == {
        "key": made["key"],
        "key_id": made["key_id"],
        "name": "Default",
        "abilities": ["read", "write"],
        "team": made["team"],
        "email": "new@example.com",
        "plan": "free",
        "verified": False,
        "verify_url": made["verify_url"],
    }
    shown = usage(dev, made)
    assert (shown["plan"], shown["verified"]) == ("free", False)
    assert follow(dev, made["verify_url"]).status_code == 200
    assert usage(dev, made)["verified"]


def test_a_key_as_it_is_wanted(dev: Api) -> None:
    made = make_key(dev, "wanted@example.com", key=CHOSEN, name="ci", plan="pro", verified=True, abilities=["read"])
    assert made["key"] == CHOSEN
    assert "verify_url" not in made
    assert usage(dev, made)["uploads_limit"] == 1000
    assert dev.upload(make_image("jpeg", 8, 8), bearer(made)).status_code == 403


def test_verified_keys_share_their_team(dev: Api) -> None:
    first = make_key(dev, "shared@example.com", verified=True, plan="pro")
    second = make_key(dev, "shared@example.com", verified=True)
    apart = make_key(dev, "shared@example.com")
    assert (second["team"], second["plan"]) == (first["team"], "pro")
    assert apart["team"] != first["team"]


def test_no_limits_for_keys(dev: Api) -> None:
    for _ in range(6):
        make_key(dev, "many@example.com")
    assert dev.client.post("/v1/keys", json={"email": "many@example.com"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"email"}),
        ({"email": "nobody"}, {"email"}),
        ({"email": "a@example.com", "key": "img_live_short"}, {"key"}),
        ({"email": "a@example.com", "key": "img_live_" + "ä" * 32}, {"key"}),
        ({"email": "a@example.com", "key": "img_test_" + "a" * 32}, {"key"}),
        ({"email": "a@example.com", "plan": "gold", "verified": 1, "abilities": []}, {"plan", "verified", "abilities"}),
        ({"email": "a@example.com", "plan": 1, "abilities": ["admin"]}, {"plan", "abilities"}),
        ({"email": "a@example.com", "abilities": "read", "name": None}, {"abilities", "name"}),
        ({"email": "a@example.com", "uploads_used": 1}, {"uploads_used"}),
    ],
)
def test_wrong_keys(dev: Api, body: dict[str, Any], fields: set[str]) -> None:
    answer = dev.client.post("/_dev/keys", json=body)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()["errors"]) == fields


def test_a_key_is_nobody_elses(dev: Api) -> None:
    key = "img_live_" + "x" * 32
    make_key(dev, "taken@example.com", key=key)
    answer = dev.client.post("/_dev/keys", json={"email": "other@example.com", "key": key})
    assert set(answer.json()["errors"]) == {"key"}


def test_a_team_has_one_plan(dev: Api) -> None:
    make_key(dev, "plan@example.com", plan="pro", verified=True)
    answer = dev.client.post("/_dev/keys", json={"email": "plan@example.com", "plan": "max", "verified": True})
    assert set(answer.json()["errors"]) == {"plan"}


# ── teams ──


def test_teams_are_shown(dev: Api) -> None:
    made = make_key(dev, "shown@example.com", name="ci", verified=True, plan="scale")
    uploaded = dev.upload(make_image("jpeg", 8, 8), bearer(made)).json()
    teams = dev.client.get("/_dev/teams").json()["teams"]
    (shown,) = [team for team in teams if team["team"] == made["team"]]
    assert shown == {
        "team": made["team"],
        "email": "shown@example.com",
        "plan": "scale",
        "verified": True,
        "registration_closed": False,
        "uploads_used": 1,
        "storage_used_bytes": uploaded["filesize"],
        "keys": [{"key_id": made["key_id"], "name": "ci", "abilities": ["read", "write"]}],
    }
    assert uploaded["src"].split("/")[3] == made["team"]
    assert all(team["email"] for team in teams)


@pytest.mark.parametrize("name", ["team", "email", "key_id"])
def test_a_team_has_three_names(dev: Api, name: str) -> None:
    made = make_key(dev, f"{name.replace('_', '')}@example.com")
    assert change(dev, made[name], plan="pro")["team"] == made["team"]
    assert usage(dev, made)["plan"] == "pro"


def test_no_such_team(dev: Api) -> None:
    anonymous = dev.upload(make_image("jpeg", 8, 8)).json()["src"].split("/")[3]
    for name in ("nobody@example.com", "abcde", "key_abcdefgh", anonymous):
        assert dev.client.patch(f"/_dev/teams/{name}", json={"plan": "pro"}).status_code == 404


def test_which_of_several_is_meant(dev: Api) -> None:
    spaces = [make_key(dev, "several@example.com")["team"] for _ in range(2)]
    answer = dev.client.patch("/_dev/teams/several@example.com", json={"plan": "pro"})
    assert answer.status_code == 422
    assert all(space in answer.json()["message"] for space in spaces)
    assert change(dev, spaces[0], verified=True)["verified"]
    assert change(dev, "several@example.com", plan="pro")["team"] == spaces[0]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"plan": "gold", "verified": "yes", "uploads_used": -1}, {"plan", "verified", "uploads_used"}),
        ({"storage_used_bytes": 1.5, "registration_closed": None}, {"storage_used_bytes", "registration_closed"}),
        ({"storage_used_bytes": 10**30, "uploads_used": 10**30}, {"storage_used_bytes", "uploads_used"}),
        ({"plan": None, "email": "a@example.com"}, {"plan", "email"}),
    ],
)
def test_wrong_changes(dev: Api, body: dict[str, Any], fields: set[str]) -> None:
    made = make_key(dev, "wrong@example.com")
    before = dev.client.get("/_dev/teams").json()
    answer = dev.client.patch(f"/_dev/teams/{made['team']}", json=body)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()["errors"]) == fields
    assert dev.client.get("/_dev/teams").json() == before


def test_no_change(dev: Api) -> None:
    made = make_key(dev, "same@example.com")
    assert change(dev, made["team"])["plan"] == "free"


def test_out_of_uploads(dev: Api) -> None:
    made = make_key(dev, "uploads@example.com", verified=True)
    assert change(dev, made["team"], uploads_used=99)["uploads_used"] == 99
    assert dev.upload(make_image("jpeg", 8, 8), bearer(made)).status_code == 201
    answer = dev.upload(make_image("jpeg", 8, 8), bearer(made))
    assert answer.json()["message"] == "Monthly upload limit reached."
    assert follow(dev, answer.json()["action"]["url"]).status_code == 200  # which puts the team on the plan
    assert usage(dev, made)["uploads_remaining"] == 1000 - 100
    change(dev, made["team"], uploads_used=0)
    assert usage(dev, made)["uploads_remaining"] == 1000


def test_out_of_storage(dev: Api) -> None:
    made = make_key(dev, "storage@example.com", verified=True)
    change(dev, made["team"], storage_used_bytes=FREE_STORAGE_BYTES)
    assert usage(dev, made)["storage_used_bytes"] == FREE_STORAGE_BYTES
    answer = dev.upload(make_image("jpeg", 8, 8), bearer(made))
    assert (answer.status_code, answer.json()["message"]) == (413, "Storage limit reached.")
    assert answer.json()["usage"]["storage_used_bytes"] == FREE_STORAGE_BYTES
    assert answer.headers["x-storage-remaining"] == "0"
    assert answer.json()["action"]["type"] == "upgrade"
    assert follow(dev, answer.json()["action"]["url"]).status_code == 200  # which puts the team on the plan
    assert dev.upload(make_image("jpeg", 8, 8), bearer(made)).status_code == 201
    assert check(dev.data_dir, quick=True) == []  # the counters of the database are those of its images


def test_storage_goes_on_from_there(dev: Api) -> None:
    made = make_key(dev, "almost@example.com", verified=True)
    content = make_image("jpeg", 8, 8)
    kept = dev.upload(content, bearer(made)).json()
    change(dev, made["team"], storage_used_bytes=FREE_STORAGE_BYTES - len(content))
    assert dev.upload(content, bearer(made)).status_code == 201
    assert usage(dev, made)["storage_used_bytes"] == FREE_STORAGE_BYTES
    assert dev.upload(content, bearer(made)).status_code == 413
    dev.client.delete(f"/v1/media/{kept['id']}", headers=bearer(made))
    assert dev.upload(content, bearer(made)).status_code == 201
    assert change(dev, made["team"], storage_used_bytes=0)["storage_used_bytes"] == 0


def test_verified_as_by_the_link(dev: Api) -> None:
    team = make_key(dev, "joined@example.com", verified=True)
    space = make_key(dev, "joined@example.com")
    image = dev.upload(make_image("jpeg", 8, 8), bearer(space)).json()
    assert image["expires_at"]
    shown = change(dev, space["key_id"], verified=True)
    assert shown["team"] == team["team"]
    assert len(shown["keys"]) == 2
    assert "expires_at" not in dev.client.get(f"/v1/media/{image['id']}", headers=bearer(team)).json()
    assert [message for message in read_outbox(dev) if message["To"] == "joined@example.com"]
    assert change(dev, team["team"], verified=True)["verified"]
    answer = dev.client.patch(f"/_dev/teams/{team['team']}", json={"verified": False})
    assert set(answer.json()["errors"]) == {"verified"}


def test_closed_registration(dev: Api) -> None:
    made = make_key(dev, "closed@example.com", verified=True)
    assert change(dev, made["team"], registration_closed=True)["registration_closed"]
    answer = dev.client.post("/v1/keys", json={"email": "closed@example.com"})
    assert answer.json()["error"] == "registration_closed"


# ── verification links in answers (decision 9) ──


def test_a_new_key_comes_with_its_link(dev: Api) -> None:
    made = dev.client.post("/v1/keys", json={"email": "link@example.com"}).json()
    assert follow(dev, made["verify_url"]).status_code == 200
    assert usage(dev, made)["verified"]
    other = dev.client.post("/v1/keys", json={}, headers=bearer(made)).json()
    assert "verify_url" not in other


def test_the_action_is_the_link(dev: Api) -> None:
    keys = [dev.client.post("/v1/keys", json={"email": "three@example.com"}).json() for _ in range(3)]
    body = dev.client.post("/v1/keys", json={"email": "three@example.com"}).json()
    assert (body["error"], body["action"]["type"]) == ("key_limit_reached", "verify")
    follow(dev, body["action"]["url"])
    assert [usage(dev, key)["verified"] for key in keys].count(True) == 1
    assert dev.client.post("/v1/keys", json={"email": "three@example.com"}).status_code == 201


def test_the_action_is_about_the_callers_key(dev: Api) -> None:
    keys = [dev.client.post("/v1/keys", json={"email": "own@example.com"}).json() for _ in range(3)]
    body = dev.client.post("/v1/keys", json={}, headers=bearer(keys[1])).json()
    follow(dev, body["action"]["url"])
    assert [usage(dev, key)["verified"] for key in keys] == [False, True, False]


def test_the_action_where_strangers_have_no_room(dev: Api) -> None:
    made = make_key(dev, "room@example.com")
    small, large = (make_image("jpeg", 8, 8) + bytes(size_bytes) for size_bytes in (50_000, 1_000_000))
    assert dev.upload(large, bearer(made)).status_code == 201
    body = dev.upload(small, bearer(made)).json()
    assert (body["error"], body["action"]["type"]) == ("quota_exceeded", "verify")
    assert follow(dev, body["action"]["url"]).status_code == 200
    assert dev.upload(small, bearer(made)).status_code == 201


def test_elsewhere_no_answer_has_a_link(api: Api) -> None:
    answers = [api.client.post("/v1/keys", json={"email": "prod@example.com"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 403]
    assert not [answer for answer in answers if "/verify?t=" in answer.text]
    assert "/verify/resend?t=" in answers[-1].text
    assert "verify_url" not in api.client.get("/openapi.json").text
