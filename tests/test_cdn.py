"""Image bytes: which pictures an address gives, at which size, and what is kept of them on disk."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from conftest import Api, ApiFactory, FakeClock
from images import make_animation, make_image, make_svg
from PIL import Image
from shared import serve

pillow_heif.register_heif_opener()

# What any picture can be asked for, and what Pillow calls what comes.
CONVERTED = {
    "jpeg": ("image/jpeg", "JPEG"),
    "jpg": ("image/jpeg", "JPEG"),
    "png": ("image/png", "PNG"),
    "webp": ("image/webp", "WEBP"),
    "avif": ("image/avif", "AVIF"),
}
# The stored file itself, at its own extension and the other spellings of it.
STORED = {
    "gif": {"gif": ("image/gif", "GIF")},
    "heic": {"heic": ("image/heic", "HEIF"), "heif": ("image/heic", "HEIF")},
    "tiff": {"tiff": ("image/tiff", "TIFF"), "tif": ("image/tiff", "TIFF")},
    "bmp": {"bmp": ("image/bmp", "BMP")},
    "svg": {"svg": ("image/svg+xml", None)},
}
EXTENSIONS = {*CONVERTED, "gif", "heic", "heif", "tiff", "tif", "bmp", "svg"}
SHOWN_AS = {"heic": "jpeg", "tiff": "jpeg", "bmp": "png"}
FORMATS = ["jpeg", "png", "webp", "gif", "svg", "heic", "avif", "tiff", "bmp"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for the tables below."""
    with serve(tmp_path_factory.mktemp("shared")) as api:
        yield api


