"""The life of intermediates: when they are made, what replaces them when they are lost, and what removes them."""

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import pyvips
from conftest import Api, ApiFactory
from images import make_image, open_image
from library import owner, run_media, sweep_now
from test_stampede import at_once, worker_pids
from views import (
    INTERMEDIATES,
    files_below,
    forget_variants,
    get_picture,
    id_of,
    intermediates,
    original,
    put,
    runtime_of,
    until,
    variants,
    wait_until_prepared,
)
from wire import check_refusal

LARGE = (1700, 1300)
PICTURE = make_image("jpeg", *LARGE)
MB = 1024 * 1024


def noise(number: int) -> bytes:
    """A picture whose intermediates take almost 2 MB. Another number is another one."""
    pixels = random.Random(number).randbytes(850 * 650)
    grey = pyvips.Image.new_from_memory(pixels, 850, 650, 1, "uchar")
    return bytes(grey.resize(2).copy(interpretation="b-w").write_to_buffer(".jpg", Q=60))


def kept_bytes(api: Api) -> int:
    return sum(path.stat().st_size for path in files_below(api.data_dir / "intermediates"))


# --- made once, and waited for


def test_a_view_that_comes_at_once_waits_for_them(api: Api) -> None:
    stem = put(api, PICTURE)
    original(api, PICTURE).unlink()  # so the picture can come from nowhere else
    for size, edge_px in [("l", 1080), ("s", 320), ("m", 640)]:
        picture = get_picture(api, f"{stem}.webp?size={size}")
        assert min(picture.width, picture.height) == edge_px


