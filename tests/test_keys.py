"""POST /v1/keys: a key for an e-mail address, or one more for the caller's own team."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory
from images import make_image
from shared import serve
from wire import check_refusal

PICTURE = make_image("png", 8, 6)

WRONG_EMAILS = [
    "",
    " ",
    "a",
    "a@",
    "@b.com",
    "a@b",
    "a@b..com",
    "a@-b.com",
    "a b@example.com",
    "a@example.com\r\nBcc: c@example.com",
    "a\0@example.com",
    "a\u202e@example.com",
    "a@example.com,b@example.com",
    "<a@example.com>",
    "A <a@example.com>",
    "a@[127.0.0.1]",
    "a@localhost",
    "x" * 5000 + "@example.com",
    "a@" + "x" * 5000 + ".com",
    "\ud800@example.com",
    "a@\udfff.com",
    1,
    1.5,
    True,
    [],
    ["a@example.com"],
    {},
]


def create(api: Api, body: Any, headers: dict[str, str] | None = None) -> Any:
    # json.dumps escapes lone surrogates, which the client's own encoder cannot send.
    return api.client.post(
        "/v1/keys", content=json.dumps(body), headers={"Content-Type": "application/json", **(headers or {})}
    )


def key_name(api: Api, key_id: str) -> str:
    shown = json.loads(run_keys(api.data_dir, "list", "--json"))
    return str(next(key["name"] for key in shown if key["key_id"] == key_id))


def test_a_new_key(api: Api) -> None:
    answer = create(api, {"email": "you@company.com", "name": "my-agent"})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    key, key_id = body.pop("key"), body.pop("key_id")
    assert re.fullmatch(r"img_live_[A-Za-z0-9]{32}", key)
    assert re.fullmatch(r"key_[a-z0-9]{8}", key_id)
    assert body == {
        "status": "active",
        "verified": False,
        "limits": {"uploads": 100, "storage_mb": 5120, "retention_days": 30},
        "message": "Key active. Check your email to verify and unlock permanent storage.",
    }
    assert key_name(api, key_id) == "my-agent"
    assert api.upload(PICTURE, {"Authorization": f"Bearer {key}"}).status_code == 201


def test_the_limits_are_those_of_the_settings(start: ApiFactory) -> None:
    plans = {"free": {"label": "Free", "uploads_per_month": 7, "storage_mb": 3}}
    api = start(plans=plans, limits={"retention_days": 5})
    limits = create(api, {"email": "dev@example.com"}).json()["limits"]
    assert limits == {"uploads": 7, "storage_mb": 3, "retention_days": 5}


@pytest.mark.parametrize("fields", [{}, {"name": None}, {"name": ""}, {"name": " \u202e\r\n"}])
def test_a_key_without_a_name_is_called_default(api: Api, fields: dict[str, Any]) -> None:
    answer = create(api, {"email": "dev@example.com", **fields})
    assert answer.status_code == 201
    assert key_name(api, answer.json()["key_id"]) == "Default"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("  build bot ", "build bot"),
        ("a\r\nb\0", "ab"),
        ("\u202egpj", "gpj"),
        ("ключ 🔑", "ключ 🔑"),
        ("n" * 4096, "n" * 255),
    ],
)
def test_a_name_is_cleaned(api: Api, sent: str, kept: str) -> None:
    answer = create(api, {"email": "dev@example.com", "name": sent})
    assert key_name(api, answer.json()["key_id"]) == kept


def test_an_address_is_trimmed_and_lower_cased(api: Api) -> None:
    for email in ("dev@example.com", " DEV@example.com ", "Dev@EXAMPLE.com\n"):
        assert create(api, {"email": email}).status_code == 201
    check_refusal(create(api, {"email": "dev@example.com"}), 403, "key_limit_reached")
    shown = json.loads(run_keys(api.data_dir, "list", "--json"))
    assert {key["email"] for key in shown} == {"dev@example.com"}


def test_an_international_address(api: Api) -> None:
    assert create(api, {"email": "jörg@müller.de"}).status_code == 201


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        yield api


@pytest.mark.parametrize("email", WRONG_EMAILS, ids=lambda email: repr(email)[:30])
def test_an_invalid_address(shared: Api, email: Any) -> None:
    body = check_refusal(create(shared, {"email": email}), 422, "validation_error")
    assert list(body["errors"]) == ["email"]


@pytest.mark.parametrize("body", [{}, {"email": None}, {"name": "my-agent"}])
def test_the_address_is_required(api: Api, body: dict[str, Any]) -> None:
    errors = check_refusal(create(api, body), 422, "validation_error")["errors"]
    assert errors == {"email": ["is required"]}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"email": "x", "name": 5}, {"email", "name"}),
        ({"email": "dev@example.com", "name": []}, {"name"}),
        ({"name": 5}, {"email", "name"}),
        ({"email": None, "name": {}}, {"email", "name"}),
    ],
)
def test_every_wrong_field_is_named_at_once(api: Api, body: dict[str, Any], wrong: set[str]) -> None:
    errors = check_refusal(create(api, body), 422, "validation_error")["errors"]
    assert set(errors) == wrong


def test_what_is_not_known_is_ignored(api: Api) -> None:
    answer = create(api, {"email": "dev@example.com", "Email": 5, "color": "red", "\ud800": None, "": []})
    assert answer.status_code == 201


def test_every_wrong_field_is_named_to_a_caller_with_a_key_too(api: Api) -> None:
    answer = create(api, {"email": "other@example.com", "name": 5}, api.new_key())
    assert set(check_refusal(answer, 422, "validation_error")["errors"]) == {"email", "name"}


# ── spaces: knowing an address opens nothing (decision 6) ──


def test_two_unverified_keys_of_one_address_do_not_see_each_other(api: Api) -> None:
    mine, other = api.new_key(), api.new_key()
    private = api.upload(PICTURE, mine, public="false").json()
    assert api.client.get(f"/v1/media/{private['id']}", headers=mine).status_code == 200
    check_refusal(api.client.get(f"/v1/media/{private['id']}", headers=other), 404, "not_found")
    check_refusal(api.client.get(f"/v1/media/{private['id']}"), 404, "not_found")
    other_src = api.upload(PICTURE, other).json()["src"]
    assert other_src.split("/")[3] != private["src"].split("/")[3]


def test_an_unverified_key_does_not_reach_the_verified_team_of_its_address(api: Api) -> None:
    verified = authorization(make_key(api.data_dir, "--verified", email="dev@example.com"))
    private = api.upload(PICTURE, verified, public="false").json()
    check_refusal(api.client.get(f"/v1/media/{private['id']}", headers=api.new_key()), 404, "not_found")


# ── another key of the caller's own team (decision 7) ──


@pytest.mark.parametrize("body", [{}, {"email": None}, {"email": " DEV@example.com"}, {"name": "second"}])
def test_a_key_makes_another_of_its_own_team(api: Api, body: dict[str, Any]) -> None:
    mine = api.new_key()
    private = api.upload(PICTURE, mine, public="false").json()
    answer = create(api, body, mine)
    assert answer.status_code == 201
    assert answer.json()["verified"] is False
    second = {"Authorization": f"Bearer {answer.json()['key']}"}
    assert api.client.get(f"/v1/media/{private['id']}", headers=second).status_code == 200
    assert api.upload(PICTURE, second).headers["x-monthly-uploads-used"] == "2"


def test_a_verified_team_may_have_any_number_of_keys(api: Api) -> None:
    first = authorization(make_key(api.data_dir, "--verified", "--plan", "free"))
    for _ in range(5):
        body = create(api, {}, first).json()
        assert body["verified"] is True
        assert body["limits"] == {"uploads": 100, "storage_mb": 5120, "retention_days": None}
        assert "verify" not in body["message"]


def test_a_key_on_the_owners_plan_makes_keys_without_limits(api: Api) -> None:
    body = create(api, {}, authorization(make_key(api.data_dir, "--verified"))).json()
    assert body["limits"] == {"uploads": None, "storage_mb": None, "retention_days": None}


def test_a_key_for_another_address_is_refused(api: Api) -> None:
    answer = create(api, {"email": "other@example.com"}, api.new_key())
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["email"]


def test_a_read_only_key_makes_no_keys(api: Api) -> None:
    body = check_refusal(create(api, {}, authorization(make_key(api.data_dir, "--read-only"))), 403, "forbidden")
    assert body["message"] == "Insufficient permissions"
