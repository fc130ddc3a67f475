"""Lists, counts, batches and deletes in a library of a million images, as whole requests over one connection."""

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from benchmarks.harness import Row, Server, imgpro, owner_key, scratch
from benchmarks.library_data import add_namespace, fill, query_plans

IMAGES = int(os.environ.get("IMGPRO_TEST_BENCH_IMAGES", "1000000"))
DELETED_IMAGES = IMAGES // 10
DEPTH_PAGES = 100
REQUESTS = 300
BATCH = 100

LISTS = {
    "no filter": {},
    "a namespace": {"namespace": "namespace-0"},
    "a common tag": {"tags": "tag0"},
    "a rare tag": {"tags": f"tag{499}"},
    "two tags, all": {"tags": "tag0,tag1"},
    "a common and a rare tag, all": {"tags": "tag0,tag400"},
    "two tags, any": {"tags": "tag0,tag7", "tag_mode": "any"},
    "namespace and tag": {"namespace": "namespace-3", "tags": "tag2"},
    "namespace and two tags, any": {"namespace": "namespace-20", "tags": "tag1,tag9", "tag_mode": "any"},
}
WORST = {"tags": "even,odd"}


class Client:
    """One connection with a key."""

    def __init__(self, server: Server, key: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def request(self, method: str, path: str, body: object = None) -> tuple[dict[str, object], float]:
        """The answer's body and the milliseconds that it took."""
        started_at = time.perf_counter()
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        elapsed_ms = (time.perf_counter() - started_at) * 1000
        assert answer.status == 200, content
        return json.loads(content), elapsed_ms


def run() -> Iterator[Row]:
    """Fill, measure, delete."""
    with scratch() as folder:
        data_dir = folder / "data"
        with imgpro(data_dir):
            key = owner_key(data_dir)
        started_at = time.perf_counter()
        fill(data_dir, IMAGES)
        yield Row(f"filling a library with {IMAGES:,} images", time.perf_counter() - started_at, "s")
        _print_plans(data_dir)
        with imgpro(data_dir) as server:
            client = Client(server, key)
            yield from _lists(client)
            yield from percentiles("GET /v1/usage", [_ms(client, "/v1/usage") for _ in range(REQUESTS)], 5, 5)
            yield from percentiles("GET /v1/namespaces", [_ms(client, "/v1/namespaces") for _ in range(REQUESTS)], 5, 5)
            yield from _batches(client)
            add_namespace(data_dir, "to-be-deleted", DELETED_IMAGES)
            yield from _delete_namespace(server, key)


def _ms(client: Client, path: str) -> float:
    return client.request("GET", path)[1]


def percentiles(what: str, milliseconds: list[float], p50_goal: float, p99_goal: float) -> Iterator[Row]:
    """Median and 99th percentile, each against its goal."""
    ordered = sorted(milliseconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    yield Row(f"{what}: p50", p50, "ms", f"<= {p50_goal} ms", p50 > p50_goal)
    yield Row(f"{what}: p99", p99, "ms", f"<= {p99_goal} ms", p99 > p99_goal)


def _lists(client: Client) -> Iterator[Row]:
    for name, query in LISTS.items():
        first = [client.request("GET", f"/v1/media?{urlencode(query)}")[1] for _ in range(REQUESTS)]
        yield from percentiles(f"list, {name}, first page", first, 2, 10)
        deep: list[float] = []
        cursor = None
        while len(deep) < DEPTH_PAGES:
            page, elapsed_ms = client.request(
                "GET", f"/v1/media?{urlencode({**query, **({'cursor': cursor} if cursor else {})})}"
            )
            deep.append(elapsed_ms)
            cursor = page["cursor"]
        yield from percentiles(f"list, {name}, pages 1 to {len(deep)}", deep, 2, 10)
    worst = [client.request("GET", f"/v1/media?{urlencode(WORST)}")[1] for _ in range(20)]
    yield Row("list, two common tags that share no image: worst", max(worst), "ms", "<= 150 ms", max(worst) > 150)


def _batches(client: Client) -> Iterator[Row]:
    page, _ = client.request("GET", f"/v1/media?limit={BATCH}&namespace=namespace-1")
    items = page["items"]
    assert isinstance(items, list)
    ids = [item["id"] for item in items]
    times = [
        client.request(
            "PATCH", "/v1/media/batch", {"ids": ids, "update": {"tags": f"round{number % 2}", "tag_mode": mode}}
        )[1]
        for number in range(200)
        for mode in ("add", "remove")
    ]
    yield from percentiles(f"batch update of {BATCH} images", times, 60, 60)


def _delete_namespace(server: Server, key: str) -> Iterator[Row]:
    """Others read, write and look at health meanwhile."""
    others: list[float] = []
    done = threading.Event()

    def use() -> None:
        client = Client(server, key)
        page, _ = client.request("GET", "/v1/media?namespace=namespace-1&limit=1")
        items = page["items"]
        assert isinstance(items, list)
        while not done.is_set():
            others.append(_ms(client, "/v1/media?tags=tag3"))
            others.append(client.request("PATCH", f"/v1/media/{items[0]['id']}", {"name": "x"})[1])
            others.append(_ms(client, "/healthz"))

    thread = threading.Thread(target=use)
    thread.start()
    client = Client(server, key)
    answer, elapsed_ms = client.request("DELETE", "/v1/media/batch", {"namespace": "to-be-deleted"})
    done.set()
    thread.join()
    wrong = answer["deleted"] != DELETED_IMAGES
    yield Row(
        f"deleting a namespace of {DELETED_IMAGES:,}: count",
        float(str(answer["deleted"])),
        "",
        f"= {DELETED_IMAGES}",
        wrong,
    )
    yield Row(f"deleting a namespace of {DELETED_IMAGES:,}", elapsed_ms / 1000, "s")
    yield from percentiles("others meanwhile", others, 250, 250)


def _print_plans(data_dir: Path) -> None:
    from imgpro_lite.models import MediaFilter

    filters = {
        name: MediaFilter(
            query.get("namespace"),
            tuple(query.get("tags", "").split(",")) if "tags" in query else (),
            query.get("tag_mode") == "any",
        )
        for name, query in {**LISTS, "two common tags that share no image": WORST}.items()
    }
    for name, steps in query_plans(data_dir, filters).items():
        print(f"  plan of {name}: " + " | ".join(steps))
