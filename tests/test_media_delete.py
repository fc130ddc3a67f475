"""DELETE /v1/media/{id}: gone from everywhere at once, and for good as far as the API goes."""

from pathlib import Path

import pytest
from conftest import Api, ApiFactory
from library import Headers, add, blob_path, check_counts, list_ids, owner, picture, somebody
from wire import check_refusal, stored_blobs


def delete(api: Api, headers: Headers | None, media_id: str) -> None:
    answer = api.client.delete(f"/v1/media/{media_id}", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"deleted": True})


def usage(api: Api, headers: Headers) -> tuple[int, int]:
    shown = api.client.get("/v1/usage", headers=headers).json()
    return shown["uploads_used"], shown["storage_used_bytes"]


def check_gone(api: Api, headers: Headers, media_id: str, src: str) -> None:
    """No route knows the image any more, whoever asks."""
    for key in (headers, {}):
        check_refusal(api.client.get(f"/v1/media/{media_id}", headers=key), 404, "not_found")
    for variant in ("", "?size=s"):
        check_refusal(api.fetch(src + variant), 404, "not_found")
        check_refusal(api.fetch(src.replace(".png", ".webp") + variant), 404, "not_found")
    assert media_id not in list_ids(api, headers)
    check_refusal(api.client.patch(f"/v1/media/{media_id}", headers=headers, json={}), 404, "not_found")
    check_refusal(api.client.delete(f"/v1/media/{media_id}", headers=headers), 404, "not_found")
    batch = {"ids": [media_id], "update": {"public": True}}
    assert api.client.patch("/v1/media/batch", headers=headers, json=batch).json() == {"updated": 0}
    assert api.client.delete(f"/v1/media/batch?ids={media_id}", headers=headers).json() == {"deleted": 0}


def test_a_deleted_image_is_gone_from_every_route(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, tags="a", namespace="ns", external_id="e")
    assert api.fetch(shown["src"].replace(".png", ".webp?size=s")).status_code == 200
    assert usage(api, headers) == (1, len(picture()))
    delete(api, headers, shown["id"])
    check_gone(api, headers, shown["id"], shown["src"])
    assert usage(api, headers) == (1, 0)
    assert api.client.get("/v1/namespaces", headers=headers).json() == {"namespaces": []}
    assert list_ids(api, headers, tags="a") == list_ids(api, headers, namespace="ns") == []
    assert stored_blobs(api)  # for the operator, until the grace period is over
    again = add(api, headers, external_id="e")
    assert again["id"] != shown["id"]
    assert usage(api, headers) == (2, len(picture()))
    check_counts(api.data_dir)


def test_a_restart_brings_nothing_back(start: ApiFactory) -> None:
    api = start()
    headers = owner(api)
    kept, gone = add(api, headers, namespace="ns"), add(api, headers, namespace="ns")
    delete(api, headers, gone["id"])
    api = start()
    check_gone(api, headers, gone["id"], gone["src"])
    assert list_ids(api, headers) == [kept["id"]]
    assert api.fetch(kept["src"]).content == picture()
    check_counts(api.data_dir)


def test_the_same_bytes_of_two_images(api: Api) -> None:
    headers, other = owner(api), somebody(api)
    first, second, theirs = add(api, headers), add(api, headers), add(api, other)
    assert usage(api, headers) == (2, 2 * len(picture()))
    delete(api, headers, first["id"])
    assert usage(api, headers) == (2, len(picture()))
    assert usage(api, other) == (1, len(picture()))
    for shown in (second, theirs):
        assert api.fetch(shown["src"]).content == picture()


def test_an_expired_image_cannot_be_deleted(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, ttl="3600")
    api.clock.advance(seconds=3600)
    check_gone(api, headers, shown["id"], shown["src"])


def test_whose_image_may_be_deleted(api: Api) -> None:
    headers, stranger = owner(api), somebody(api)
    mine = add(api, headers)["id"]
    anonymous = add(api, {})["id"]
    for key, media_id in ((stranger, mine), (stranger, anonymous), (headers, "abcdefghijkl12"), (headers, "x")):
        check_refusal(api.client.delete(f"/v1/media/{media_id}", headers=key), 404, "not_found")
    for media_id in (mine, anonymous):
        check_refusal(api.client.delete(f"/v1/media/{media_id}"), 401, "unauthorized")
        assert api.client.get(f"/v1/media/{media_id}").status_code == 200
    delete(api, headers, mine)


@pytest.mark.parametrize("body", [b"", b"{}", b"no json", b"[1]", b'{"ids": ["x"], "namespace": "y"}'])
def test_a_body_says_nothing(api: Api, body: bytes) -> None:
    headers = owner(api)
    kept, gone = add(api, headers)["id"], add(api, headers)["id"]
    answer = api.client.request("DELETE", f"/v1/media/{gone}", headers=headers, content=body)
    assert (answer.status_code, answer.json()) == (200, {"deleted": True})
    assert list_ids(api, headers) == [kept]


def test_an_image_that_is_deleted_while_it_is_read(start: ApiFactory, tmp_path: Path) -> None:
    """What was opened is sent whole; what is asked for afterwards is gone."""
    api = start()
    headers = owner(api)
    shown = add(api, headers)
    with api.client.stream("GET", shown["src"].removeprefix("http://localhost:4647")) as answer:
        delete(api, headers, shown["id"])
        assert b"".join(answer.iter_bytes()) == picture()
    check_refusal(api.fetch(shown["src"]), 404, "not_found")
    (name,) = stored_blobs(api)
    assert blob_path(api.data_dir, name).read_bytes() == picture()
