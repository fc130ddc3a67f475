"""Whatever happens to images, everything that is counted equals a recount, and every image has its bytes."""

import hashlib
import itertools
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from commands import authorization, make_key, run_keys
from conftest import Api
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from images import make_image
from library import (
    Headers,
    check_counts,
    check_files,
    connect,
    list_ids,
    owner,
    picture,
    run_media,
    sweep_now,
    team_of,
)
from running import WAIT_SECONDS, Running, servers
from shared import serve

_servers: list[Api] = []
_numbers = itertools.count()

tags = st.lists(st.sampled_from(["a", "b", "c", "%", "ä"]), max_size=3).map(json.dumps)
namespaces = st.sampled_from([None, "one", "two"])
keys = st.sampled_from(["team", "teammate", "space"])
places = st.integers(0, 1000)  # which of the images there are
dates = st.sampled_from([None, 0, -5, 2_000_000_000])


class Library(RuleBasedStateMachine):
    """A team of two keys, an unverified key of the same address that may join it, and what they do with images."""

    @initialize()
    def begin(self) -> None:
        self.api = _servers[0]
        email = f"machine{next(_numbers)}@example.com"
        joining = make_key(self.api.data_dir, email=email)
        self.keys = {
            "team": owner(self.api, email=email),
            "teammate": owner(self.api, email=email),
            "space": authorization(joining),
        }
        self.joining = joining["key_id"]
        self.joined = False
        self.ids: list[str] = []

    def some(self, *wanted: int) -> list[str]:
        """Ids of images, live or not."""
        return [self.ids[place % len(self.ids)] for place in wanted] if self.ids else []

    def send(self, method: str, path: str, key: str, body: dict[str, Any]) -> int:
        answer = self.api.client.request(method, path, headers=self.keys[key], json=body)
        assert answer.status_code < 500, answer.text
        return int(answer.status_code)

    @rule(
        key=keys,
        number=st.integers(0, 2),
        tags=tags,
        namespace=namespaces,
        date=dates,
        ends=st.booleans(),
        external_id=st.sampled_from(["", "", "x", "y"]),
    )
    def upload(
        self, key: str, number: int, tags: str, namespace: str | None, date: int | None, ends: bool, external_id: str
    ) -> None:
        fields = {"tags": tags, "external_id": external_id, "namespace": namespace or ""}
        fields |= {"date": "" if date is None else str(date), "ttl": "1h" if ends else ""}
        answer = self.api.upload(picture(number), self.keys[key], **fields)
        assert answer.status_code in (201, 409), answer.text
        if answer.status_code == 201:
            self.ids.append(answer.json()["id"])

    @rule(key=keys, place=places, tags=tags, namespace=namespaces, date=dates, external_id=st.sampled_from([None, "x"]))
    def patch(
        self, key: str, place: int, tags: str, namespace: str | None, date: int | None, external_id: str | None
    ) -> None:
        for media_id in self.some(place):
            body = {"tags": tags, "namespace": namespace, "date": date, "external_id": external_id}
            assert self.send("PATCH", f"/v1/media/{media_id}", key, body) in (200, 404, 409)

    @rule(
        key=keys,
        wanted=st.lists(places, min_size=1, max_size=5),
        tags=tags,
        mode=st.sampled_from(["add", "remove", "replace"]),
        namespace=namespaces,
    )
    def patch_batch(self, key: str, wanted: list[int], tags: str, mode: str, namespace: str | None) -> None:
        if ids := self.some(*wanted):
            change = {"tags": tags, "tag_mode": mode, "namespace": namespace}
            assert self.send("PATCH", "/v1/media/batch", key, {"ids": ids, "update": change}) == 200

    @rule(key=keys, place=places)
    def delete(self, key: str, place: int) -> None:
        for media_id in self.some(place):
            assert self.send("DELETE", f"/v1/media/{media_id}", key, {}) in (200, 404)

    @rule(key=keys, wanted=st.lists(places, min_size=1, max_size=5))
    def delete_batch(self, key: str, wanted: list[int]) -> None:
        if ids := self.some(*wanted):
            assert self.send("DELETE", "/v1/media/batch", key, {"ids": ids}) == 200

    @rule(key=keys, namespace=st.sampled_from(["one", "two"]))
    def delete_namespace(self, key: str, namespace: str) -> None:
        assert self.send("DELETE", "/v1/media/batch", key, {"namespace": namespace}) == 200

    @rule(place=places)
    def restore(self, place: int) -> None:
        for media_id in self.stored("deleted_at IS NOT NULL", place):
            run_media(self.api.data_dir, "restore", media_id)

    @rule(place=places)
    def purge(self, place: int) -> None:
        for media_id in self.stored("(deleted_at IS NOT NULL OR expires_at IS NULL)", place):
            run_media(self.api.data_dir, "delete", "--purge", media_id)
            self.ids.remove(media_id)

    def stored(self, condition: str, place: int) -> list[str]:
        """One of the images that the operator's command can do something with."""
        with connect(self.api.data_dir) as conn:
            rows = conn.execute(
                f"SELECT id FROM media WHERE {condition} AND id IN (SELECT value FROM json_each(?)) ORDER BY seq",
                (json.dumps(self.ids),),
            ).fetchall()
        return [rows[place % len(rows)][0]] if rows else []

    @precondition(lambda self: not self.joined)
    @rule()
    def join(self) -> None:
        run_keys(self.api.data_dir, "verify", self.joining)
        self.joined = True

    @rule(seconds=st.sampled_from([60, 3600, 8 * 86_400, 31 * 86_400]))
    def advance(self, seconds: int) -> None:
        self.api.clock.advance(seconds=seconds)
        sweep_now(self.api)

    @invariant()
    def counts_equal_a_recount(self) -> None:
        check_counts(self.api.data_dir)
        check_files(self.api.data_dir)

    @invariant()
    def the_api_says_the_same(self) -> None:
        for headers in self.keys.values():
            usage, namespaces = (
                self.api.client.get(f"/v1/{name}", headers=headers).json() for name in ("usage", "namespaces")
            )
            assert usage["storage_used_bytes"] == self.live_bytes(headers)
            assert [tuple(item.values()) for item in namespaces["namespaces"]] == self.live_namespaces(headers)

    def live_bytes(self, headers: Headers) -> int:
        with connect(self.api.data_dir) as conn:
            sql = "SELECT total(filesize_bytes) FROM media WHERE team_id = ? AND deleted_at IS NULL"
            return int(conn.execute(sql, (team_of(self.api.data_dir, headers),)).fetchone()[0])

    def live_namespaces(self, headers: Headers) -> list[tuple[str, int, int]]:
        with connect(self.api.data_dir) as conn:
            return conn.execute(
                "SELECT namespace, count(*) AS images, sum(filesize_bytes) FROM media WHERE team_id = ? "
                "AND deleted_at IS NULL AND namespace IS NOT NULL GROUP BY namespace ORDER BY images DESC, namespace",
                (team_of(self.api.data_dir, headers),),
            ).fetchall()

    def teardown(self) -> None:
        if hasattr(self, "keys"):
            live = [media_id for headers in self.keys.values() for media_id in list_ids(self.api, headers, limit=2)]
            assert set(live) <= set(self.ids)


