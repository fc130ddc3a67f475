"""Views while things go wrong: originals that have rotted, images that go meanwhile, workers that die."""

import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import pyvips
from conftest import Api, ApiFactory
from images import make_image, open_image
from library import connect, owner, run_media, sweep_now
from running import WAIT_SECONDS, Running, servers
from views import (
    being_made,
    files_below,
    get_picture,
    id_of,
    original,
    put,
    runtime_of,
    until,
    variants,
    wait_until_prepared,
)
from wire import check_refusal

from imgpro_lite.imaging.jobs import Priority

SMALL = make_image("jpeg", 900, 700)
LARGE = make_image("jpeg", 1700, 1300)


@cache
def slow_to_reduce() -> bytes:
    """A picture of which the intermediates take almost a second, long after the upload was answered."""
    noise = pyvips.Image.gaussnoise(8200, 1200, sigma=2, mean=8, seed=1).cast("uchar") << 4
    picture = noise.bandjoin([noise.flip("horizontal"), noise.flip("vertical")]).copy(interpretation="srgb")
    return bytes(picture.write_to_buffer(".png", compression=1))


def flip_a_bit(path: Path) -> None:
    """In the middle, where the pixels are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


# --- originals that have rotted


@pytest.mark.parametrize(
    ("stored", "rot"),
    [
        *[(stored, flip_a_bit) for stored in ("jpeg", "png", "avif", "svg")],
        *[pytest.param(stored, flip_a_bit, marks=pytest.mark.slow) for stored in ("webp", "gif", "tiff", "bmp")],
        *[("jpeg", cut), ("jpeg", empty)],
    ],
)
def test_of_an_original_that_has_rotted_nothing_is_made(
    api: Api, caplog: pytest.LogCaptureFixture, stored: str, rot: Callable[[Path], None]
) -> None:
    stem = put(api, make_image(stored, 900, 700))
    (path,) = files_below(api.data_dir / "blobs")  # an SVG is stored sanitised, under another hash than was sent
    rot(path)
    caplog.clear()
    answer = api.client.get(f"{stem}.{'webp' if stored != 'webp' else 'png'}?size=s")
    assert (answer.status_code, answer.json()["error"]) == (422, "transform_failed")
    assert str(api.data_dir) not in answer.text
    assert variants(api) == []
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)
    assert str(path) in line
    assert "backup" in line


def test_what_was_kept_of_it_still_serves(api: Api) -> None:
    stem = put(api, LARGE)
    wait_until_prepared(api)
    flip_a_bit(original(api, LARGE))
    for size in "sml":
        assert api.client.get(f"{stem}.webp?size={size}").status_code == 200
    assert api.client.get(f"{stem}.webp").status_code == 422


@pytest.mark.parametrize("rot", [cut, empty])
@pytest.mark.parametrize("large", [False, True])
def test_an_original_that_is_cut_short_is_not_sent(
    api: Api, caplog: pytest.LogCaptureFixture, rot: Callable[[Path], None], large: bool
) -> None:
    content = SMALL + bytes(300_000 if large else 0)
    stem = put(api, content)
    rot(original(api, content))
    for method in ("GET", "HEAD"):
        answer = api.client.request(method, f"{stem}.jpeg")
        assert answer.status_code == 422
    assert "backup" in "".join(record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)
    original(api, content).write_bytes(content)
    assert api.client.get(f"{stem}.jpeg").content == content


# --- images that go while a variant of them is made


def delete(api: Api, key: dict[str, str], media_id: str) -> None:
    assert api.client.delete(f"/v1/media/{media_id}", headers=key).status_code == 200


def delete_and_sweep(api: Api, key: dict[str, str], media_id: str) -> None:
    delete(api, key, media_id)
    sweep_now(api)


def purge_by_command(api: Api, _key: dict[str, str], media_id: str) -> None:
    run_media(api.data_dir, "delete", "--purge", media_id)


def block_by_command(api: Api, _key: dict[str, str], media_id: str) -> None:
    with connect(api.data_dir) as conn:
        (digest,) = conn.execute("SELECT hex(sha256) FROM media WHERE id = ?", (media_id,)).fetchone()
    run_media(api.data_dir, "block", digest)


def expire(api: Api, _key: dict[str, str], _media_id: str) -> None:
    api.clock.advance(days=1)


OTHERS = [delete_and_sweep, block_by_command]
PURGING = [delete_and_sweep, purge_by_command, block_by_command]


@pytest.mark.parametrize(
    "go", [delete, expire, *[pytest.param(go, marks=pytest.mark.slow) for go in (purge_by_command, *OTHERS)]]
)
def test_an_image_that_goes_meanwhile_is_not_found(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, go: Callable[[Api, dict[str, str], str], None]
) -> None:
    api = start(storage={"grace_days": 0})
    key = owner(api)
    stem = put(api, LARGE, key, ttl="3600")
    with being_made(api, f"{stem}.webp") as asked:
        go(api, key, id_of(stem))
    check_refusal(asked.result(WAIT_SECONDS), 404, "not_found")
    if go in PURGING:
        for folder in ("blobs", "cache", "intermediates", "tmp"):
            assert files_below(api.data_dir / folder) == []
    assert variants(api, "*.tmp") == []
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.slow
@pytest.mark.parametrize("go", [delete_and_sweep])  # a command waits until it is noticed: too long for this
def test_an_image_that_goes_before_its_turn_comes_is_not_found(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, go: Callable[[Api, dict[str, str], str], None]
) -> None:
    api = start(storage={"grace_days": 0})
    key = owner(api)
    stem = put(api, SMALL, key)
    busy = put(api, LARGE)
    with ThreadPoolExecutor(1) as threads:
        with being_made(api, f"{busy}.webp") as slow:
            asked = threads.submit(api.client.get, f"{stem}.webp?size=s")
            until(lambda: runtime_of(api).pool.line.expected_wait_seconds(Priority.VIEW) > 0)
            go(api, key, id_of(stem))
        check_refusal(asked.result(WAIT_SECONDS), 404, "not_found")
        assert slow.result(WAIT_SECONDS).status_code == 200
    assert len(variants(api)) == 1
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.slow
@pytest.mark.parametrize("go", [delete_and_sweep, purge_by_command])
def test_an_image_that_goes_before_its_intermediates_are_finished_leaves_none(
    start: ApiFactory, go: Callable[[Api, dict[str, str], str], None]
) -> None:
    api = start(storage={"grace_days": 0}, log={"level": "error"})
    key = owner(api)
    stem = put(api, slow_to_reduce(), key)
    assert runtime_of(api).maker.preparing, "they were finished too fast for this test"
    go(api, key, id_of(stem))
    wait_until_prepared(api)
    for folder in ("blobs", "cache", "intermediates", "tmp"):
        assert files_below(api.data_dir / folder) == []


# --- workers that die after they have answered


@pytest.mark.slow
def test_a_worker_that_is_killed_before_the_intermediates_are_finished(api: Api) -> None:
    content = slow_to_reduce()
    stem = put(api, content, api.new_key())
    assert runtime_of(api).maker.preparing, "they were finished too fast for this test"
    (victim,) = runtime_of(api).pool.pids
    os.kill(victim, signal.SIGKILL)
    picture = get_picture(api, f"{stem}.webp?size=s")
    assert picture.height == 320
    assert list((api.data_dir / "intermediates").rglob("*.tmp")) == []
    assert runtime_of(api).maker.preparing == {}
    assert victim not in runtime_of(api).pool.pids


@pytest.mark.slow
def test_a_worker_that_hangs_after_its_answer_is_replaced(start: ApiFactory) -> None:
    api = start(imaging={"transform_deadline_seconds": 2})
    stem = put(api, slow_to_reduce(), api.new_key())
    assert runtime_of(api).maker.preparing, "they were finished too fast for this test"
    (hanging,) = runtime_of(api).pool.pids
    os.kill(hanging, signal.SIGSTOP)
    assert get_picture(api, f"{stem}.webp?size=s").height == 320  # waits for the deadline, then makes it otherwise
    assert runtime_of(api).maker.preparing == {}
    assert list((api.data_dir / "intermediates").rglob("*.tmp")) == []
    until(lambda: hanging not in runtime_of(api).pool.pids)


@pytest.mark.slow
def test_a_server_that_stops_meanwhile_does_not_wait_for_ever(tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        server: Running = start(config="[server]\nshutdown_seconds = 1\n[limits]\nanonymous_file_mb = 70\n")
        uploaded = server.upload(slow_to_reduce())
        assert uploaded.status_code == 201, uploaded.text
        for worker in server.workers():
            os.kill(worker, signal.SIGSTOP)
        assert list((server.data_dir / "intermediates").rglob("*.tmp")), "they were finished too fast for this test"
        address = uploaded.json()["src"].replace(".png", ".webp?size=s")
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(server.get, address)
            until(lambda: list((server.data_dir / "cache").iterdir()))  # its folder was made, so it waits now
            assert server.end(signal.SIGTERM) == 0
            assert asked.result(WAIT_SECONDS).status_code == 503
        server = start()
        assert list((server.data_dir / "intermediates").rglob("*.tmp")) == []
        path = "/" + address.split("/", 3)[3]
        assert open_image(server.get(path).content).height == 320


@pytest.mark.slow
def test_a_stop_in_the_middle_leaves_nothing_in_the_way(start: ApiFactory) -> None:
    api = start()
    stem = put(api, slow_to_reduce(), api.new_key())
    assert runtime_of(api).maker.preparing, "they were finished too fast for this test"
    api = start()
    assert list((api.data_dir / "intermediates").rglob("*.tmp")) == []
    for size in "sml":
        assert api.client.get(f"{stem}.webp?size={size}").status_code == 200
