"""Many requests at the same moment: limits are exact and only one of them wins. A real server over real sockets."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import httpx2
import pytest
from commands import authorization, make_key
from library import Headers, add_rows, check_counts, check_files, picture
from running import WAIT_SECONDS, Running, servers
from wire import check_error_shape

MB = 1024 * 1024
CLIENTS = 50
ROUNDS = 10
CONFIG = """
[plans.few]
label = "Few"
uploads_per_month = 3
storage_mb = 10

[plans.small]
label = "Small"
uploads_per_month = 1000
storage_mb = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all of this; after everything its counts are right."""
    with servers(tmp_path_factory.mktemp("server")) as start:
        running = start(config=CONFIG)
        yield running
        check_counts(running.data_dir)
        assert "Traceback" not in running.stderr


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx2.Client]:
    limits = httpx2.Limits(max_connections=CLIENTS)
    with httpx2.Client(base_url=server.url, timeout=WAIT_SECONDS, limits=limits, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        yield pool


def at_once(threads: ThreadPoolExecutor, count: int, request: Callable[[int], Any]) -> list[Any]:
    """The answers to requests that start together."""
    start = Barrier(count, timeout=WAIT_SECONDS)

    def send(number: int) -> Any:
        start.wait()
        return request(number)

    return list(threads.map(send, range(count)))


def upload(client: httpx2.Client, headers: Headers, number: int = 0, **fields: str) -> Any:
    return client.post("/v1/upload", headers=headers, data=fields, files={"file": ("a.png", picture(number))})


def new_key(server: Running, plan: str, email: str) -> Headers:
    config = ("--config", str(server.directory / "imgpro.toml"))
    return authorization(make_key(server.data_dir, "--verified", "--plan", plan, *config, email=email))


def statuses(answers: list[Any]) -> dict[int, int]:
    for answer in answers:
        if answer.status_code >= 400:
            check_error_shape(answer)
    return dict(Counter(answer.status_code for answer in answers))


@pytest.mark.parametrize("same_bytes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_upload_is_left(
    server: Running, client: httpx2.Client, threads: ThreadPoolExecutor, same_bytes: bool
) -> None:
    headers = new_key(server, "few", f"few{same_bytes}@example.com")
    for _ in range(2):
        assert upload(client, headers).status_code == 201
    answers = at_once(threads, CLIENTS, lambda number: upload(client, headers, 0 if same_bytes else number))
    assert statuses(answers) == {201: 1, 413: CLIENTS - 1}
    usage = client.get("/v1/usage", headers=headers).json()
    assert (usage["uploads_used"], usage["uploads_remaining"]) == (3, 0)
    assert len(client.get("/v1/media", headers=headers).json()["items"]) == 3
    (stored,) = [answer for answer in answers if answer.status_code == 201]
    assert stored.headers["x-monthly-uploads-remaining"] == "0"
    check_files(server.data_dir)


def test_the_last_bytes_of_the_storage(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    headers = new_key(server, "small", "small@example.com")
    add_rows(server.data_dir, headers, 1, filesize_bytes=MB - 2 * len(picture()) - 1)
    answers = at_once(threads, CLIENTS, lambda _: upload(client, headers))
    assert statuses(answers) == {201: 2, 413: CLIENTS - 2}
    assert client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == MB - 1


def test_storage_to_the_last_byte(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    headers = new_key(server, "small", "exact@example.com")
    add_rows(server.data_dir, headers, 1, filesize_bytes=MB - len(picture()))
    assert statuses(at_once(threads, CLIENTS, lambda _: upload(client, headers))) == {201: 1, 413: CLIENTS - 1}
    assert client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == MB


def test_one_external_id(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    headers, other = (new_key(server, "owner", f"{name}@example.com") for name in ("ext", "other-ext"))
    answers = at_once(
        threads,
        CLIENTS,
        lambda number: upload(client, other if number == 0 else headers, number, external_id="the-same"),
    )
    assert answers.pop(0).status_code == 201  # of another team
    assert statuses(answers) == {201: 1, 409: CLIENTS - 2}
    (stored,) = [answer.json() for answer in answers if answer.status_code == 201]
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["media"] == stored
    assert client.get("/v1/usage", headers=headers).json()["uploads_used"] == 1
    assert [item["id"] for item in client.get("/v1/media", headers=headers).json()["items"]] == [stored["id"]]


def test_an_external_id_that_is_taken_by_patch(
    server: Running, client: httpx2.Client, threads: ThreadPoolExecutor
) -> None:
    headers = new_key(server, "owner", "patch@example.com")
    ids = [upload(client, headers).json()["id"] for _ in range(10)]
    for turn in range(ROUNDS):
        take = partial(patch_to, client, headers, ids, f"taken-{turn}")
        answers = at_once(threads, 10, take)
        assert statuses(answers) == {200: 1, 409: 9}
        (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
        assert all(answer.json()["media"] == winner for answer in answers if answer.status_code == 409)
    # Each kept the last one that it won, so no two have the same.
    items = client.get("/v1/media", headers=headers).json()["items"]
    taken = [item["external_id"] for item in items if "external_id" in item]
    assert f"taken-{ROUNDS - 1}" in taken
    assert len(taken) == len(set(taken))


def patch_to(client: httpx2.Client, headers: Headers, ids: list[str], external_id: str, number: int) -> Any:
    return client.patch(f"/v1/media/{ids[number]}", headers=headers, json={"external_id": external_id})


def delete_one(client: httpx2.Client, headers: Headers, media_id: str, _number: int) -> Any:
    return client.delete(f"/v1/media/{media_id}", headers=headers)


def test_two_deletes(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    headers = new_key(server, "owner", "delete@example.com")
    for _ in range(ROUNDS):
        media_id = upload(client, headers).json()["id"]
        answers = at_once(threads, 2, partial(delete_one, client, headers, media_id))
        assert statuses(answers) == {200: 1, 404: 1}
    assert client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == 0


def test_deletes_by_id_and_by_namespace(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    """Each image is counted by exactly one of them."""
    headers = new_key(server, "owner", "namespace@example.com")
    ids = add_rows(server.data_dir, headers, 1_000, namespace="ns")

    def delete(number: int) -> Any:
        if number < 2:
            return client.request("DELETE", "/v1/media/batch", headers=headers, json={"namespace": "ns"})
        some = ids[(number - 2) * 100 : (number - 1) * 100]
        return client.request("DELETE", "/v1/media/batch", headers=headers, json={"ids": some})

    answers = at_once(threads, 12, delete)
    assert statuses(answers) == {200: 12}
    assert sum(answer.json()["deleted"] for answer in answers) == 1_000


def test_changes_of_one_image(server: Running, client: httpx2.Client, threads: ThreadPoolExecutor) -> None:
    """No change undoes another."""
    headers = new_key(server, "owner", "changes@example.com")
    media_id = upload(client, headers).json()["id"]
    answers = at_once(
        threads,
        10,
        lambda number: client.patch(
            f"/v1/media/{media_id}",
            headers=headers,
            json={"tags": f"t{number}", "tag_mode": "add", "metadata": {f"k{number}": number}},
        ),
    )
    assert statuses(answers) == {200: 10}
    shown = client.get(f"/v1/media/{media_id}", headers=headers).json()
    assert sorted(shown["tags"]) == [f"t{number}" for number in range(10)]
    assert all(shown[f"k{number}"] == number for number in range(10))
