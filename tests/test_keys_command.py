"""`imgpro-lite keys …`: alone, and beside a running server, which obeys at once."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from commands import authorization, fail_keys, make_key, run_keys
from conftest import Api
from images import make_image
from wire import check_refusal

PICTURE = make_image("png", 8, 6)
OWNER_LIMITS = {"plan": "owner", "verified": False, "abilities": ["read", "write"]}


def list_keys(data_dir: Path) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(run_keys(data_dir, "list", "--json"))
    return keys


# ── create ──


def test_a_key_without_a_server(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    before = int(time.time())
    made = make_key(data_dir, "--name", "laptop", email=" OPS@Example.com ")
    assert re.fullmatch(r"img_live_[A-Za-z0-9]{32}", made.pop("key"))
    assert re.fullmatch(r"key_[a-z0-9]{8}", made["key_id"])
    assert before <= made["created_at"] <= int(time.time())
    assert made == {
        "key_id": made["key_id"],
        "email": "ops@example.com",
        "name": "laptop",
        "created_at": made["created_at"],
        "revoked_at": None,
        **OWNER_LIMITS,
    }
    assert list_keys(data_dir) == [made]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], {"plan": "owner", "verified": False, "name": "Default"}),
        (["--plan", "owner"], {"plan": "owner"}),
        (["--plan", "free"], {"plan": "free"}),
        (["--plan", "max", "--verified"], {"plan": "max", "verified": True}),
        (["--read-only"], {"abilities": ["read"]}),
        (["--name", " \r\n"], {"name": "Default"}),
    ],
)
def test_the_options_of_a_new_key(tmp_path: Path, options: list[str], shown: dict[str, Any]) -> None:
    made = make_key(tmp_path, *options)
    assert {name: made[name] for name in shown} == shown


def test_a_new_key_for_people(tmp_path: Path) -> None:
    told = run_keys(tmp_path, "create", "--email", "ops@example.com")
    key_id = list_keys(tmp_path)[0]["key_id"]
    assert re.search(r"^Key: +img_live_[A-Za-z0-9]{32}$", told, re.MULTILINE)
    assert f"keys verify {key_id}" in told
    assert "keys verify" not in run_keys(tmp_path, "create", "--email", "ops@example.com", "--verified")


def test_a_new_key_works_at_once_on_the_running_server(api: Api) -> None:
    answer = api.upload(PICTURE, authorization(make_key(api.data_dir)))
    assert answer.status_code == 201
    assert answer.json()["editable"] is True
    assert "expires_at" in answer.json()
    answer = api.upload(PICTURE, authorization(make_key(api.data_dir, "--verified")))
    assert "expires_at" not in answer.json()


def test_a_second_verified_key_joins_the_team_of_its_address(api: Api) -> None:
    first = authorization(make_key(api.data_dir, "--verified", "--plan", "pro"))
    made = make_key(api.data_dir, "--verified", email="OPS@example.com")
    assert made["plan"] == "pro"
    private = api.upload(PICTURE, first, public="false").json()
    assert api.client.get(f"/v1/media/{private['id']}", headers=authorization(made)).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--email", "ops@example.com", "--plan", "gold"], "owner, free, pro, scale, max"),
        (["--email", "nonsense"], "--email must be a valid e-mail address"),
        (["--email", ""], "--email must be a valid e-mail address"),
    ],
)
def test_a_key_that_cannot_be_made(tmp_path: Path, options: list[str], told: str) -> None:
    make_key(tmp_path)
    code, message = fail_keys(tmp_path, "create", *options)
    assert code == 1
    assert message.startswith("imgpro-lite: ")
    assert told in message
    assert len(list_keys(tmp_path)) == 1


def test_another_plan_for_a_team_that_has_one(tmp_path: Path) -> None:
    make_key(tmp_path, "--verified", "--plan", "pro")
    code, message = fail_keys(tmp_path, "create", "--email", "ops@example.com", "--verified", "--plan", "max")
    assert code == 1
    assert "'pro'" in message


def test_an_email_is_required(tmp_path: Path) -> None:
    code, message = fail_keys(tmp_path, "create")
    assert code == 2
    assert "--email" in message


# ── list and revoke ──


def test_the_list_shows_every_key_and_no_secret(api: Api) -> None:
    secret = api.new_key(email="dev@example.com", name="bot")["Authorization"].removeprefix("Bearer ")
    made = make_key(api.data_dir, "--read-only", email="ops@example.com")
    run_keys(api.data_dir, "revoke", made["key_id"])
    table = run_keys(api.data_dir, "list")
    bot, ops = (next(line for line in table.splitlines() if email in line) for email in ("dev@", "ops@"))
    assert re.search(r"key_\w{8} +dev@example.com +bot +free +no +read, write +2023-11-14 22:13 *$", bot)
    assert re.search(rf"{made['key_id']} +ops@example.com +Default +owner +no +read +\S+ \S+ +\S+ \S+ *$", ops)
    assert secret not in table + run_keys(api.data_dir, "list", "--json")
    assert made["key"] not in table


def test_no_keys(api: Api) -> None:
    assert list_keys(api.data_dir) == []
    assert "Key ID" in run_keys(api.data_dir, "list")


def test_a_revoked_key_ends_at_once_and_its_images_stay(api: Api) -> None:
    made = make_key(api.data_dir)
    image = api.upload(PICTURE, authorization(made)).json()
    assert made["key_id"] in run_keys(api.data_dir, "revoke", made["key_id"])
    check_refusal(api.upload(PICTURE, authorization(made)), 401, "unauthorized")
    assert api.client.get(f"/v1/media/{image['id']}").status_code == 200
    assert api.fetch(image["src"]).content == PICTURE
    code, message = fail_keys(api.data_dir, "revoke", made["key_id"])
    assert (code, "already revoked" in message) == (1, True)
    code, message = fail_keys(api.data_dir, "verify", made["key_id"])
    assert (code, "was revoked" in message) == (1, True)


def test_a_revoked_key_does_not_count_against_its_address(api: Api) -> None:
    for _ in range(3):
        api.new_key()
    run_keys(api.data_dir, "revoke", list_keys(api.data_dir)[0]["key_id"])
    assert api.client.post("/v1/keys", json={"email": "dev@example.com"}).status_code == 201


# ── what the operator may get wrong ──


@pytest.mark.parametrize("command", ["revoke", "verify"])
def test_an_unknown_key(tmp_path: Path, command: str) -> None:
    make_key(tmp_path)
    code, message = fail_keys(tmp_path, command, "key_nobody00")
    assert code == 1
    assert "There is no key 'key_nobody00'" in message


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "key_nobody00"], ["verify", "key_nobody00"]])
def test_a_missing_data_directory(tmp_path: Path, arguments: list[str]) -> None:
    missing = tmp_path / "mistyped"
    code, message = fail_keys(missing, *arguments)
    assert code == 1
    assert str(missing) in message
    assert "--data-dir" in message
    assert not missing.exists()


def test_a_data_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, message = fail_keys(tmp_path / "file", "create", "--email", "ops@example.com")
    assert code == 1
    assert "--data-dir" in message


@pytest.mark.parametrize("command", ["create --email", "revoke", "verify"])
def test_an_argument_that_is_no_text(tmp_path: Path, command: str) -> None:
    make_key(tmp_path)
    # What Python makes of a byte of the command line that is no UTF-8.
    assert fail_keys(tmp_path, *command.split(), "\udcff")[0] == 1
