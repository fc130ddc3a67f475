"""DELETE /v1/media/batch: by id or by namespace, and never everything by mistake."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Api, ApiFactory
from library import (
    Headers,
    add,
    add_rows,
    batch_errors,
    check_counts,
    delete_batch,
    list_ids,
    owner,
    send_batch,
    somebody,
)
from shared import serve
from wire import check_refusal


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all of this; after everything its counts are right."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api
        check_counts(api.data_dir)


@pytest.fixture
def headers(shared: Api) -> Headers:
    """A new team for each test."""
    return somebody(shared)


@pytest.mark.parametrize("form", ["body", "query", "repeated query"])
def test_deleting_by_id(shared: Api, headers: Headers, form: str) -> None:
    first, kept, second = (add(shared, headers)["id"] for _ in range(3))
    body = {"ids": [first, second]} if form == "body" else ""
    query = {"body": "", "query": f"?ids={first},{second}", "repeated query": f"?ids={first}&ids={second}"}[form]
    assert delete_batch(shared, headers, body, query) == 2
    assert list_ids(shared, headers) == [kept]


@pytest.mark.parametrize("form", ["body", "query"])
def test_deleting_a_namespace(shared: Api, headers: Headers, form: str) -> None:
    other = somebody(shared)
    kept = [add(shared, headers, **fields)["id"] for fields in ({}, {"namespace": "old-project2"})]
    theirs = add(shared, other, namespace="old-project")["id"]
    add_rows(shared.data_dir, headers, 3, namespace="old-project", ttl_expires_at=shared.clock.at)
    add_rows(shared.data_dir, headers, 3, namespace="old-project")
    how: Any = ({"namespace": "old-project"}, "") if form == "body" else ("", "?namespace=old-project")
    assert delete_batch(shared, headers, *how) == 3
    assert delete_batch(shared, headers, *how) == 0
    assert list_ids(shared, headers) == kept[::-1]
    assert list_ids(shared, other) == [theirs]


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ("", ""),
        ("", "?"),
        ("", "?ids="),
        ("", "?ids=&namespace="),
        ("", "?all=1"),
        ("{}", ""),
        ('{"ids": null}', ""),
        ('{"namespace": null}', ""),
        ('{"ids": null, "namespace": null}', ""),
        ('{"ids": []}', ""),
        ('{"ids": ""}', ""),
        ('{"ids": [""], "namespace": "ns"}', ""),
        ('{"ids": ["MINE"], "namespace": "ns"}', ""),
        ('{"namespace": ""}', ""),
        ('{"namespace": "%"}', ""),
        ('{"namespace": "*"}', ""),
        ('{"namespace": "NS"}', ""),
        ('{"namespace": ["ns"]}', ""),
        ('{"namespace": {}}', ""),
        ('{"namespace": true}', ""),
        ('{"ids": true}', ""),
        ('{"ids": {"MINE": 1}}', ""),
        ('{"ids": [true]}', ""),
        ('{"ids": ["MINE", 1]}', ""),
        ('{"ids": ["MINE"], "all": true}', ""),
        ('{"namespace": "ns", "tags": "a"}', ""),
        ('{"filter": {}}', ""),
        ("", "?ids=MINE&namespace=ns"),
        ("", "?namespace=ns&namespace=other"),
        ("", "?namespace=NS"),
        ("", "?namespace=%25"),
        ('{"ids": ["MINE"]}', "?ids=MINE"),
        ('{"ids": ["MINE"]}', "?namespace=ns"),
        ('{"namespace": "ns"}', "?namespace=ns"),
    ],
)
def test_what_could_mean_everything_deletes_nothing(shared: Api, headers: Headers, body: str, query: str) -> None:
    mine = add(shared, headers, namespace="ns")["id"]
    assert batch_errors(shared, headers, "DELETE", body.replace("MINE", mine), query.replace("MINE", mine))
    assert list_ids(shared, headers) == [mine]


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (" ", ""),
        ("[]", ""),
        ("null", ""),
        ('["MINE"]', ""),
        ('"MINE"', ""),
        ("ids=MINE", ""),
        ('{"ids": ["MINE"], "ids": []}', ""),
    ],
)
def test_what_is_no_json_object_deletes_nothing(shared: Api, headers: Headers, body: str, query: str) -> None:
    mine = add(shared, headers)["id"]
    check_refusal(send_batch(shared, headers, "DELETE", body.replace("MINE", mine), query), 400, "bad_request")
    assert list_ids(shared, headers) == [mine]


def test_a_namespace_of_many_steps(start: ApiFactory) -> None:
    api = start()
    headers, other = owner(api), owner(api, email="other@example.com")
    kept = add_rows(api.data_dir, headers, 5, namespace="kept", tags='["t"]')
    add_rows(api.data_dir, headers, 1_750, namespace="many", tags='["t"]', filesize_bytes=10)
    theirs = add_rows(api.data_dir, other, 3, namespace="many")
    assert delete_batch(api, headers, {"namespace": "many"}) == 1_750
    assert list_ids(api, headers) == list_ids(api, headers, tags="t") == kept[::-1]
    assert list_ids(api, other) == theirs[::-1]
    assert api.client.get("/v1/usage", headers=headers).json()["storage_used_bytes"] == 500
    check_counts(api.data_dir)


def test_an_upload_while_its_namespace_is_deleted(start: ApiFactory) -> None:
    """It either belonged to what was deleted and is counted, or it stays."""
    api = start()
    headers = owner(api)
    add_rows(api.data_dir, headers, 4_000, namespace="busy")
    with ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(delete_batch, api, headers, {"namespace": "busy"})
        uploaded = [add(api, headers, namespace="busy")["id"]]
        while not deleting.done():
            uploaded.append(add(api, headers, namespace="busy")["id"])
        deleted = deleting.result()
    uploaded.append(add(api, headers, namespace="busy")["id"])
    left = list_ids(api, headers)
    assert len(left) + deleted == 4_000 + len(uploaded)
    assert left == uploaded[::-1][: len(left)]  # those that came after the order to delete
    assert uploaded[-1] in left
    check_counts(api.data_dir)
