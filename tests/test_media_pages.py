"""The pages of GET /v1/media: a walk shows every image once, and a cursor leads on in its own list only."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api, ApiFactory
from library import Headers, add_file, add_rows, list_ids, list_page, somebody
from shared import serve
from wire import check_refusal

WALKS: list[dict[str, Any]] = [
    {},
    {"namespace": "ns"},
    {"tags": "even"},
    {"tags": "even,third"},
    {"tags": "even,third", "tag_mode": "any"},
    {"tags": "third", "namespace": "ns"},
    {"tags": "even,third", "tag_mode": "any", "namespace": "ns"},
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all of this."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def fill(api: Api, headers: Headers, count: int, moment: int = 0) -> list[str]:
    """Images of few different dates, tags and namespaces."""
    ids = []
    for number in range(count):
        tags = [tag for tag, step in (("even", 2), ("third", 3)) if number % step == 0]
        ids += add_rows(
            api.data_dir,
            headers,
            1,
            tags=json.dumps(tags),
            namespace="ns" if number % 4 else None,
            date_at=moment - (number * 7) % 5,
        )
    return ids


@pytest.mark.parametrize("query", WALKS)
def test_every_page_size_gives_the_whole_list_once(shared: Api, query: dict[str, Any]) -> None:
    headers = somebody(shared)
    fill(shared, headers, 30)
    whole = [item["id"] for item in list_page(shared, headers, limit=100, **query)["items"]]
    assert len(whole) == len(set(whole)) >= 5
    for limit in range(1, len(whole) + 2):
        assert list_ids(shared, headers, limit=limit, **query) == whole


@pytest.mark.slow
@pytest.mark.parametrize("query", WALKS)
def test_changes_between_pages_repeat_and_skip_nothing(shared: Api, query: dict[str, Any]) -> None:
    headers = somebody(shared)
    ids = fill(shared, headers, 40)
    before = list_ids(shared, headers, **query)
    seen: list[str] = []
    gone: set[str] = set()
    page: dict[str, Any] = {"has_more": True, "cursor": ""}
    step = 0
    while page["has_more"]:
        page = list_page(shared, headers, limit=3, **query, **({"cursor": page["cursor"]} if page["cursor"] else {}))
        seen += [item["id"] for item in page["items"]]
        # One that was shown, the last one of the page too, and one that may still come.
        victims = {seen[-1], seen[len(seen) // 2], ids[step % len(ids)]}
        answer = shared.client.request("DELETE", "/v1/media/batch", headers=headers, json={"ids": sorted(victims)})
        assert answer.status_code == 200
        gone |= victims
        fill(shared, headers, 6, moment=-2)
        step += 1
    assert step >= 2
    assert len(seen) == len(set(seen))
    assert [media_id for media_id in seen if media_id in before and media_id not in gone] == [
        media_id for media_id in before if media_id not in gone
    ]


def test_the_last_page_has_no_cursor(shared: Api) -> None:
    headers = somebody(shared)
    ids = add_rows(shared.data_dir, headers, 4)
    first = list_page(shared, headers, limit=2)
    assert first["has_more"] is True
    assert first["cursor"]
    last = list_page(shared, headers, limit=2, cursor=first["cursor"])
    assert [item["id"] for item in last["items"]] == [ids[1], ids[0]]
    assert (last["cursor"], last["has_more"]) == (None, False)


def test_a_cursor_after_which_everything_is_deleted(shared: Api) -> None:
    headers = somebody(shared)
    add_rows(shared.data_dir, headers, 4, namespace="ns")
    cursor = list_page(shared, headers, limit=2)["cursor"]
    assert shared.client.delete("/v1/media/batch?namespace=ns", headers=headers).json() == {"deleted": 4}
    assert list_page(shared, headers, cursor=cursor) == {"items": [], "cursor": None, "has_more": False}


def test_a_cursor_is_for_any_limit_and_outlives_a_restart(start: ApiFactory) -> None:
    api = start()
    headers = somebody(api)
    ids = add_rows(api.data_dir, headers, 9, tags='["a", "b"]')[::-1]
    cursor = list_page(api, headers, limit=2, tags="a,b")["cursor"]
    add_file(api.data_dir)
    api = start()
    api.clock.advance(days=400)
    for limit in (1, 3, 100):
        page = list_page(api, headers, limit=limit, tags="b,a,A", cursor=cursor)
        assert [item["id"] for item in page["items"]] == ids[2 : 2 + limit]


def test_a_cursor_tells_nothing_apart_from_the_place(shared: Api) -> None:
    headers = somebody(shared)
    add_rows(shared.data_dir, headers, 2, namespace="secret-ns", tags='["secret-tag"]', name="secret-name")
    cursor = list_page(shared, headers, limit=1, namespace="secret-ns")["cursor"]
    assert cursor.replace("-", "").replace("_", "").replace(".", "").isalnum()
    payload = base64.urlsafe_b64decode(cursor.split(".")[0] + "==")
    assert b"secret" not in payload


# ── cursors that are not of this list ──


def check_refused(api: Api, headers: Headers, cursor: str, **query: Any) -> None:
    answer = api.client.get("/v1/media", headers=headers, params={"cursor": cursor, **query})
    assert list(check_refusal(answer, 422, "validation_error")["errors"]) == ["cursor"], cursor


@pytest.fixture
def filled(shared: Api) -> tuple[Api, Headers, str]:
    """A library of two pages, and the cursor to the second."""
    headers = somebody(shared)
    add_rows(shared.data_dir, headers, 4, namespace="ns", tags='["a", "b"]')
    return shared, headers, list_page(shared, headers, limit=2)["cursor"]


def test_a_changed_cursor(filled: tuple[Api, Headers, str]) -> None:
    api, headers, cursor = filled
    assert len(list_page(api, headers, cursor=cursor)["items"]) == 2
    for place, char in enumerate(cursor):
        for other in {"A", "B", "_", "."} - {char}:
            check_refused(api, headers, cursor[:place] + other + cursor[place + 1 :])
    for length in range(1, len(cursor)):
        check_refused(api, headers, cursor[:length])


def test_a_cursor_spelt_differently(filled: tuple[Api, Headers, str]) -> None:
    """Base64 has several last characters for the same bytes; only the one that was given out is good."""
    api, headers, cursor = filled
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for other in set(alphabet) - {cursor[-1]}:
        check_refused(api, headers, cursor[:-1] + other)
    for added in ("=", "==", "A", " ", "\n", "\0", ".", "%", "é"):
        check_refused(api, headers, cursor + added)
        check_refused(api, headers, added + cursor)


@pytest.mark.parametrize(
    "cursor",
    ["x", "0", "null", "[]", "eyJpZCI6MTIzfQ", "..", "a.b.c", "=", "é", "\0", "\n", " ", "' or 1=1--", "9" * 20_000],
)
def test_a_cursor_that_is_none(shared: Api, cursor: str) -> None:
    check_refused(shared, somebody(shared), cursor)


QUERIES = [*WALKS, {"namespace": "other"}, {"tags": "third"}]


def test_a_cursor_of_another_list(shared: Api) -> None:
    headers = somebody(shared)
    fill(shared, headers, 30)
    add_rows(shared.data_dir, headers, 2, namespace="other")
    cursors = [list_page(shared, headers, limit=1, **query)["cursor"] for query in QUERIES]
    assert all(cursors)
    for made_for, cursor in zip(QUERIES, cursors, strict=True):
        for query in QUERIES:
            if query == made_for:
                assert list_page(shared, headers, cursor=cursor, **query)["items"]
            else:
                check_refused(shared, headers, cursor, **query)


def test_a_cursor_of_another_team(filled: tuple[Api, Headers, str]) -> None:
    api, headers, cursor = filled
    stranger = somebody(api)
    add_rows(api.data_dir, stranger, 4)
    check_refused(api, stranger, cursor)
    check_refused(api, headers, list_page(api, stranger, limit=2)["cursor"])


def test_a_token_of_another_kind_is_no_cursor(shared: Api) -> None:
    headers = somebody(shared, "--plan", "free")
    add_rows(shared.data_dir, headers, 1, filesize_bytes=5 * 1024**3)
    refused = check_refusal(shared.client.post("/v1/upload", headers=headers), 413, "quota_exceeded")
    check_refused(shared, headers, refused["action"]["url"].partition("?t=")[2])
