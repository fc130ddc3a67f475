"""`imgpro-lite media …`: alone, and beside a running server, which obeys at once."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from checking import blob_of
from commands import make_key, run_main
from conftest import Api, ApiFactory, FakeClock
from images import make_image
from library import (
    Headers,
    add,
    blob_path,
    check_counts,
    check_files,
    connect,
    fail_media,
    list_ids,
    list_media_by_command,
    owner,
    picture,
    run_media,
    somebody,
    sweep_now,
)
from running import run
from wire import check_refusal, stored_blobs

SHA256 = hashlib.sha256(picture()).hexdigest()
OTHER_SHA256 = hashlib.sha256(picture(1)).hexdigest()


@pytest.fixture
def clock() -> FakeClock:
    """The operator's commands use the machine's clock, so the server begins at the same time."""
    return FakeClock(int(time.time()))


def delete(api: Api, headers: Headers, media_id: str) -> None:
    assert api.client.delete(f"/v1/media/{media_id}", headers=headers).status_code == 200


def variants(api: Api) -> list[Path]:
    return [path for path in (api.data_dir / "cache").rglob("*") if path.is_file()]


def usage(api: Api, headers: Headers) -> tuple[int, int]:
    shown = api.client.get("/v1/usage", headers=headers).json()
    return shown["uploads_used"], shown["storage_used_bytes"]


# ── delete and restore ──


def test_delete_and_restore_beside_a_running_server(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, namespace="ns", tags="a", external_id="e", author="Jane")
    other = add(api, headers)
    told = run_media(api.data_dir, "delete", shown["id"], other["id"])
    assert "Deleted 2." in told
    assert "7 days" in told
    check_refusal(api.fetch(shown["src"]), 404, "not_found")
    assert (list_ids(api, headers), usage(api, headers)) == ([], (2, 0))
    assert run_media(api.data_dir, "restore", shown["id"]) == f"Restored {shown['id']}\n"
    assert api.client.get(f"/v1/media/{shown['id']}", headers=headers).json() == shown
    assert api.fetch(shown["src"]).content == picture()
    assert list_ids(api, headers, tags="a", namespace="ns") == [shown["id"]]
    assert usage(api, headers) == (2, len(picture()))
    check_counts(api.data_dir)


def test_a_restore_warns_when_the_file_is_missing(api: Api) -> None:
    shown = api.upload(make_image("png", 61, 3)).json()
    run_media(api.data_dir, "delete", shown["id"])
    path = blob_of(api.data_dir, shown["id"])
    path.unlink()
    told = run_media(api.data_dir, "restore", shown["id"])
    assert told.startswith(f"Restored {shown['id']} (but its file {path} is missing: ")


def test_what_the_owner_deleted_comes_back_without_a_server(start: ApiFactory) -> None:
    api = start()
    headers = owner(api)
    ids = [add(api, headers)["id"] for _ in range(3)]
    for media_id in ids:
        delete(api, headers, media_id)
    api.client.__exit__(None, None, None)
    told = run_media(api.data_dir, "restore", *ids)
    assert told.splitlines() == [f"Restored {media_id}" for media_id in ids]
    run_media(api.data_dir, "delete", ids[0])
    api = start()
    assert list_ids(api, headers) == ids[:0:-1]


def test_a_restore_whose_external_id_is_taken(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, external_id="taken")
    delete(api, headers, shown["id"])
    holder = add(api, headers, external_id="taken")
    told = run_media(api.data_dir, "restore", shown["id"])
    assert f"Restored {shown['id']}" in told
    assert "'taken'" in told
    back = api.client.get(f"/v1/media/{shown['id']}", headers=headers).json()
    assert back == {name: value for name, value in shown.items() if name != "external_id"}
    assert api.client.get(f"/v1/media/{holder['id']}", headers=headers).json()["external_id"] == "taken"
    check_counts(api.data_dir)


def test_a_restore_whose_external_id_another_deleted_image_has(api: Api) -> None:
    headers, other = owner(api), somebody(api)
    shown, second = (delete_after(api, headers, external_id="e") for _ in range(2))
    add(api, other, external_id="e")
    assert "external_id" not in run_media(api.data_dir, "restore", shown)
    assert "'e'" in run_media(api.data_dir, "restore", second)
    assert sorted(list_ids(api, headers)) == sorted([shown, second])


def delete_after(api: Api, headers: Headers, **fields: str) -> str:
    media_id = str(add(api, headers, **fields)["id"])
    delete(api, headers, media_id)
    return media_id


def test_an_anonymous_image_keeps_its_external_id(api: Api) -> None:
    first, _ = (add(api, {}, external_id="e")["id"] for _ in range(2))
    run_media(api.data_dir, "delete", first)
    assert run_media(api.data_dir, "restore", first) == f"Restored {first}\n"
    assert [item["external_id"] for item in list_media_by_command(api.data_dir)] == ["e", "e"]


def test_a_restore_of_an_expired_image_lifts_its_expiry(start: ApiFactory, clock: FakeClock) -> None:
    clock.at -= 40 * 86_400
    api = start()
    headers, free = owner(api), api.new_key()
    by_ttl, by_retention = add(api, headers, ttl="1h")["id"], add(api, free)["id"]
    clock.advance(days=40)
    assert sweep_now(api).expired == 2
    for media_id, key in ((by_ttl, headers), (by_retention, free)):
        assert "expiry" in run_media(api.data_dir, "restore", media_id)
        shown = api.client.get(f"/v1/media/{media_id}", headers=key).json()
        assert "expires_at" not in shown
        assert list_ids(api, key) == [media_id]
    assert sweep_now(api).expired == 0
    check_counts(api.data_dir)


def test_an_expiry_that_is_not_over_stays(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers, ttl="1d")
    delete(api, headers, shown["id"])
    assert run_media(api.data_dir, "restore", shown["id"]) == f"Restored {shown['id']}\n"
    assert api.client.get(f"/v1/media/{shown['id']}", headers=headers).json() == shown


def test_a_restore_checks_no_quota(start: ApiFactory) -> None:
    headers = owner(start(), "--plan", "pro")
    api = start(plans={"pro": {"label": "Pro", "uploads_per_month": 2, "storage_mb": 1}})
    ids = [delete_after(api, headers) for _ in range(2)]
    assert api.upload(picture(), headers).status_code == 413
    run_media(api.data_dir, "restore", *ids)
    assert usage(api, headers) == (2, 2 * len(picture()))


# ── purge ──


def test_a_purge_removes_the_file_and_its_variants(api: Api) -> None:
    headers = owner(api)
    shown = add(api, headers)
    other = api.upload(picture(1), headers).json()
    for one in (shown, other):
        assert api.fetch(one["src"].replace(".png", ".webp?size=s")).status_code == 200
    assert "Deleted 1 for good" in run_media(api.data_dir, "delete", "--purge", shown["id"])
    assert stored_blobs(api) == [OTHER_SHA256]
    assert len(variants(api)) == 1
    for address in (shown["src"], shown["src"].replace(".png", ".webp?size=s")):
        check_refusal(api.fetch(address), 404, "not_found")
    assert "There is no deleted image" in fail_media(api.data_dir, "restore", shown["id"])
    assert add(api, headers)["id"] != shown["id"]  # the same bytes are welcome
    check_counts(api.data_dir)
    check_files(api.data_dir)


@pytest.mark.parametrize("before", ["live", "deleted"])
def test_a_purge_leaves_bytes_that_another_image_has(api: Api, before: str) -> None:
    headers, other = owner(api), somebody(api)
    shown, shared = add(api, headers), add(api, other)
    assert api.fetch(shared["src"].replace(".png", ".webp")).status_code == 200
    if before == "deleted":
        delete(api, headers, shown["id"])
        delete(api, other, shared["id"])
    run_media(api.data_dir, "delete", "--purge", shown["id"])
    assert stored_blobs(api) == [SHA256]
    assert len(variants(api)) == 1
    if before == "deleted":
        run_media(api.data_dir, "restore", shared["id"])
    assert api.fetch(shared["src"]).content == picture()
    check_counts(api.data_dir)


# ── block ──


def test_a_block_removes_every_copy_and_refuses_more(api: Api) -> None:
    headers, other = owner(api), somebody(api)
    shown, again = add(api, headers, namespace="ns"), add(api, headers)
    theirs, anonymous = add(api, other), add(api, {})
    gone = delete_after(api, headers)
    different = api.upload(picture(1), headers).json()
    assert api.fetch(shown["src"].replace(".png", ".webp?size=s")).status_code == 200
    assert "4 images were removed" in run_media(api.data_dir, "block", SHA256.upper())
    for one in (shown, again, theirs, anonymous):
        check_refusal(api.fetch(one["src"]), 404, "not_found")
        check_refusal(api.fetch(one["src"].replace(".png", ".webp?size=s")), 404, "not_found")
    assert list_ids(api, headers) == [different["id"]]
    assert stored_blobs(api) == [OTHER_SHA256]
    assert variants(api) == []
    for key in (headers, other, {}):
        check_refusal(api.upload(picture(), key), 403, "forbidden")
    for media_id in (shown["id"], gone):
        assert "There is no deleted image" in fail_media(api.data_dir, "restore", media_id)
    assert usage(api, headers) == (4, len(picture(1)))
    assert "0 images were removed" in run_media(api.data_dir, "block", SHA256)
    check_counts(api.data_dir)
    check_files(api.data_dir)


def test_a_block_before_the_first_upload(start: ApiFactory) -> None:
    api = start()
    assert "0 images were removed" in run_media(api.data_dir, "block", SHA256)
    api = start()
    check_refusal(api.upload(picture()), 403, "forbidden")
    assert api.upload(picture(1)).status_code == 201


# ── what the operator may get wrong ──


@pytest.mark.parametrize("command", [["delete"], ["delete", "--purge"], ["restore"]])
@pytest.mark.parametrize("media_id", ["abcdefghijkl12", "x", "", "'; --", "\udcff"])
def test_an_unknown_id_changes_nothing(tmp_path: Path, command: list[str], media_id: str) -> None:
    make_key(tmp_path / "data")
    fail_media(tmp_path / "data", *command, media_id)


def test_one_wrong_id_among_good_ones_changes_nothing(api: Api) -> None:
    headers = owner(api)
    kept, gone = add(api, headers)["id"], delete_after(api, headers)
    checks: list[tuple[list[str], Callable[[], list[str]]]] = [
        (["delete", kept, gone], lambda: list_ids(api, headers)),
        (["delete", "--purge", kept, "abcdefghijkl12"], lambda: list_ids(api, headers)),
        (["restore", gone, kept], lambda: list_ids(api, headers)),
    ]
    for arguments, left in checks:
        message = fail_media(api.data_dir, *arguments)
        assert arguments[-1] in message
        assert left() == [kept]
    assert blob_path(api.data_dir, SHA256).is_file()


@pytest.mark.parametrize("sha256", ["", "x", SHA256[:-1], SHA256 + "0", SHA256[:-1] + "g", SHA256 + "\n", "\udcff"])
def test_a_sha256_that_is_none(tmp_path: Path, sha256: str) -> None:
    make_key(tmp_path / "data")
    assert "64 hexadecimal digits" in fail_media(tmp_path / "data", "block", sha256)


@pytest.mark.parametrize("arguments", [["list"], ["delete", "x"], ["restore", "x"], ["block", SHA256]])
def test_a_missing_data_directory(tmp_path: Path, arguments: list[str]) -> None:
    message = fail_media(tmp_path / "mistyped", *arguments)
    assert str(tmp_path / "mistyped") in message
    assert "--data-dir" in message
    assert not (tmp_path / "mistyped").exists()


def test_the_exit_code(tmp_path: Path) -> None:
    ended = run(tmp_path, "media", "restore", "abcdefghijkl12", "--data-dir", "data")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("imgpro-lite: There is no library in ")
    assert ended.stderr.count("\n") == 1


def test_a_failure_of_the_database_is_told_without_saying_what_is_not_true(api: Api) -> None:
    """The image is deleted in one transaction, its files are removed in another."""
    shown = add(api, owner(api))
    with connect(api.data_dir) as conn:
        conn.execute("CREATE TRIGGER broken BEFORE DELETE ON purgeable_blobs BEGIN SELECT RAISE(ABORT, 'broken'); END")
    code, _, said = run_main("media", "delete", shown["id"], "--purge", "--data-dir", str(api.data_dir))
    assert code == 1
    assert said == "imgpro-lite: The database failed: broken. What the command had done before stays done.\n"
    assert api.client.get(f"/v1/media/{shown['id']}").status_code == 404
