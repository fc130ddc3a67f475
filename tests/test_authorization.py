"""Who may call: a key that is wrong is never taken for no key, and a key is never written down."""

import json
import logging

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api
from images import make_image
from wire import FORM, check_refusal, form, part, send_raw

PICTURE = make_image("png", 8, 6)
JSON = b"application/json"

WRONG_HEADERS = [
    [b""],
    [b"Bearer"],
    [b"Bearer "],
    [b"Bearer \t"],
    [b"Bearer nonsense"],
    [b"Bearer img_live_" + b"a" * 32],
    [b"Bearer " + b"x" * 8192],
    [b"Bearer img_live_\xff\xfe"],
    ["Bearer ключ".encode()],
    [b"Bearer null"],
    [b"Bearer {key}x"],
    [b"Bearer {lower-key}"],
    [b"Bearer {key} {key}"],
    [b"Bearer {key}, Bearer {key}"],
    [b"Basic {key}"],
    [b"Token {key}"],
    [b"Bearer:{key}"],
    [b"{key}"],
    [b"Bearer {key}", b"Bearer {key}"],
    [b"Bearer {key}", b""],
]


def ask(api: Api, route: str, media_id: str, *authorizations: bytes) -> object:
    """A request that is right but for its Authorization."""
    headers = [(b"authorization", value) for value in authorizations]
    if route == "keys":
        body = json.dumps({"email": "new@example.com"}).encode()
        return send_raw(api, "/v1/keys", [body], [*headers, (b"content-type", JSON)])
    if route == "upload":
        body = form(part("file", PICTURE, "a.png"))
        return send_raw(api, "/v1/upload", [body], [*headers, (b"content-type", FORM.encode())])
    return send_raw(api, f"/v1/media/{media_id}", [], headers, "GET")


ROUTES = pytest.mark.parametrize("route", ["keys", "upload", "media"])


@ROUTES
def test_a_wrong_key_never_falls_back_to_anonymous(api: Api, route: str) -> None:
    key = api.new_key()["Authorization"].removeprefix("Bearer ")
    media_id = api.upload(PICTURE).json()["id"]
    assert ask(api, route, media_id).status_code in (200, 201)  # without a key all of them are possible
    for template in WRONG_HEADERS:
        values = [
            value.replace(b"{key}", key.encode()).replace(b"{lower-key}", key.lower().encode()) for value in template
        ]
        answer = ask(api, route, media_id, *values)
        body = check_refusal(answer, 401, "unauthorized")
        assert body == {"error": "unauthorized", "message": "Invalid or missing API key"}, values
        assert answer.headers["www-authenticate"] == "Bearer"


@ROUTES
def test_a_revoked_key(api: Api, route: str) -> None:
    media_id = api.upload(PICTURE).json()["id"]
    made = make_key(api.data_dir)
    bearer = f"Bearer {made['key']}".encode()
    assert ask(api, route, media_id, bearer).status_code in (200, 201, 422)
    run_keys(api.data_dir, "revoke", made["key_id"])
    check_refusal(ask(api, route, media_id, bearer), 401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_in_any_case(api: Api, scheme: str) -> None:
    key = api.new_key()["Authorization"].removeprefix("Bearer ")
    assert api.upload(PICTURE, {"Authorization": f"{scheme}  {key} "}).json()["editable"] is True


def test_a_read_only_key_reads_and_changes_nothing(api: Api) -> None:
    reader = authorization(make_key(api.data_dir, "--verified", "--read-only"))
    writer = authorization(make_key(api.data_dir, "--verified"))
    private = api.upload(PICTURE, writer, public="false").json()
    assert api.client.get(f"/v1/media/{private['id']}", headers=reader).status_code == 200
    body = check_refusal(api.upload(PICTURE, reader), 403, "forbidden")
    assert body == {"error": "forbidden", "message": "Insufficient permissions"}


def test_a_key_is_written_down_nowhere(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = api.new_key()
    key = headers["Authorization"].removeprefix("Bearer ")
    other = api.client.post("/v1/keys", json={}, headers=headers).json()["key"]
    answers = [
        api.upload(PICTURE, headers),
        api.upload(b"no picture", headers),
        api.client.get("/v1/media/a1b2c3d4e5f6g7", headers=headers),
        api.client.post("/v1/keys", json={"email": "x"}, headers=headers),
        api.client.post("/v1/keys", json={"email": "x"}, headers={"Authorization": f"Bearer {key}x"}),
    ]
    files = [path for path in api.data_dir.rglob("*") if path.is_file()]
    assert api.data_dir / "imgpro.db-wal" in files
    written = b"".join(path.read_bytes() for path in files)
    assert caplog.records
    for secret in (key, other):
        assert secret.encode() not in written
        assert secret not in caplog.text
        assert all(secret not in answer.text + str(answer.headers) for answer in answers)
