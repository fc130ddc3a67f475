"""What is hot never outlives a change of its image: by its owner, by time, by the operator beside the server."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from commands import authorization, make_key, run_keys
from conftest import Api, ApiFactory, FakeClock
from hot import ask, hot_count, is_hot, settle
from images import make_image
from library import Headers, change_media, connect, delete_batch, owner, run_media, sweep_now, update_batch
from running import until
from views import WAIT_SECONDS, being_made, id_of, put
from wire import check_refusal

PICTURE = make_image("jpeg", 900, 700)
DAY_SECONDS = 86_400


def addresses_of(stem: str) -> list[str]:
    return [f"{stem}.jpeg", f"{stem}.webp?size=s", f"{stem}.jpg?size=m"]


def put_hot(api: Api, key: Headers | None, **fields: str) -> str:
    """Upload a picture and ask for it until memory has it."""
    stem = put(api, PICTURE, key, **fields)
    for address in addresses_of(stem):
        assert ask(api, address)[0] == 200
        assert is_hot(api, address)
    return stem


def check_gone(api: Api, stem: str) -> None:
    for address in addresses_of(stem):
        for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-9"}):
            check_refusal(api.client.get(address, headers=headers), 404, "not_found")


def check_stays(api: Api, stem: str) -> None:
    for address in addresses_of(stem):
        assert is_hot(api, address)
        assert ask(api, address)[0] == 200


@pytest.fixture
def key(api: Api) -> Headers:
    headers = owner(api)
    settle(api)
    return headers


# --- by the owner


def test_the_name_of_a_private_image_is_not_told(api: Api, key: Headers) -> None:
    """Its bytes are for everybody who knows their address, but not what it is called; nor from memory."""
    stem = put_hot(api, key, name="Divorce papers")
    for public, name in ((True, "Divorce%20papers"), (False, id_of(stem)), (True, "Divorce%20papers")):
        assert update_batch(api, key, [id_of(stem)], public=public) == 1
        for address in addresses_of(stem):
            for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}, {}):
                told = api.client.get(address, headers=headers).headers.get("content-disposition", name)
                assert name in told
                assert public or "Divorce" not in told
            saved = api.client.get(address + ("&" if "?" in address else "?") + "download")
            assert f"filename*=UTF-8''{name}." in saved.headers["content-disposition"]


def test_a_deleted_image_is_gone_and_another_with_the_same_bytes_stays(api: Api, key: Headers) -> None:
    stem, other = put_hot(api, key), put_hot(api, key)
    assert api.client.delete(f"/v1/media/{id_of(stem)}", headers=key).status_code == 200
    check_gone(api, stem)
    check_stays(api, other)


@pytest.mark.parametrize("way", ["ids", "namespace", "query"])
def test_deleted_in_a_batch(api: Api, key: Headers, way: str) -> None:
    gone = [put_hot(api, key, namespace="old") for _ in range(2)]
    stays = put_hot(api, key, namespace="new")
    ids = [id_of(stem) for stem in gone]
    if way == "query":
        assert delete_batch(api, key, query=f"?ids={','.join(ids)}") == 2
    else:
        assert delete_batch(api, key, {"ids": ids} if way == "ids" else {"namespace": "old"}) == 2
    for stem in gone:
        check_gone(api, stem)
    check_stays(api, stays)


def test_a_new_name_is_shown_at_once(api: Api, key: Headers) -> None:
    stem, other = put_hot(api, key, name="before.jpg"), put_hot(api, key, name="before.jpg")
    change_media(api, key, id_of(stem), {"name": "after.jpg"})
    for address in addresses_of(stem):
        for _ in range(2):
            assert "after." in ask(api, address)[1]["content-disposition"]
    check_stays(api, other)
    assert "before." in ask(api, addresses_of(other)[0])[1]["content-disposition"]


@pytest.mark.parametrize("change", [{"tags": "a"}, {"namespace": "n1"}, {"metadata": {"a": "b"}}])
def test_other_changes_change_no_answer(api: Api, key: Headers, change: dict[str, Any]) -> None:
    stem = put_hot(api, key)
    first = [ask(api, address) for address in addresses_of(stem)]
    change_media(api, key, id_of(stem), change)
    for _ in range(2):
        assert [ask(api, address) for address in addresses_of(stem)] == first
    if "metadata" not in change:
        assert update_batch(api, key, [id_of(stem)], **change) == 1
        assert [ask(api, address) for address in addresses_of(stem)] == first


def test_a_change_that_is_refused_is_none(api: Api, key: Headers) -> None:
    stem, other = put_hot(api, key, external_id="one"), put_hot(api, key)
    answer = api.client.patch(f"/v1/media/{id_of(other)}", headers=key, json={"external_id": "one", "name": "x"})
    assert answer.status_code == 409
    check_stays(api, stem)
    check_stays(api, other)


# --- by time


def test_an_expiry_is_kept_to_the_second(api: Api, clock: FakeClock, key: Headers) -> None:
    stem = put(api, PICTURE, key, ttl=str(2 * DAY_SECONDS))
    expires_at = clock.at + 2 * DAY_SECONDS
    hour = 3600  # in which a proxy may keep an answer, so that it is told what not to keep before max-age changes
    for seconds_left in (DAY_SECONDS + hour + 1, DAY_SECONDS + hour, DAY_SECONDS, DAY_SECONDS - 1, 3601, 2, 1):
        clock.at = expires_at - seconds_left
        is_kept = seconds_left > DAY_SECONDS + hour
        for address in addresses_of(stem):
            for _ in range(2):
                status, headers, _ = ask(api, address)
                assert status == 200
                assert headers["cache-control"] == f"public, max-age={min(DAY_SECONDS, seconds_left)}"
                assert headers.get("x-accel-expires") == (None if is_kept else "0")
                status, headers, _ = ask(api, address, If_None_Match="*")
                assert status == 304
                assert headers["cache-control"] == f"public, max-age={min(DAY_SECONDS, seconds_left)}"
    clock.at = expires_at
    check_gone(api, stem)


def test_a_transform_takes_from_the_time_that_is_left(api: Api, clock: FakeClock, key: Headers) -> None:
    stem = put(api, PICTURE, key, ttl="3600")
    with being_made(api, f"{stem}.webp?size=s") as asked:
        clock.advance(seconds=5)
    assert asked.result(WAIT_SECONDS).headers["cache-control"] == "public, max-age=3595"


def test_what_changes_every_second_takes_no_memory(api: Api, clock: FakeClock, key: Headers) -> None:
    """In the last day of an image each answer has another max-age."""
    stem = put(api, PICTURE, key, ttl="3600")
    for address in addresses_of(stem):
        ask(api, address)
    assert hot_count(api) == 0


def test_it_is_looked_at_again_after_ten_minutes(api: Api, clock: FakeClock, key: Headers) -> None:
    stem = put_hot(api, key)
    clock.advance(seconds=599)
    assert is_hot(api, f"{stem}.jpeg")
    clock.advance(seconds=1)
    assert not is_hot(api, f"{stem}.jpeg")
    assert ask(api, f"{stem}.jpeg")[0] == 200


def test_a_sweep_makes_no_difference(start: ApiFactory, clock: FakeClock) -> None:
    api = start(storage={"grace_days": 0})
    key = owner(api)
    settle(api)
    stem, gone = put_hot(api, key), put_hot(api, key, ttl=str(2 * DAY_SECONDS))
    clock.advance(days=2)
    sweep_now(api)
    check_gone(api, gone)
    assert ask(api, f"{stem}.jpeg")[0] == 200


# --- by the operator, beside the server


@pytest.mark.parametrize("command", ["delete", "purge", "block"])
def test_the_operator_has_the_last_word(api: Api, key: Headers, command: str) -> None:
    stem, other = put_hot(api, key), put_hot(api, key)
    if command == "block":
        with connect(api.data_dir) as conn:
            (digest,) = conn.execute("SELECT DISTINCT hex(sha256) FROM media").fetchone()
        run_media(api.data_dir, "block", digest)
    else:
        run_media(api.data_dir, "delete", *(["--purge"] if command == "purge" else []), id_of(stem))
    check_gone(api, stem)  # at once: the command has waited until the server knows
    if command == "block":
        check_gone(api, other)
        check_refusal(api.upload(PICTURE, key), 403, "forbidden")
    else:
        assert [ask(api, address)[0] for address in addresses_of(other)] == [200] * 3


def test_a_restored_image_is_back(api: Api, key: Headers) -> None:
    stem = put_hot(api, key)
    first = [ask(api, address) for address in addresses_of(stem)]
    api.client.delete(f"/v1/media/{id_of(stem)}", headers=key)
    check_gone(api, stem)
    run_media(api.data_dir, "restore", id_of(stem))
    assert [ask(api, address) for address in addresses_of(stem)] == first


def test_verifying_a_key_lifts_the_end_of_its_images(api: Api, clock: FakeClock) -> None:
    clock.at = int(time.time())  # the command's clock is the machine's
    made = make_key(api.data_dir, "--plan", "free")
    stem = put(api, PICTURE, authorization(made))
    clock.advance(days=29, seconds=DAY_SECONDS // 2)
    assert ask(api, f"{stem}.jpeg")[1]["cache-control"] == f"public, max-age={DAY_SECONDS // 2}"
    run_keys(api.data_dir, "verify", made["key_id"])
    until(lambda: ask(api, f"{stem}.jpeg")[1]["cache-control"] == f"public, max-age={DAY_SECONDS}")
    clock.advance(days=1)
    assert ask(api, f"{stem}.jpeg")[0] == 200


def test_what_another_process_writes_is_noticed(api: Api, key: Headers) -> None:
    stem = put_hot(api, key)
    with connect(api.data_dir) as conn:
        conn.execute("UPDATE media SET name = 'written outside.jpg'")
    until(lambda: "outside" in ask(api, f"{stem}.jpeg")[1]["content-disposition"])


# --- while the first answer is made


def delete_by_api(api: Api, key: Headers, stem: str) -> None:
    assert api.client.delete(f"/v1/media/{id_of(stem)}", headers=key).status_code == 200


def delete_by_command(api: Api, _key: Headers, stem: str) -> None:
    run_media(api.data_dir, "delete", id_of(stem))


@pytest.mark.parametrize("delete", [delete_by_api, pytest.param(delete_by_command, marks=pytest.mark.slow)])
def test_a_delete_that_comes_before_the_first_answer_leaves_nothing_hot(
    api: Api, key: Headers, delete: Callable[[Api, Headers, str], None]
) -> None:
    stem = put(api, PICTURE, key)
    with being_made(api, f"{stem}.webp?size=s") as asked:
        delete(api, key, stem)
    check_refusal(asked.result(WAIT_SECONDS), 404, "not_found")
    assert hot_count(api) == 0
    check_refusal(api.client.get(f"{stem}.webp?size=s"), 404, "not_found")


def test_a_change_that_comes_before_the_first_answer_is_shown_by_the_second(api: Api, key: Headers) -> None:
    stem = put(api, PICTURE, key, name="before.jpg")
    with being_made(api, f"{stem}.webp?size=s") as asked:
        change_media(api, key, id_of(stem), {"name": "after.jpg"})
    assert asked.result(WAIT_SECONDS).status_code == 200
    assert "after." in ask(api, f"{stem}.webp?size=s")[1]["content-disposition"]


def test_answers_and_deletes_all_at_once(api: Api, key: Headers) -> None:
    """After a delete is acknowledged, nobody is answered with the image any more."""
    stems = [put_hot(api, key) for _ in range(8)]
    wrong = []

    def delete(stem: str) -> None:
        delete_by_api(api, key, stem)
        wrong.extend(address for address in addresses_of(stem) if api.client.get(address).status_code != 404)

    with ThreadPoolExecutor(12) as threads:
        views = [threads.submit(api.client.get, address) for stem in stems * 5 for address in addresses_of(stem)]
        for done in [threads.submit(delete, stem) for stem in stems]:
            done.result(WAIT_SECONDS)
        assert {view.result(WAIT_SECONDS).status_code for view in views} <= {200, 404}
    assert wrong == []
    assert hot_count(api) == 0
