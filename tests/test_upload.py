"""POST /v1/upload: what is kept, what is told about it, and that a refused upload leaves nothing."""

import hashlib
import re
from typing import Any

import pytest
from commands import authorization, make_key
from conftest import Api, ApiFactory
from images import make_image, make_svg
from wire import check_refusal, form, nothing_is_stored, part, send_form, stored_blobs, used

from imgpro_lite.formats import Format

PICTURE = make_image("jpeg", 16, 12)
OTHER = make_image("png", 8, 6)
FIELDS = [
    "id",
    "name",
    "url",
    "src",
    "width",
    "height",
    "filesize",
    "extension",
    "editable",
    "tags",
    "namespace",
    "public",
    "created_at",
]


def verified(api: Api, *options: str) -> dict[str, str]:
    return authorization(make_key(api.data_dir, "--verified", "--plan", "free", *options))


def test_an_image_of_a_verified_team(start: ApiFactory) -> None:
    api = start(server={"public_url": "https://pics.example.com", "src_url": "https://cdn.example.com/i"})
    answer = api.client.post(
        "/v1/upload",
        headers={**verified(api), "Host": "evil.example"},
        files={"file": ("photo.jpg", PICTURE)},
        data={"name": "My Photo", "tags": "hero,homepage", "namespace": "my-project", "public": "true"},
    )
    assert answer.status_code == 201
    image = answer.json()
    assert list(image) == FIELDS
    id_, hash_ = image["id"], image["src"].split("/")[4]
    assert re.fullmatch(r"(?=.*[0-9])[a-z0-9]{14}", id_)
    assert re.fullmatch(r"(?=.*[0-9])[a-z0-9]{5}", hash_)
    assert image == {
        "id": id_,
        "name": "My Photo",
        "url": f"https://pics.example.com/{id_}",
        "src": f"https://cdn.example.com/i/{hash_}/{id_}.jpeg",
        "width": 16,
        "height": 12,
        "filesize": len(PICTURE),
        "extension": "jpeg",
        "editable": True,
        "tags": ["hero", "homepage"],
        "namespace": "my-project",
        "public": True,
        "created_at": 1_700_000_000,
    }
    headers = {name: value for name, value in answer.headers.items() if name.startswith(("x-monthly", "x-storage"))}
    assert headers == {
        "x-monthly-uploads-used": "1",
        "x-monthly-uploads-limit": "100",
        "x-monthly-uploads-remaining": "99",
        "x-storage-used": str(len(PICTURE)),
        "x-storage-limit": "5368709120",
        "x-storage-remaining": str(5368709120 - len(PICTURE)),
    }
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_an_anonymous_image(api: Api) -> None:
    answer = api.upload(PICTURE)
    assert answer.status_code == 201
    image = answer.json()
    assert list(image) == [*FIELDS, "expires_at", "upgrade"]
    assert image["expires_at"] == image["created_at"] + 2_592_000
    assert image["editable"] is False
    assert (image["tags"], image["namespace"], image["public"]) == ([], None, True)
    assert image["upgrade"] == {
        "type": "register",
        "url": "http://localhost:4647/api/quick-start",
        "message": image["upgrade"]["message"],
        "label": "Create API Key",
    }
    assert image["upgrade"]["message"]
    assert not [name for name in answer.headers if name.startswith(("x-monthly", "x-storage"))]
    del image["upgrade"]
    assert api.client.get(f"/v1/media/{image['id']}").json() == image


def test_an_image_of_an_unverified_key(api: Api) -> None:
    image = api.upload(PICTURE, api.new_key()).json()
    assert list(image) == [*FIELDS, "expires_at"]
    assert image["expires_at"] == image["created_at"] + 2_592_000
    assert image["editable"] is True


def test_an_image_is_there_until_it_expires(api: Api) -> None:
    image = api.upload(PICTURE).json()
    api.clock.at = image["expires_at"] - 1
    assert api.client.get(f"/v1/media/{image['id']}").status_code == 200
    assert api.fetch(image["src"]).content == PICTURE
    api.clock.at += 1
    check_refusal(api.client.get(f"/v1/media/{image['id']}"), 404, "not_found")
    check_refusal(api.fetch(image["src"]), 404, "not_found")


def test_a_private_image(api: Api) -> None:
    headers = verified(api)
    image = api.upload(PICTURE, headers, public="false").json()
    assert image["public"] is False
    check_refusal(api.client.get(f"/v1/media/{image['id']}"), 404, "not_found")
    check_refusal(api.client.get(f"/v1/media/{image['id']}", headers=api.new_key()), 404, "not_found")
    assert api.client.get(f"/v1/media/{image['id']}", headers=headers).json() == image
    assert api.fetch(image["src"]).content == PICTURE


