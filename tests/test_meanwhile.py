"""What changes while a request is under way: keys revoked or verified, blocks, the team's usage."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory
from images import make_image
from wire import FORM, RawAnswer, check_refusal, form, part, send_raw

PICTURE = make_image("png", 4, 3)
BODY = form(part("file", PICTURE, "a.png"))


def upload_around(api: Api, headers: dict[str, str], happening: Callable[[], Any]) -> RawAnswer:
    """An upload in the middle of which something happens."""

    def chunks() -> Iterator[bytes]:
        yield BODY[:100]
        happening()
        yield BODY[100:]

    raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return send_raw(api, "/v1/upload", chunks(), [(b"content-type", FORM.encode()), *raw_headers])


@pytest.fixture
def key(api: Api) -> dict[str, Any]:
    api.clock.at = 1_900_000_000  # the commands use the machine's clock: what they do is past
    return make_key(api.data_dir, "--plan", "free")


def test_a_key_that_is_revoked_during_its_upload_stores_nothing(api: Api, key: dict[str, Any]) -> None:
    answer = upload_around(api, authorization(key), lambda: run_keys(api.data_dir, "revoke", key["key_id"]))
    check_refusal(answer, 401, "unauthorized")
    assert list((api.data_dir / "blobs").rglob("*.*")) == []
    with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn:
        assert conn.execute("SELECT count(*) FROM media").fetchone() == (0,)


def test_a_key_that_joins_a_team_during_its_upload_uploads_into_that_team(api: Api, key: dict[str, Any]) -> None:
    team = authorization(make_key(api.data_dir, "--verified"))
    answer = upload_around(api, authorization(key), lambda: run_keys(api.data_dir, "verify", key["key_id"]))
    assert answer.status_code == 201, answer.text
    shown = api.client.get(f"/v1/media/{answer.json()['id']}", headers=team).json()
    assert "expires_at" not in shown
    listed = api.client.get("/v1/media", headers=team).json()["items"]
    assert [item["id"] for item in listed] == [answer.json()["id"]]
    assert api.client.get("/v1/usage", headers=team).json()["storage_used_bytes"] == len(PICTURE)


def test_bytes_that_are_blocked_during_their_upload_are_refused(api: Api, key: dict[str, Any]) -> None:
    def block() -> None:
        with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn, conn:
            conn.execute("INSERT INTO blocked_blobs VALUES (?, 0)", (hashlib.sha256(PICTURE).digest(),))

    check_refusal(upload_around(api, authorization(key), block), 403, "forbidden")


def test_the_headers_of_a_quota_refusal_say_what_its_body_says(start: ApiFactory) -> None:
    plan = {"label": "Free", "uploads_per_month": 1, "storage_mb": 5}
    api = start(plans={"free": plan})
    key = authorization(make_key(api.data_dir, "--plan", "free"))

    def other_upload() -> None:
        with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn, conn:
            month = conn.execute("SELECT uploads_month FROM teams WHERE kind = 'unverified'").fetchone()[0]
            assert month == 0
            conn.execute("UPDATE teams SET uploads_used = 1, uploads_month = ?", (2023 * 12 + 10,))

    answer = upload_around(api, key, other_upload)
    check_refusal(answer, 413, "quota_exceeded")
    assert answer.json()["usage"]["uploads_used"] == 1
    assert answer.headers["x-monthly-uploads-used"] == "1"
    assert answer.headers["x-monthly-uploads-remaining"] == "0"


def test_a_restore_after_verifying_is_for_good(api: Api) -> None:
    made = make_key(api.data_dir)
    headers = authorization(made)
    image = api.upload(PICTURE, headers).json()
    assert "expires_at" in image
    assert api.client.delete(f"/v1/media/{image['id']}", headers=headers).json() == {"deleted": True}
    run_keys(api.data_dir, "verify", made["key_id"])
    with closing(sqlite3.connect(api.data_dir / "imgpro.db")) as conn, conn:
        conn.execute("UPDATE media SET deleted_at = NULL")
    assert "expires_at" not in api.client.get(f"/v1/media/{image['id']}", headers=headers).json()


def test_strangers_with_keys_are_limited_together_on_a_plan_without_limits(start: ApiFactory) -> None:
    plan = {"label": "Free", "uploads_per_month": 0, "storage_mb": 0}
    api = start(plans={"free": plan}, limits={"unverified_storage_mb": 1})
    padded = PICTURE + bytes(600_000)
    assert api.upload(padded, api.new_key()).status_code == 201
    other = api.new_key("other@example.com")
    check_refusal(api.upload(padded, other), 413, "quota_exceeded")
    assert api.upload(PICTURE, other).status_code == 201


def test_fields_do_not_count_against_the_file(start: ApiFactory) -> None:
    api = start(limits={"file_mb": 1})
    file = PICTURE + bytes(1024 * 1024 - len(PICTURE))
    full = {"note": "x" * 60_000, "other": "y" * 60_000}
    refused = check_refusal(api.upload(file, api.new_key(), **full), 422, "validation_error")
    assert list(refused["errors"]) == ["metadata"]
    assert api.upload(file, api.new_key(), note="x" * 10_000).status_code == 201


@pytest.mark.parametrize("query", ["?ids=&namespace=ns-1", "?namespace=ns-1&ids=", "?namespace="])
def test_ids_that_came_out_empty_never_mean_a_namespace(api: Api, query: str) -> None:
    key = api.new_key()
    image = api.upload(PICTURE, key, namespace="ns-1").json()
    check_refusal(api.client.delete(f"/v1/media/batch{query}", headers=key), 422, "validation_error")
    for body in ({"ids": None, "namespace": "ns-1"}, {"ids": [], "namespace": "ns-1"}, {"ids": None}):
        answer = api.client.request("DELETE", "/v1/media/batch", headers=key, json=body)
        check_refusal(answer, 422, "validation_error")
    assert api.client.get(f"/v1/media/{image['id']}", headers=key).status_code == 200


def test_a_patch_without_a_body_changes_nothing(api: Api) -> None:
    key = api.new_key()
    image = api.upload(PICTURE, key).json()
    assert api.client.patch(f"/v1/media/{image['id']}", headers=key).json() == image


def test_a_day_in_compact_form_is_that_day(api: Api) -> None:
    assert api.upload(PICTURE, api.new_key(), date="20250615").json()["date"] == 1749945600
