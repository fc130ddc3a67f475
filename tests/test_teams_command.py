"""`imgpro-lite teams …`: alone, and beside a running server, which obeys at once."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from commands import authorization, make_key
from conftest import Api, ApiFactory
from library import (
    Headers,
    add,
    change_media,
    connect,
    fail_teams,
    get_media,
    list_ids,
    list_teams,
    owner,
    picture,
    run_teams,
    show_team,
    sweep_now,
    team_of,
)
from wire import check_refusal

from imgpro_lite.cli.main import cli
from imgpro_lite.clock import Clock
from imgpro_lite.plans import month_number
from imgpro_lite.store.upgrade_rows import insert_upgrade_request

SIZE = len(picture())
MB = 1024 * 1024
GB = 1024 * MB
SMALL = {"label": "Small", "uploads_per_month": 3, "storage_mb": 1, "offered": False}


def ask_for(api: Api, headers: Headers, plan: str) -> None:
    """What an upgrade link does where [upgrade] mode is "ask"."""
    app: Any = api.client.app
    portal: Any = api.client.portal
    team_id, now = team_of(api.data_dir, headers), api.clock.at
    portal.call(app.state.runtime.db.write, lambda tx: insert_upgrade_request(tx.conn, team_id, plan, now))


def plan_of(api: Api, headers: Headers) -> str:
    return str(api.client.get("/v1/usage", headers=headers).json()["plan"])


# ── list and show ──


def test_the_list(api: Api) -> None:
    headers = owner(api, "--plan", "pro", email="ann@example.com")
    add(api, headers)
    deleted = add(api, headers)["id"]
    api.client.delete(f"/v1/media/{deleted}", headers=headers)
    api.new_key("bob@example.com")
    api.upload(picture())
    anonymous, ann, bob = sorted(list_teams(api.data_dir), key=lambda team: str(team["email"] or ""))
    assert ann == {
        "team": ann["team"],
        "email": "ann@example.com",
        "kind": "verified",
        "plan": "pro",
        "images": 1,
        "storage_bytes": SIZE,
        "storage_limit_bytes": 50 * GB,
        "uploads_used": 0,  # of the month in which the command runs, which is not that of the server's clock
        "uploads_limit": 1000,
        "keys": 1,
        "registration_closed": False,
        "created_at": ann["created_at"],
    }
    assert (bob["kind"], bob["plan"], bob["images"], bob["keys"]) == ("unverified", "free", 0, 1)
    assert (anonymous["kind"], anonymous["plan"], anonymous["images"]) == ("anonymous", None, 1)
    assert len({team["team"] for team in (anonymous, ann, bob)}) == 3
    told = run_teams(api.data_dir, "list")
    assert re.search(r"Team +E-mail +Kind +Plan +Images +Storage +Uploads +Keys +Created", told)
    assert re.search(rf"{ann['team']} +ann@example\.com +verified +pro +1 +0\.3 KB of 50\.0 GB +0 of 1000 +1 ", told)
    assert "(anonymous)" in told


def test_a_team_without_limits_and_with_revoked_keys(tmp_path: Path) -> None:
    first, second = (make_key(tmp_path, "--verified") for _ in range(2))
    CliRunner().invoke(cli, ["keys", "revoke", first["key_id"], "--data-dir", str(tmp_path)], catch_exceptions=False)
    shown = show_team(tmp_path, " OPS@example.com ")
    assert (shown["keys"], shown["key_ids"]) == (1, [second["key_id"]])
    assert (shown["uploads_limit"], shown["storage_limit_bytes"]) == (None, None)
    assert show_team(tmp_path, shown["team"]) == show_team(tmp_path, shown["team"].upper()) == shown


def test_one_team_for_people(api: Api) -> None:
    headers = owner(api, "--plan", "free", email="ann@example.com")
    ask_for(api, headers, "pro")
    api.new_key("ann@example.com")
    (space,) = [team["team"] for team in list_teams(api.data_dir) if team["kind"] == "unverified"]
    told = run_teams(api.data_dir, "show", "ann@example.com")
    for line in [
        r"E-mail: +ann@example\.com",
        r"Plan: +free",
        r"Storage: +0\.0 MB of 5\.0 GB",
        r"Uploads: +0 of 100 this month, until \d{4}-\d\d-01 00:00 \(UTC\)",
        r"New keys: +allowed",
        r"Asks for pro: +since 2023-11-14 22:13",
        rf"Unverified: +other spaces with this address: {space}",
    ]:
        assert re.search(rf"^{line}$", told, re.MULTILINE), line


def test_the_team_of_anonymous_uploads_has_no_plan(api: Api) -> None:
    (anonymous,) = list_teams(api.data_dir)
    assert "none" in run_teams(api.data_dir, "show", anonymous["team"])
    for arguments in (
        ["set-plan", anonymous["team"], "pro"],
        ["set-email", anonymous["team"], "x@example.com"],
        ["set-registration", anonymous["team"], "closed"],
    ):
        assert "[anonymous]" in fail_teams(api.data_dir, *arguments)


# ── which team is meant ──


def test_the_verified_team_of_an_address_goes_before_its_spaces(api: Api) -> None:
    for _ in range(2):
        api.new_key("ops@example.com")
    told = fail_teams(api.data_dir, "set-plan", "ops@example.com", "pro")
    spaces = [team["team"] for team in list_teams(api.data_dir) if team["kind"] == "unverified"]
    assert len(spaces) == 2
    assert all(space in told for space in spaces)
    owner(api)
    run_teams(api.data_dir, "set-plan", "ops@example.com", "max")
    run_teams(api.data_dir, "set-plan", spaces[0], "pro")
    plans = {team["team"]: team["plan"] for team in list_teams(api.data_dir) if team["email"]}
    assert sorted(plans.values()) == ["free", "max", "pro"]
    assert plans[spaces[0]] == "pro"


def test_the_only_space_of_an_address(api: Api) -> None:
    headers = api.new_key()
    run_teams(api.data_dir, "set-plan", "dev@example.com", "scale")
    assert plan_of(api, headers) == "scale"


@pytest.mark.parametrize(
    "command", [["show"], ["set-plan", "pro"], ["set-email", "x@example.com"], ["set-registration", "closed"]]
)
@pytest.mark.parametrize("name", ["nobody@example.com", "x0x0x", "", "%", "'; --", "\udcff", "a\nb@example.com"])
def test_no_such_team(tmp_path: Path, command: list[str], name: str) -> None:
    make_key(tmp_path)
    assert "teams list" in fail_teams(tmp_path, command[0], name, *command[1:])


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "x"], ["set-plan", "x", "pro"], ["requests"], ["set-registration", "x", "open"]]
)
def test_a_missing_data_directory(tmp_path: Path, arguments: list[str]) -> None:
    assert "There is no library" in fail_teams(tmp_path / "none", *arguments)
    assert not (tmp_path / "none").exists()


# ── addresses ──


def test_a_team_gets_another_address(api: Api) -> None:
    headers, other = owner(api), owner(api, email="other@example.com")
    told = run_teams(api.data_dir, "set-email", "ops@example.com", " New@Example.com ")
    assert "has the address new@example.com now" in told
    assert show_team(api.data_dir, "new@example.com")["keys"] == 1
    assert api.client.get("/v1/usage", headers=headers).status_code == 200
    assert "only one can" in fail_teams(api.data_dir, "set-email", "new@example.com", "other@example.com")
    assert "valid e-mail address" in fail_teams(api.data_dir, "set-email", "new@example.com", "nobody")
    run_teams(api.data_dir, "set-email", "new@example.com", "new@example.com")  # nothing changes
    assert api.client.get("/v1/usage", headers=other).status_code == 200


# ── plans ──


def test_a_plan_is_in_force_at_once(start: ApiFactory) -> None:
    pro = {"label": "Pro", "uploads_per_month": 1000, "storage_mb": 50}
    api = start(plans={"free": {"label": "Free", "uploads_per_month": 1, "storage_mb": 5}, "pro": pro})
    headers = owner(api, "--plan", "free")
    add(api, headers)
    check_refusal(api.upload(picture(), headers), 413, "quota_exceeded")
    told = run_teams(api.data_dir, "set-plan", "ops@example.com", "pro")
    assert "is on the plan 'pro' now, instead of 'free'." in told
    answer = api.upload(picture(), headers)
    assert (answer.status_code, answer.headers["x-monthly-uploads-remaining"]) == (201, "998")
    assert "already" in run_teams(api.data_dir, "set-plan", "ops@example.com", "pro")
    run_teams(api.data_dir, "set-plan", "ops@example.com", "owner")
    assert "x-monthly-uploads-limit" not in api.upload(picture(), headers).headers


@pytest.mark.parametrize("plan", ["gold", "", "Pro", "anonymous", "\udcff"])
def test_a_plan_that_does_not_exist(tmp_path: Path, plan: str) -> None:
    make_key(tmp_path, "--verified", "--plan", "free")
    assert "owner, free, pro, scale, max" in fail_teams(tmp_path, "set-plan", "ops@example.com", plan)
    assert show_team(tmp_path, "ops@example.com")["plan"] == "free"


def test_a_team_that_is_over_the_storage_of_a_smaller_plan(start: ApiFactory) -> None:
    api = start(limits={"file_mb": 2})
    headers = owner(api, "--plan", "pro")
    large = api.upload(picture() + bytes(MB), headers, tags="a", namespace="ns").json()
    small = add(api, headers)
    ask_for(api, headers, "scale")
    told = run_teams(api.data_dir, "set-plan", "ops@example.com", "free")
    assert told.splitlines()[1:] == ["Its request for 'scale' is settled."]  # 5 GB are enough
    api = start(limits={"file_mb": 2}, plans={"free": {**SMALL, "uploads_per_month": 100}, "small": SMALL})
    body = check_refusal(api.upload(picture(), headers), 413, "quota_exceeded")
    assert body["message"] == "Storage limit reached."
    assert "action" not in body  # nothing larger is on offer
    assert body["usage"]["storage_used_bytes"] > body["usage"]["storage_limit_bytes"] == MB
    # Everything else goes on as before.
    assert api.client.get("/v1/usage", headers=headers).json()["uploads_remaining"] == 98
    assert list_ids(api, headers) == [small["id"], large["id"]]
    assert api.fetch(large["src"]).content == picture() + bytes(MB)
    assert api.fetch(f"{large['src']}?size=s").status_code == 200
    assert change_media(api, headers, large["id"], {"name": "renamed"})["name"] == "renamed"
    body = {"ids": [small["id"]], "update": {"tags": "b"}}
    assert api.client.patch("/v1/media/batch", headers=headers, json=body).json() == {"updated": 1}
    assert get_media(api, headers, small["id"])["tags"] == ["b"]
    assert api.client.delete(f"/v1/media/{large['id']}", headers=headers).json() == {"deleted": True}
    assert api.upload(picture(), headers).status_code == 201  # now there is room again


def test_what_a_smaller_plan_means_is_told(tmp_path: Path, start: ApiFactory) -> None:
    config = tmp_path / "imgpro.toml"
    config.write_text('[plans.small]\nlabel = "Small"\nuploads_per_month = 3\nstorage_mb = 1\noffered = false\n')
    api = start(plans={"small": SMALL, "pro": {"label": "Pro", "uploads_per_month": 9, "storage_mb": 9}})
    headers = owner(api, "--plan", "pro")
    api.clock.at = 4_000_000_000
    for _ in range(2):
        assert api.upload(picture() + bytes(MB), headers).status_code == 201
    team = show_team(api.data_dir, "ops@example.com")["team"]
    told = run_teams(api.data_dir, "set-plan", "ops@example.com", "small", "--config", str(config))
    assert told.splitlines() == [
        f"The team {team} of ops@example.com is on the plan 'small' now, instead of 'pro'.",
        "It stores 2.0 MB of 1.0 MB: its images stay, but it cannot upload until it has deleted some.",
    ]
    body = check_refusal(api.upload(picture(), headers), 413, "quota_exceeded")
    assert body["action"]["type"] == "upgrade"
    assert "/upgrade/pro?t=" in body["action"]["url"]
    sweep_now(api)
    assert len(list_ids(api, headers)) == 2


def test_the_uploads_of_this_month_are_told(tmp_path: Path) -> None:
    key = make_key(tmp_path, "--verified", "--plan", "pro")
    shown = show_team(tmp_path, key["email"])
    with connect(tmp_path) as conn:
        month = month_number(Clock().now())
        conn.execute("UPDATE teams SET uploads_month = ?, uploads_used = 100 WHERE hash = ?", (month, shown["team"]))
    assert show_team(tmp_path, key["email"])["uploads_used"] == 100
    told = run_teams(tmp_path, "set-plan", key["email"], "free")
    pattern = r"It has made 100 of 100 uploads this month: it cannot upload before \d{4}-\d\d-01 00:00 \(UTC\)\."
    assert re.fullmatch(pattern, told.splitlines()[1])


# ── requests ──


def test_what_teams_ask_for(api: Api) -> None:
    ann, bob = owner(api, "--plan", "free", email="ann@example.com"), api.new_key("bob@example.com")
    assert run_teams(api.data_dir, "requests", "--json") == "[]\n"
    ask_for(api, bob, "max")
    api.clock.advance(seconds=60)
    for plan in ("pro", "scale", "pro"):
        ask_for(api, ann, plan)
    found = json.loads(run_teams(api.data_dir, "requests", "--json"))
    assert [(asked["email"], asked["plan"], asked["requested_plan"], asked["requested_at"]) for asked in found] == [
        ("bob@example.com", "free", "max", 1_700_000_000),
        ("ann@example.com", "free", "pro", 1_700_000_060),
        ("ann@example.com", "free", "scale", 1_700_000_060),
    ]
    assert re.search(r"ann@example\.com +free +pro +2023-11-14 22:14", run_teams(api.data_dir, "requests"))
    assert [asked["plan"] for asked in show_team(api.data_dir, "ann@example.com")["requests"]] == ["pro", "scale"]
    told = run_teams(api.data_dir, "set-plan", "ann@example.com", "pro")
    assert told.splitlines()[1:] == ["Its request for 'pro' is settled.", "Its request for 'scale' is settled."]
    (left,) = json.loads(run_teams(api.data_dir, "requests", "--json"))
    assert left["email"] == "bob@example.com"
    assert plan_of(api, ann) == "pro"


def test_a_request_ends_with_a_space_that_joins_a_team(api: Api) -> None:
    owner(api)
    joining = make_key(api.data_dir)
    ask_for(api, authorization(joining), "pro")
    CliRunner().invoke(cli, ["keys", "verify", joining["key_id"], "--data-dir", str(api.data_dir)])
    assert run_teams(api.data_dir, "requests", "--json") == "[]\n"
