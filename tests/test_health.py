"""GET /healthz, and a disk that is nearly full."""

import os
import signal
import time

import pytest
from conftest import Api, ApiFactory
from images import make_image

MORE_THAN_ANY_DISK_MB = 2**39


def test_a_server_that_works(api: Api) -> None:
    answer = api.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer.headers["cache-control"] == "no-store"
    assert api.client.head("/healthz").content == b""


def test_a_lost_worker_is_replaced(start: ApiFactory) -> None:
    api = start(workers_at_once=True)
    (worker,) = api.client.app.state.runtime.pool.pids  # type: ignore[attr-defined]
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while api.client.app.state.runtime.pool.pids in ([], [worker]):  # type: ignore[attr-defined]
        assert api.client.get("/healthz").status_code in (200, 503)
        assert time.monotonic() < deadline, "no new worker"
        assert api.upload(make_image("png", 4, 3)).status_code in (201, 429)
    assert api.client.get("/healthz").status_code == 200


def test_below_the_mark_nothing_is_taken_and_everything_stored_is_served(
    start: ApiFactory, caplog: pytest.LogCaptureFixture
) -> None:
    api = start()
    key = api.new_key()
    shown = api.upload(make_image("jpeg", 700, 500), key).json()
    made, not_made = (f"{shown['src'].removesuffix('.jpeg')}.{extension}" for extension in ("webp", "png"))
    before = api.fetch(made).content
    api = start(storage={"min_free_mb": MORE_THAN_ANY_DISK_MB})
    assert "uploads are refused" in caplog.text
    caplog.clear()
    health = api.client.get("/healthz")
    assert health.status_code == 503
    assert "disk" in health.json()["reason"]
    assert "unhealthy" in caplog.text
    assert "Traceback" not in caplog.text
    assert int(health.headers["retry-after"]) >= 1
    for answer in (api.upload(make_image("png", 4, 3), key), api.upload(make_image("png", 4, 3)), api.fetch(not_made)):
        assert (answer.status_code, answer.json()["error"]) == (503, "storage_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["cache-control"] == "no-store"
    assert api.fetch(shown["src"]).content == make_image("jpeg", 700, 500)
    assert api.fetch(made).content == before
    assert api.client.get(f"/v1/media/{shown['id']}").status_code == 200
    assert len([path for path in (api.data_dir / "blobs").rglob("*") if path.is_file()]) == 1
    assert start().fetch(not_made).status_code == 200  # and the refusal was not remembered as a failure