@pytest.fixture
def _one_server(tmp_path: Path) -> Iterator[None]:
    with serve(tmp_path / "data") as api:
        _servers.append(api)
        yield
        _servers.clear()


@pytest.mark.usefixtures("_one_server")
def test_counts_after_anything() -> None:
    run_state_machine_as_test(
        Library,
        settings=settings(
            max_examples=2,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# ── kill -9 ──


class Load:
    """Clients that upload and delete until the server is gone, and what it has acknowledged to them."""

    def __init__(self, server: Running, headers: Headers) -> None:
        self.client = httpx2.Client(base_url=server.url, headers=headers, timeout=WAIT_SECONDS, trust_env=False)
        self.lock = threading.Lock()
        self.kept: dict[str, bytes] = {}  # src → content
        self.deleted: list[str] = []

    def run(self, client_number: int) -> None:
        number = 0
        try:
            while True:
                number += 1
                self.step(make_image("png", 20 + client_number, 1 + number % 50), number % 3 == 0)
        except httpx2.TransportError:
            return

    def step(self, content: bytes, delete: bool) -> None:
        fields = {"tags": "a,b", "namespace": "ns"}
        answer = self.client.post("/v1/upload", data=fields, files={"file": ("a.png", content)})
        assert answer.status_code == 201, answer.text
        shown = answer.json()
        if not delete:
            with self.lock:
                self.kept[shown["src"]] = content
            return
        answer = self.client.delete(f"/v1/media/{shown['id']}")
        assert answer.json() == {"deleted": True}
        with self.lock:
            self.deleted.append(shown["src"])


@pytest.mark.slow
def test_a_server_that_is_killed_under_load(tmp_path: Path) -> None:
    headers = authorization(make_key(tmp_path / "data", "--verified"))
    kept: dict[str, bytes] = {}
    deleted: list[str] = []
    with servers(tmp_path) as start:
        server = start()
        for cycle in range(3):
            load = Load(server, headers)
            with ThreadPoolExecutor(8) as threads, load.client:
                clients = [threads.submit(load.run, number) for number in range(8)]
                while len(load.kept) < 12 * (cycle + 1):
                    assert not any(client.done() for client in clients)
                server.end(signal.SIGKILL)
                for client in clients:
                    client.result(WAIT_SECONDS)
            kept |= load.kept
            deleted += load.deleted
            check_counts(server.data_dir)
            check_files(server.data_dir)
            server = start()
            check_counts(server.data_dir)
        assert deleted
        with httpx2.Client(base_url=server.url, trust_env=False) as reader:
            for src, content in kept.items():
                answer = reader.get(_path(src))
                assert answer.status_code == 200
                assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
            for src in deleted:
                assert reader.get(_path(src)).status_code == 404


def _path(src: str) -> str:
    return httpx2.URL(src).path