def test_many_views_at_once_make_one_transform(start: ApiFactory) -> None:
    # The worker is replaced after its third job, and the upload was the first: nothing had to be taken out.
    api = start(imaging={"jobs_per_worker": 3})
    stem = put(api, PICTURE)
    before = worker_pids(api)
    answers = at_once(20, lambda number: api.client.get(f"{stem}.webp?size=l&x={number}"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert worker_pids(api) == before
    assert api.client.get(f"{stem}.webp?size=s").status_code == 200
    until(lambda: worker_pids(api) != before)


def test_views_beside_an_upload_of_the_same_bytes(start: ApiFactory) -> None:
    api = start(cache={"intermediates_mb": 0})
    stem = put(api, PICTURE)
    api = start()
    with ThreadPoolExecutor(8) as threads:
        uploading = threads.submit(api.upload, PICTURE)
        asked = [
            threads.submit(api.client.get, f"{stem}.{ext}?size={size}") for ext in ("webp", "jpeg") for size in "sml"
        ]
        assert uploading.result().status_code == 201
        assert {answer.result().status_code for answer in asked} == {200}
    wait_until_prepared(api)
    assert set(intermediates(api, PICTURE)) == INTERMEDIATES


def test_uploads_of_the_same_bytes_at_once_make_them_once(start: ApiFactory) -> None:
    api = start(imaging={"workers": 2})
    answers = at_once(6, lambda _: api.upload(PICTURE))
    assert {answer.status_code for answer in answers} == {201}
    wait_until_prepared(api)
    assert len(files_below(api.data_dir / "intermediates")) == 2
    before = intermediates(api, PICTURE)[640].stat()
    put(api, PICTURE)
    wait_until_prepared(api)
    assert intermediates(api, PICTURE)[640].stat() == before


def test_a_restart_keeps_them(start: ApiFactory) -> None:
    api = start()
    stem = put(api, PICTURE)
    wait_until_prepared(api)
    kept = intermediates(api, PICTURE)[640]
    leftover = kept.with_name(f"{kept.name}.12345678.tmp")
    leftover.write_bytes(b"half")
    api = start(crashed=True)
    original(api, PICTURE).unlink()
    assert not leftover.exists()
    for size in "sml":
        assert api.client.get(f"{stem}.jpeg?size={size}").status_code == 200


def test_switched_off(start: ApiFactory) -> None:
    api = start(cache={"intermediates_mb": 0})
    stem = put(api, PICTURE)
    for size in "sml":
        assert api.client.get(f"{stem}.webp?size={size}").status_code == 200
    assert files_below(api.data_dir / "intermediates") == []


# --- lost or damaged


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "zeros", "missing", "no folder"])
def test_one_that_is_of_no_use_is_replaced_by_the_original(api: Api, damage: str) -> None:
    stem = put(api, PICTURE)
    wait_until_prepared(api)
    addresses = [f"{stem}.{extension}?size={size}" for extension in ("jpeg", "webp") for size in "sl"]
    before = [api.client.get(address) for address in addresses]
    forget_variants(api)
    for path in intermediates(api, PICTURE).values():
        content = path.read_bytes()
        half = content[: len(content) // 2]
        if damage in ("missing", "no folder"):
            path.unlink()
        else:
            damaged = {"cut": half, "empty": b"", "noise": random.Random(1).randbytes(9000)}
            path.write_bytes(damaged.get(damage, half + bytes(len(half))))
    if damage == "no folder":
        shutil.rmtree(api.data_dir / "intermediates")
    for address, good in zip(addresses, before, strict=True):
        answer = api.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["etag"] == good.headers["etag"]
        one, other = open_image(answer.content), open_image(good.content)
        assert (one.width, one.height) == (other.width, other.height)
        assert (one - other).abs().max() < 40, "a part of the picture is missing"
    assert intermediates(api, PICTURE) == {}
    put(api, PICTURE)  # makes them again
    wait_until_prepared(api)
    assert set(intermediates(api, PICTURE)) == INTERMEDIATES


def test_without_the_original_a_damaged_one_gives_no_picture(api: Api) -> None:
    stem = put(api, PICTURE)
    wait_until_prepared(api)
    original(api, PICTURE).unlink()
    for path in intermediates(api, PICTURE).values():
        os.truncate(path, path.stat().st_size // 2)
    assert api.client.get(f"{stem}.webp?size=s").status_code == 422
    assert variants(api) == []


# --- refused uploads


def test_an_upload_over_the_quota_leaves_none(start: ApiFactory) -> None:
    api = start(plans={"free": {"label": "Free", "uploads_per_month": 0, "storage_mb": 1}})
    key = api.new_key()
    content = PICTURE + bytes(MB)
    check_refusal(api.upload(content, key), 413, "quota_exceeded")
    wait_until_prepared(api)
    assert files_below(api.data_dir / "intermediates") == []
    assert api.upload(PICTURE, key).status_code == 201


def test_of_two_with_one_external_id_the_refused_leaves_none(start: ApiFactory) -> None:
    api = start(imaging={"workers": 2})
    key = api.new_key()
    pictures = [noise(number) for number in range(4)]
    answers = at_once(4, lambda number: api.upload(pictures[number], key, external_id="one"))
    wait_until_prepared(api)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    for picture, answer in zip(pictures, answers, strict=True):
        assert set(intermediates(api, picture)) == (INTERMEDIATES if answer.status_code == 201 else set())


def test_a_broken_file_leaves_none(api: Api) -> None:
    check_refusal(api.upload(PICTURE[: len(PICTURE) * 9 // 10]), 400, "unsupported_format")
    wait_until_prepared(api)
    assert files_below(api.data_dir / "intermediates") == []


# --- bounded, and gone with their image


@pytest.mark.slow
def test_their_size_is_bounded(start: ApiFactory) -> None:
    api = start(cache={"intermediates_mb": 3})
    stems = {}
    for number in range(4):
        stems[number] = put(api, noise(number))
        wait_until_prepared(api)
        assert kept_bytes(api) <= 3 * MB
    assert set(intermediates(api, noise(3))) == INTERMEDIATES
    assert intermediates(api, noise(0)) == {}
    for stem in stems.values():
        assert api.client.get(f"{stem}.jpeg?size=m").status_code == 200
    api = start(cache={"intermediates_mb": 2})
    assert kept_bytes(api) <= 2 * MB


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sweep", "purge", "block"])
def test_they_go_with_the_last_image_that_has_the_bytes(start: ApiFactory, way: str) -> None:
    api = start(storage={"grace_days": 0})
    key = owner(api)
    first, second = (id_of(put(api, PICTURE, key)) for _ in range(2))
    wait_until_prepared(api)
    paths = list(intermediates(api, PICTURE).values())
    assert len(paths) == 2
    if way == "block":
        digest = original(api, PICTURE).name
        run_media(api.data_dir, "block", digest)
    for media_id in () if way == "block" else (first, second):
        assert all(path.exists() for path in paths)
        if way == "purge":
            run_media(api.data_dir, "delete", "--purge", media_id)
        else:
            assert api.client.delete(f"/v1/media/{media_id}", headers=key).status_code == 200
            sweep_now(api)
    assert not [path for path in paths if path.exists()]
    assert files_below(api.data_dir / "intermediates") == []
    if way != "block":
        put(api, PICTURE, key)
        wait_until_prepared(api)
        assert set(intermediates(api, PICTURE)) == INTERMEDIATES


def test_the_index_forgets_what_a_sweep_removed(start: ApiFactory) -> None:
    api = start(storage={"grace_days": 0})
    key = owner(api)
    media_id = id_of(put(api, PICTURE, key))
    wait_until_prepared(api)
    assert runtime_of(api).maker.intermediates.total_bytes == kept_bytes(api) > 0
    api.client.delete(f"/v1/media/{media_id}", headers=key)
    sweep_now(api)
    assert runtime_of(api).maker.intermediates.total_bytes == 0