def test_an_external_id_is_shown_to_its_team_only(api: Api) -> None:
    headers = verified(api)
    image = api.upload(PICTURE, headers, external_id="sku-1").json()
    assert image["external_id"] == "sku-1"
    assert api.client.get(f"/v1/media/{image['id']}", headers=headers).json() == image
    assert "sku-1" not in api.client.get(f"/v1/media/{image['id']}").text


# ── the type is what the bytes are (decision 23) ──


@pytest.mark.parametrize("format_", list(Format))
def test_every_format(api: Api, format_: Format) -> None:
    content = make_image(format_, 16, 12)
    image = api.upload(content, verified(api), filename="lies.txt").json()
    shown = {Format.HEIC: "jpeg", Format.TIFF: "jpeg", Format.BMP: "png"}.get(format_, str(format_))
    assert image["extension"] == shown
    assert image["src"].endswith(f".{shown}")
    assert (image["width"], image["height"]) == (16, 12)
    assert image["editable"] is (format_ is not Format.SVG)
    if format_ is not Format.SVG:  # which is sanitised
        assert image["filesize"] == len(content)
        assert api.fetch(f"{image['src'].rpartition('.')[0]}.{format_}").content == content
    assert api.fetch(image["src"]).status_code == 200


@pytest.mark.parametrize(
    ("filename", "declared"), [("a.png", "image/png"), ("a.svg", "text/html"), ("a", "x"), ("a.exe", "")]
)
def test_names_and_declared_types_do_not_matter(api: Api, filename: str, declared: str) -> None:
    body = form(part("file", PICTURE, filename, f"Content-Type: {declared}"))
    answer = send_form(api, body)
    assert answer.status_code == 201
    assert answer.json()["extension"] == "jpeg"


def test_an_svg_under_a_jpeg_name_is_served_as_an_svg(api: Api) -> None:
    image = api.upload(make_svg(16, 12), filename="photo.jpg").json()
    assert (image["extension"], image["editable"]) == ("svg", False)
    answer = api.fetch(image["src"])
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in answer.headers["content-security-policy"]


# ── bytes are stored once ──


def test_the_same_bytes_are_stored_once_however_often_they_come(api: Api) -> None:
    mine, other = verified(api), api.new_key()
    images = [api.upload(PICTURE, headers).json() for headers in (mine, mine, other, None)]
    assert len({image["id"] for image in images}) == 4
    assert stored_blobs(api) == [hashlib.sha256(PICTURE).hexdigest()]
    assert used(api, mine) == (2, 2 * len(PICTURE))
    assert used(api, other) == (1, len(PICTURE))
    assert all(api.fetch(image["src"]).content == PICTURE for image in images)
    api.upload(OTHER)
    assert len(stored_blobs(api)) == 2
    assert not list((api.data_dir / "tmp").iterdir())


def test_images_survive_a_restart(start: ApiFactory) -> None:
    api = start()
    headers = verified(api)
    image = api.upload(PICTURE, headers).json()
    api = start()
    assert api.client.get(f"/v1/media/{image['id']}").json() == image
    assert api.fetch(image["src"]).content == PICTURE
    assert used(api, headers) == (1, len(PICTURE))


# ── a refused upload stores nothing ──


@pytest.mark.parametrize(
    ("content", "fields", "status", "code"),
    [
        (b"", {}, 400, "unsupported_format"),
        (b"no picture", {}, 400, "unsupported_format"),
        (PICTURE[:200], {}, 400, "unsupported_format"),
        (PICTURE, {"namespace": "Wrong"}, 422, "validation_error"),
        (PICTURE, {"id": "mine"}, 422, "validation_error"),
        (PICTURE + bytes(1024 * 1024), {}, 400, "file_too_large"),
        (make_svg(8, 6, "<script>" + "x" * 1024 * 1024), {}, 400, "file_too_large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='8'", {}, 400, "unsupported_format"),
    ],
)
def test_a_refused_upload_stores_and_counts_nothing(
    start: ApiFactory, content: bytes, fields: dict[str, str], status: int, code: str
) -> None:
    api = start(limits={"anonymous_file_mb": 1, "file_mb": 1, "svg_file_mb": 1})
    headers = api.new_key()
    for caller in (headers, None):
        check_refusal(api.upload(content, caller, **fields), status, code)
    assert nothing_is_stored(api)
    assert used(api, headers) == (0, 0)


def test_a_request_that_is_no_form(api: Api) -> None:
    for options in ({}, {"json": {"file": "x"}}, {"data": {"file": "x"}}, {"content": PICTURE}):
        answer: Any = api.client.post("/v1/upload", **options)
        check_refusal(answer, 400, "missing_file")
        assert answer.headers["x-ratelimit-limit"] == "20"
    assert nothing_is_stored(api)
