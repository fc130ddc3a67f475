"""GET /v1/media: what a page shows, in which order, and which images pass a filter."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api
from library import Headers, add, add_rows, list_ids, list_page, owner, somebody, sweep_now
from shared import serve
from wire import check_refusal

LIST_FIELDS = {"id", "name", "url", "src", "width", "height", "filesize", "tags", "namespace", "public", "created_at"}
HOSTILE_TAGS = ["%", "_", "a%b", "axb", "a_b", "'", '"', "';--", "\\", "*", "a b", "ä", "null", "[]", "0", "' or 1=1"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for the tables below."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


@pytest.fixture(scope="module")
def tagged(shared: Api) -> tuple[Api, Headers, dict[str, str]]:
    """A library to filter: images by the name that says what they are."""
    headers = owner(shared, email="tagged@example.com")
    wanted = {
        "ab one": {"tags": "a,b", "namespace": "one"},
        "a one": {"tags": "a", "namespace": "one"},
        "abc one": {"tags": "c,a,b", "namespace": "one"},
        "ab two": {"tags": "b,a", "namespace": "two"},
        "c two": {"tags": "c", "namespace": "two"},
        "b": {"tags": "b"},
        "none": {},
    }
    ids = {}
    for name, fields in wanted.items():
        shared.clock.advance(seconds=1)
        ids[add(shared, headers, name=name, **fields)["id"]] = name
    return shared, headers, ids


def refused_field(api: Api, headers: Headers, **query: Any) -> list[str]:
    answer = api.client.get("/v1/media", headers=headers, params=query)
    return list(check_refusal(answer, 422, "validation_error")["errors"])


# ── what a page shows ──


def test_no_images(shared: Api) -> None:
    assert list_page(shared, shared.new_key()) == {"items": [], "cursor": None, "has_more": False}


def test_the_fields_of_an_item(shared: Api) -> None:
    headers = somebody(shared)
    plain = add(shared, headers)
    full = add(
        shared,
        headers,
        name="x",
        tags="b,a",
        namespace="ns",
        public="false",
        external_id="e",
        date="2030-01-01",
        ttl="1d",
        author="Jane",
        metadata='{"license": "cc"}',
    )
    first, second = list_page(shared, headers)["items"]
    assert set(second) == LIST_FIELDS
    assert second == {name: plain[name] for name in LIST_FIELDS}
    assert set(first) == LIST_FIELDS | {"expires_at", "date", "external_id"}
    assert first == {name: full[name] for name in first}
    assert (first["public"], first["tags"], first["date"]) == (False, ["b", "a"], 1_893_456_000)
    assert (first["expires_at"], first["external_id"]) == (shared.clock.at + 86_400, "e")


def test_the_order(shared: Api) -> None:
    headers = somebody(shared)
    older = add(shared, headers, name="older")["id"]
    shared.clock.advance(seconds=10)
    first, second = (add(shared, headers, name=name)["id"] for name in ("same second", "same second, later"))
    dated = {
        date: add(shared, headers, date=date)["id"]
        for date in ["0001-01-01", "1969-12-31", "2023-11-14T22:13:25Z", "2030-01-01", "9999-12-31"]
    }
    early, before, between, ahead, far = dated.values()
    assert list_ids(shared, headers) == [far, ahead, second, first, between, older, before, early]
    assert list_ids(shared, headers, limit=1) == list_ids(shared, headers)


def test_a_private_image_is_shown_to_its_owner_only(shared: Api) -> None:
    headers, stranger = somebody(shared), somebody(shared)
    hidden = add(shared, headers, public="false")["id"]
    assert list_ids(shared, headers) == [hidden]
    assert list_ids(shared, stranger) == []


def test_who_may_list(shared: Api) -> None:
    check_refusal(shared.client.get("/v1/media"), 401, "unauthorized")
    check_refusal(shared.client.get("/v1/media", headers={"Authorization": "Bearer img_live_x"}), 401, "unauthorized")
    headers = owner(shared, email="lists@example.com")
    media_id = add(shared, headers)["id"]
    assert list_ids(shared, owner(shared, "--read-only", email="lists@example.com")) == [media_id]


def test_a_deleted_image_is_in_no_list(shared: Api) -> None:
    headers = somebody(shared)
    kept = add(shared, headers, tags="a", namespace="ns")["id"]
    gone = add(shared, headers, tags="a", namespace="ns")["id"]
    assert shared.client.delete(f"/v1/media/{gone}", headers=headers).status_code == 200
    for query in ({}, {"tags": "a"}, {"namespace": "ns"}, {"tags": "a", "namespace": "ns"}):
        assert list_ids(shared, headers, **query) == [kept]


# ── expired, but not swept yet ──


@pytest.mark.parametrize("query", [{}, {"tags": "t"}, {"namespace": "ns"}, {"tags": "t,u", "tag_mode": "any"}])
def test_expired_images_never_show_and_pages_stay_full(shared: Api, query: dict[str, str]) -> None:
    headers = somebody(shared)
    columns = {"namespace": "ns", "tags": '["t", "u"]'}
    kept: list[str] = []
    # Newest first: 30 that stay, 1,000 that end, 30 that stay, 20 that end, 1 that stays.
    for count, ends_at in [(1, None), (20, 100), (30, None), (1000, 100), (30, None)]:
        ends = None if ends_at is None else shared.clock.at + ends_at
        ids = add_rows(shared.data_dir, headers, count, ttl_expires_at=ends, **columns)
        kept = ([] if ends_at else ids[::-1]) + kept
    assert len(list_ids(shared, headers, limit=100, **query)) == 1081
    shared.clock.advance(seconds=100)
    for limit in (7, 50, 100):
        assert list_ids(shared, headers, limit=limit, **query) == kept
    page = list_page(shared, headers, limit=50, **query)
    assert len(page["items"]) == 50
    assert list_page(shared, headers, limit=61, **query)["has_more"] is False
    sweep_now(shared)
    assert list_ids(shared, headers, **query) == kept


def test_only_expired_images_are_left(shared: Api) -> None:
    headers = somebody(shared)
    add_rows(shared.data_dir, headers, 400, ttl_expires_at=shared.clock.at + 5, tags='["t"]')
    cursor = list_page(shared, headers, limit=100)["cursor"]
    shared.clock.advance(seconds=5)
    empty: dict[str, Any] = {"items": [], "cursor": None, "has_more": False}
    assert list_page(shared, headers, limit=100) == list_page(shared, headers, limit=100, cursor=cursor) == empty
    assert list_page(shared, headers, tags="t") == empty


# ── parameters ──


@pytest.mark.parametrize("limit", ["1", "2", "3", "100", "050", ""])
def test_a_limit(tagged: tuple[Api, Headers, dict[str, str]], limit: str) -> None:
    api, headers, ids = tagged
    page = list_page(api, headers, limit=limit)
    assert len(page["items"]) == min(int(limit or 50), len(ids))
    assert page["has_more"] is (page["cursor"] is not None) is (int(limit or 50) < len(ids))


@pytest.mark.parametrize(
    "limit", ["0", "101", "-1", "abc", "1.5", "1e1", "5_0", " 5", "+5", "٣", "0x5", "9" * 5000, "NaN", "\0", "true"]
)
def test_no_limit(tagged: tuple[Api, Headers, dict[str, str]], limit: str) -> None:
    assert refused_field(*tagged[:2], limit=limit) == ["limit"]


def test_without_a_limit_a_page_has_50(shared: Api) -> None:
    headers = somebody(shared)
    ids = add_rows(shared.data_dir, headers, 51)
    page = list_page(shared, headers)
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    assert list_ids(shared, headers) == ids[::-1]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"namespace": "Upper"}, ["namespace"]),
        ({"namespace": "a"}, ["namespace"]),
        ({"namespace": "%"}, ["namespace"]),
        ({"namespace": ["one", "two"]}, ["namespace"]),
        ({"tag_mode": "none"}, ["tag_mode"]),
        ({"tag_mode": "ALL"}, ["tag_mode"]),
        ({"tags": "x" * 51}, ["tags"]),
        ({"tags": ",".join("abcdefghijk")}, ["tags"]),
        ({"tags": '["a"'}, ["tags"]),
        ({"tags": "[1]"}, ["tags"]),
        ({"tags": "a\0b"}, ["tags"]),
        ({"limit": "x", "namespace": "X", "tags": "[", "tag_mode": "x"}, ["limit", "namespace", "tag_mode", "tags"]),
        ({"limit": ["5", "6"], "cursor": ["a", "b"]}, ["cursor", "limit"]),
    ],
)
def test_wrong_parameters(
    tagged: tuple[Api, Headers, dict[str, str]], query: dict[str, Any], fields: list[str]
) -> None:
    assert sorted(refused_field(*tagged[:2], **query)) == fields


# ── filters ──

ALL = ["none", "b", "c two", "ab two", "abc one", "a one", "ab one"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ALL),
        ({"namespace": "", "tags": "", "tag_mode": ""}, ALL),
        ({"unknown": "x"}, ALL),
        ({"namespace": "one"}, ["abc one", "a one", "ab one"]),
        ({"namespace": "two"}, ["c two", "ab two"]),
        ({"namespace": "on"}, []),
        ({"tags": "a"}, ["ab two", "abc one", "a one", "ab one"]),
        ({"tags": "a", "tag_mode": "any"}, ["ab two", "abc one", "a one", "ab one"]),
        ({"tags": "a,b"}, ["ab two", "abc one", "ab one"]),
        ({"tags": "b,a", "tag_mode": "all"}, ["ab two", "abc one", "ab one"]),
        ({"tags": "A , B"}, ["ab two", "abc one", "ab one"]),
        ({"tags": '["a", "b"]'}, ["ab two", "abc one", "ab one"]),
        ({"tags": ["a", "b"]}, ["ab two", "abc one", "ab one"]),
        ({"tags": "a,a,a,"}, ["ab two", "abc one", "a one", "ab one"]),
        ({"tags": "a,b,c"}, ["abc one"]),
        ({"tags": "a,b", "tag_mode": "any"}, ["b", "ab two", "abc one", "a one", "ab one"]),
        ({"tags": "b,c", "tag_mode": "any"}, ["b", "c two", "ab two", "abc one", "ab one"]),
        ({"tags": "a,b,c", "tag_mode": "any"}, ALL[1:]),
        ({"tags": "nobody"}, []),
        ({"tags": "nobody", "tag_mode": "any"}, []),
        ({"tags": "a,nobody"}, []),
        ({"tags": "c,nobody", "tag_mode": "any"}, ["c two", "abc one"]),
        ({"tags": "a", "namespace": "one"}, ["abc one", "a one", "ab one"]),
        ({"tags": "a,b", "namespace": "one"}, ["abc one", "ab one"]),
        ({"tags": "a,b,c", "namespace": "two"}, []),
        ({"tags": "a,c", "tag_mode": "any", "namespace": "two"}, ["c two", "ab two"]),
        ({"tags": "a,nobody", "tag_mode": "any", "namespace": "two"}, ["ab two"]),
        ({"tags": "a", "namespace": "nobody"}, []),
    ],
)
def test_filters(tagged: tuple[Api, Headers, dict[str, str]], query: dict[str, Any], names: list[str]) -> None:
    api, headers, ids = tagged
    for limit in (1, 2, 100):
        assert [ids[media_id] for media_id in list_ids(api, headers, limit=limit, **query)] == names


def test_a_filter_finds_a_tag_to_the_letter(shared: Api) -> None:
    headers = owner(shared, email="hostile@example.com")
    ids = {tag: add(shared, headers, tags=json.dumps([tag]))["id"] for tag in HOSTILE_TAGS}
    for tag, media_id in ids.items():
        for mode in ("all", "any"):
            assert list_ids(shared, headers, tags=json.dumps([tag]), tag_mode=mode) == [media_id], tag
            assert list_ids(shared, headers, tags=json.dumps([tag, tag.upper()]), tag_mode=mode) == [media_id], tag
    assert list_ids(shared, headers, tags=json.dumps(["%", "_"])) == []
    assert len(list_ids(shared, headers, tags=json.dumps(HOSTILE_TAGS[:10]), tag_mode="any")) == 10


@pytest.mark.parametrize("common", [1, 3, 40])
@pytest.mark.parametrize("mode", ["all", "any"])
def test_two_tags_however_common_each_is(shared: Api, common: int, mode: str) -> None:
    """The rarest filter is walked, and which one that is changes the query."""
    headers = somebody(shared)
    both = add_rows(shared.data_dir, headers, 6, tags='["rare", "common"]', namespace="ns", date_at=5)
    rare = add_rows(shared.data_dir, headers, 3, tags='["rare"]', namespace="ns", date_at=6)
    other = add_rows(shared.data_dir, headers, 6 * common, tags='["common"]', namespace="ns", date_at=4)
    add_rows(shared.data_dir, headers, 20, tags='["rare", "common"]', namespace="elsewhere", date_at=7)
    add_rows(shared.data_dir, headers, 20, namespace="ns", date_at=7)
    expected = both[::-1] if mode == "all" else rare[::-1] + both[::-1] + other[::-1]
    query = {"tags": "rare,common", "tag_mode": mode, "namespace": "ns"}
    for limit in (4, 100):
        assert list_ids(shared, headers, limit=limit, **query) == expected


def test_other_teams_have_the_same_tags_and_namespaces(shared: Api) -> None:
    headers, other = somebody(shared), somebody(shared)
    mine, theirs = (add(shared, one, tags="a,b", namespace="ns")["id"] for one in (headers, other))
    for query in ({"tags": "a"}, {"tags": "a,b"}, {"tags": "a,b", "tag_mode": "any"}, {"namespace": "ns"}):
        assert list_ids(shared, headers, **query) == [mine]
        assert list_ids(shared, other, **query) == [theirs]