def decoded(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def uploaded(api: Api, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> dict[str, Any]:
    answer = api.upload(content, headers, **fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def sibling(src: str, extension: str) -> str:
    """The address of the same image with another extension."""
    return f"{src.rsplit('.', 1)[0]}.{extension}"


def cached_files(api: Api) -> list[Path]:
    return [path for path in (api.data_dir / "cache").rglob("*") if path.is_file()]


def blob_bytes(api: Api) -> int:
    return sum(path.stat().st_size for path in (api.data_dir / "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize("stored", FORMATS)
def test_every_format_is_served_as_every_extension_that_it_can_be(shared: Api, stored: str) -> None:
    src = uploaded(shared, make_image(stored, 60, 40))["src"]
    servable = CONVERTED | STORED.get(stored, {})
    for extension, (media_type, pillow_format) in servable.items():
        answer = shared.fetch(sibling(src, extension))
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type), extension
        if pillow_format:
            picture = decoded(answer.content)
            assert (picture.format, picture.size) == (pillow_format, (60, 40)), extension
    for extension in [*sorted(EXTENSIONS - set(servable)), "html", "exe", "original", "jpegx", "tmp"]:
        answer = shared.fetch(sibling(src, extension))
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), extension


@pytest.mark.parametrize("stored", FORMATS)
def test_the_own_extension_gives_the_stored_bytes(api: Api, stored: str) -> None:
    content = make_image(stored, 60, 40)
    shown = uploaded(api, content)
    master = api.fetch(sibling(shown["src"], stored)).content
    if stored != "svg":  # of which the sanitised document is stored
        assert master == content
        assert decoded(api.fetch(shown["src"]).content).size == (60, 40)
    assert len(master) == shown["filesize"] == blob_bytes(api)
    assert shown["extension"] == SHOWN_AS.get(stored, stored)
    assert shown["src"].endswith(f".{shown['extension']}")


@pytest.mark.parametrize(
    ("stored", "alpha", "shown_as"),
    [("heic", True, "png"), ("tiff", True, "png"), ("bmp", False, "png"), ("tiff", False, "jpeg")],
)
def test_src_is_for_browsers(shared: Api, stored: str, alpha: bool, shown_as: str) -> None:
    shown = uploaded(shared, make_image(stored, 80, 60, alpha=alpha))
    picture = decoded(shared.fetch(shown["src"]).content)
    assert shown["extension"] == shown_as
    assert (picture.format, picture.size) == (shown_as.upper(), (80, 60))
    assert (picture.mode == "RGBA") is alpha


@pytest.mark.parametrize(
    ("size", "width", "height", "expected"),
    [
        ("s", 1500, 2000, (320, 427)),  # 426.67
        ("m", 1500, 2000, (640, 853)),  # 853.33
        ("l", 1500, 2000, (1080, 1440)),
        ("s", 1999, 1333, (480, 320)),  # 479.88
        ("l", 1333, 1333, (1080, 1080)),
        ("s", 321, 900, (320, 897)),  # 897.2
        ("s", 320, 900, (320, 900)),
        ("m", 900, 639, (900, 639)),
        ("l", 1, 1, (1, 1)),
        ("s", 1, 2000, (1, 2000)),
        (None, 1500, 2000, (1500, 2000)),
        ("xl", 1500, 2000, (1500, 2000)),
    ],
)
def test_sizes_set_the_short_edge_and_never_upscale(
    shared: Api, size: str | None, width: int, height: int, expected: tuple[int, int]
) -> None:
    content = make_image("jpeg", width, height)
    shown = uploaded(shared, content)
    params = {"size": size} if size else {}
    for extension in ("jpeg", "webp"):
        answer = shared.fetch(sibling(shown["src"], extension), params=params)
        assert decoded(answer.content).size == expected, extension
        if extension == "jpeg":  # re-encoded only when there is something to shrink
            assert (answer.content == content) is (expected == (width, height))


def test_every_extension_is_made_at_a_size(shared: Api) -> None:
    src = uploaded(shared, make_image("png", 900, 700, alpha=True))["src"]
    for extension, (_, pillow_format) in CONVERTED.items():
        picture = decoded(shared.fetch(sibling(src, extension), params={"size": "s"}).content)
        assert (picture.format, picture.size) == (pillow_format, (411, 320)), extension


def test_the_spelling_of_an_address_does_not_matter(api: Api) -> None:
    src = uploaded(api, make_image("png", 700, 500))["src"]
    plain = api.fetch(sibling(src, "jpeg"), params={"size": "s"})
    for extension, size in [("jpg", "s"), ("JPG", "S"), ("JPEG", "s"), ("Jpeg", "S")]:
        other = api.fetch(sibling(src, extension), params={"size": size})
        assert (other.content, other.headers["etag"]) == (plain.content, plain.headers["etag"]), extension
    assert len(cached_files(api)) == 1


@pytest.mark.parametrize(
    ("query", "same_as"),
    [
        *[(f"?size={size}", "") for size in ("xl", "0", "-1", "320", "s,m", "%00", "s%0a", "ſ", "../s")],
        ("?size", ""),
        ("?size=", ""),
        ("?width=10&format=png", ""),
        ("?size=s&size=l", "?size=s"),
        ("?size=s&size=", "?size=s"),
        ("?x=1&size=s", "?size=s"),
        ("?size=%73", "?size=s"),
    ],
)
def test_queries_that_mean_the_same(shared: Api, query: str, same_as: str) -> None:
    src = sibling(uploaded(shared, make_image("png", 700, 500))["src"], "webp")
    plain = shared.fetch(src + same_as)
    before = cached_files(shared)
    answer = shared.fetch(src + query)
    assert (answer.status_code, answer.content) == (200, plain.content)
    assert answer.headers["etag"] == plain.headers["etag"]
    assert cached_files(shared) == before


def test_unknown_parameters_never_make_another_file(api: Api) -> None:
    src = sibling(uploaded(api, make_image("jpeg", 700, 500))["src"], "webp")
    answers = [api.fetch(f"{src}?size=s&x={number}") for number in range(1, 51)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(cached_files(api)) == 1


def test_an_svg_is_sanitised_and_locked_in(shared: Api) -> None:
    hostile = (
        '<script>alert(1)</script><image href="https://evil.example/x.png"/><a href="javascript:alert(2)">'
        "<text>t</text></a><rect onload='alert(3)'/><foreignObject><iframe src='https://evil.example'/></foreignObject>"
    )
    shown = uploaded(shared, make_svg(100, 50, hostile))
    answer = shared.fetch(shown["src"])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert b"<svg" in answer.content
    for forbidden in (b"script", b"alert", b"evil.example", b"onload", b"foreignobject", b"iframe"):
        assert forbidden not in answer.content.lower()
    assert len(answer.content) == shown["filesize"]


@pytest.mark.parametrize(
    ("size", "expected"), [(None, (100, 50)), ("s", (640, 320)), ("m", (1280, 640)), ("l", (2160, 1080))]
)
def test_an_svg_is_drawn_at_any_size(shared: Api, size: str | None, expected: tuple[int, int]) -> None:
    src = uploaded(shared, make_svg(100, 50))["src"]
    picture = decoded(shared.fetch(sibling(src, "png"), params={"size": size} if size else {}).content).convert("RGB")
    assert picture.size == expected
    assert picture.getpixel((5, 5)) == (255, 0, 0)
    assert picture.getpixel((expected[0] - 5, 5)) == (0, 0, 255)
    vector = shared.fetch(src, params={"size": size} if size else {})
    assert vector.headers["content-type"] == "image/svg+xml"


def test_an_animation_moves_as_gif_and_webp_only(shared: Api) -> None:
    src = uploaded(shared, make_animation("gif", 400, 360, 3))["src"]
    for extension, size, frames in [("gif", "s", 3), ("webp", "s", 3), ("webp", None, 3), ("png", "s", 1)]:
        picture = decoded(shared.fetch(sibling(src, extension), params={"size": size} if size else {}).content)
        assert getattr(picture, "n_frames", 1) == frames, (extension, size)
        assert min(picture.size) == (320 if size else 360), (extension, size)


def test_only_the_right_address_finds_an_image(api: Api) -> None:
    own = uploaded(api, make_image("png", 40, 30), api.new_key("a@example.com"))
    other = uploaded(api, make_image("png", 30, 40), api.new_key("b@example.com"))
    *_, team, _ = own["src"].split("/")
    *_, other_team, _ = other["src"].split("/")
    assert team != other_team
    path = f"/{team}/{own['id']}"
    wrong = [
        f"/{other_team}/{own['id']}.png",
        f"/00000/{own['id']}.png",
        f"/{team}/{own['id'][::-1]}.png",
        f"/{team.upper()}/{own['id']}.png",
        f"{path}.png/",
        f"{path}.",
        path,
        f"{path}.png.png",
        f"/{team}x/{own['id']}.png",
    ]
    assert api.client.get(f"{path}.png").status_code == 200
    for address in wrong:
        answer = api.client.get(address)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), address


def test_a_private_image_is_reachable_by_its_src(api: Api) -> None:
    shown = uploaded(api, make_image("png", 40, 30), api.new_key(), public="false")
    assert shown["public"] is False
    assert api.fetch(shown["src"]).status_code == 200


def test_an_expired_image_is_gone_everywhere_at_once(api: Api, clock: FakeClock) -> None:
    key = api.new_key()
    shown = uploaded(api, make_image("jpeg", 700, 500), key, ttl="3600")
    addresses = [shown["src"], sibling(shown["src"], "webp"), shown["src"] + "?size=s"]
    media = f"/v1/media/{shown['id']}"
    for seconds_left in (3600, 1800, 1):
        clock.at = shown["expires_at"] - seconds_left
        for address in addresses:
            answer = api.fetch(address)
            assert (answer.status_code, answer.headers["cache-control"]) == (200, f"public, max-age={seconds_left}")
        assert api.client.get(media).status_code == 200
    etag = api.fetch(shown["src"]).headers["etag"]
    clock.advance(seconds=1)
    for address in addresses:
        for headers in ({}, {"If-None-Match": etag}, {"Range": "bytes=0-9"}):
            answer = api.fetch(address, headers=headers)
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
    assert api.client.get(media).status_code == 404
    assert api.client.get(media, headers=key).status_code == 404


@pytest.mark.parametrize("lost", ["", "*"], ids=["the directory", "what is in it"])
def test_a_cache_that_was_emptied_meanwhile_is_made_again(start: ApiFactory, lost: str) -> None:
    api = start(cache={"memory_mb": 0})
    src = uploaded(api, make_image("jpeg", 700, 500))["src"]
    address = sibling(src, "webp") + "?size=s"
    before = api.fetch(address)
    cache = api.data_dir / "cache"
    for path in list(cache.glob(lost)) if lost else [cache]:
        shutil.rmtree(path)
    for asked in (address, sibling(src, "png") + "?size=s"):
        assert api.fetch(asked).status_code == 200, asked
    assert api.fetch(address).content == before.content
    assert len(cached_files(api)) == 2


def test_a_cached_file_that_a_power_cut_emptied_is_made_again(start: ApiFactory) -> None:
    api = start()
    address = sibling(uploaded(api, make_image("jpeg", 700, 500))["src"], "webp") + "?size=s"
    before = api.fetch(address).content
    (cached,) = cached_files(api)
    cached.write_bytes(b"")
    api = start()
    assert api.fetch(address).content == before
    assert cached_files(api) == [cached]
