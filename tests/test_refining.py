"""AVIF is made quickly for its first view and with care for those after it."""

from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import difference, make_image, open_image
from library import sweep_now
from running import until

WAIT_SECONDS = 20  # for what takes half a second; only a failing test waits so long


@pytest.fixture
def api(start: ApiFactory) -> Api:
    return start(imaging={"refine_avif": True})


def avif_address(api: Api, size: str = "s", width: int = 900) -> str:
    src: str = api.upload(make_image("jpeg", width, 700)).json()["src"]
    return src.replace(".jpeg", f".avif?size={size}")


def cached_avifs(api: Api) -> list[str]:
    return [path.name for path in (api.data_dir / "cache").rglob("*.avif.*") if not path.name.endswith(".tmp")]


def refined(api: Api, address: str, draft: Any) -> Any:
    """The answer once it is another than the draft."""

    def another() -> Any:
        answer = api.fetch(address)
        return answer if answer.headers["etag"] != draft.headers["etag"] else None

    return until(another)


def test_later_views_get_a_smaller_file_that_looks_the_same(api: Api) -> None:
    address = avif_address(api)
    draft = api.fetch(address)
    fine = refined(api, address, draft)
    assert len(fine.content) < len(draft.content)
    assert difference(open_image(fine.content), open_image(draft.content)) < 3
    (kept,) = cached_avifs(api)
    assert "-e4-" in kept
    assert api.fetch(address, headers={"If-None-Match": fine.headers["etag"]}).status_code == 304
    stale = api.fetch(address, headers={"If-None-Match": draft.headers["etag"]})
    assert (stale.status_code, stale.content) == (200, fine.content)


def test_a_draft_in_memory_makes_way(api: Api) -> None:
    address = avif_address(api)
    draft = api.fetch(address)
    assert api.fetch(address).headers["etag"] == draft.headers["etag"] or "-e4-" in cached_avifs(api)[0]
    assert refined(api, address, draft).content != draft.content


def test_a_draft_of_an_earlier_run_is_made_again(start: ApiFactory, api: Api) -> None:
    address = avif_address(api)
    refined(api, address, api.fetch(address))
    (fine,) = cached_avifs(api)
    later = start(imaging={"refine_avif": False})
    draft = later.fetch(address)
    assert "-e4-" not in draft.headers["etag"]
    (later.data_dir / "cache" / fine[:2] / fine).unlink()
    again = start(imaging={"refine_avif": True})
    assert again.fetch(address).headers["etag"] == draft.headers["etag"]
    assert refined(again, address, draft).headers["etag"].strip('"') in fine


def test_at_full_size_there_is_but_one(api: Api) -> None:
    address = avif_address(api).removesuffix("?size=s")
    first = api.fetch(address)
    other = avif_address(api, "m")
    refined(api, other, api.fetch(other))  # the latest comes first, so the full size would have been done by now
    assert api.fetch(address).headers["etag"] == first.headers["etag"]


def test_an_image_that_is_purged_meanwhile_leaves_nothing(start: ApiFactory) -> None:
    api = start(imaging={"refine_avif": True}, storage={"grace_days": 0})
    key = api.new_key()
    src = api.upload(make_image("jpeg", 900, 700), key).json()["src"]
    api.fetch(src.replace(".jpeg", ".avif?size=m"))
    media_id = src.rsplit("/", 1)[1].split(".")[0]
    assert api.client.delete(f"/v1/media/{media_id}", headers=key).status_code == 200
    other = avif_address(api, width=901)  # other bytes: what two images share is not purged with one of them
    refined(api, other, api.fetch(other))
    sweep_now(api)  # it may have been made before the delete
    # It may be made in this very moment, and is removed as soon as that is noticed.
    until(lambda: all("-320-" in name for name in cached_avifs(api) if "-e4-" in name))


def test_it_can_be_switched_off(start: ApiFactory) -> None:
    api = start(imaging={"refine_avif": False})
    address = avif_address(api)
    draft = api.fetch(address)
    (kept,) = cached_avifs(api)
    assert draft.headers["etag"].strip('"') in kept
    assert "-e1-" in kept
