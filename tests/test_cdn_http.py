"""Image bytes over HTTP: validators, conditional requests, HEAD, ranges and the headers that keep browsers safe."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import pytest
from conftest import Api
from images import make_image
from shared import serve

SIZES = ("", "?size=s", "?size=m")
EXTENSIONS = ("jpeg", "png", "webp", "avif")


@dataclass
class Served:
    """An image and how to ask for it."""

    api: Api
    stem: str
    original: bytes

    def get(self, extension: str = "jpeg", query: str = "", **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.fetch(f"{self.stem}.{extension}{query}", headers=sent)


def upload(api: Api, width: int, height: int) -> Served:
    original = make_image("jpeg", width, height)
    answer = api.upload(original)
    assert answer.status_code == 201, answer.text
    return Served(api, answer.json()["src"].removesuffix(".jpeg"), original)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all tests here: none of them changes anything but by uploading."""
    with serve(tmp_path_factory.mktemp("served")) as api:
        yield api


@pytest.fixture(scope="module")
def served(shared: Api) -> Served:
    return upload(shared, 900, 700)


def test_etags_are_strong_stable_and_distinct(served: Served) -> None:
    etags = [served.get(extension, size).headers["etag"] for extension in EXTENSIONS for size in SIZES]
    again = [served.get(extension, size).headers["etag"] for extension in EXTENSIONS for size in SIZES]
    assert again == etags
    assert len(set(etags)) == len(etags)
    for etag in etags:
        assert etag[0] == etag[-1] == '"'
        assert etag[1:-1].isascii()
        assert '"' not in etag[1:-1]


def test_different_pictures_have_different_etags(served: Served) -> None:
    other = upload(served.api, 700, 900)
    for extension in EXTENSIONS:
        assert other.get(extension).headers["etag"] != served.get(extension).headers["etag"]


@pytest.mark.parametrize("address", [("jpeg", ""), ("webp", "?size=s")])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{etag}", 304),
        ("W/{etag}", 304),
        ('"other", {etag}', 304),
        ('W/"other",{etag} , "third"', 304),
        ("*", 304),
        (" * ", 304),
        ('"other"', 200),
        ('"other", W/"third"', 200),
        ("{bare}", 200),
        ('"{bare}x"', 200),
        ('"*"', 200),
        ("", 200),
        ('"', 200),
    ],
)
def test_if_none_match(served: Served, address: tuple[str, str], condition: str, status: int) -> None:
    full = served.get(*address)
    etag = full.headers["etag"]
    answer = served.get(*address, If_None_Match=condition.format(etag=etag, bare=etag.strip('"')))
    assert answer.status_code == status
    assert answer.content == (b"" if status == 304 else full.content)
    for header in ("etag", "cache-control", "last-modified", "access-control-allow-origin", "x-content-type-options"):
        assert answer.headers[header] == full.headers[header], header


@pytest.mark.parametrize(("seconds_later", "status"), [(0, 304), (1, 304), (86_400, 304), (-1, 200), (-86_400, 200)])
def test_if_modified_since(served: Served, seconds_later: int, status: int) -> None:
    since = formatdate(served.api.clock.at + seconds_later, usegmt=True)
    assert served.get(If_Modified_Since=since).status_code == status


@pytest.mark.parametrize(
    "since",
    ["", "yesterday", "0", "1700000000", "Tue, 99 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 99999 22:13:20 GMT", "," * 500],
)
def test_a_date_that_is_none_is_ignored(served: Served, since: str) -> None:
    assert served.get(If_Modified_Since=since).status_code == 200


def test_if_none_match_wins_over_the_date(served: Served) -> None:
    etag = served.get().headers["etag"]
    later, earlier = (formatdate(served.api.clock.at + seconds, usegmt=True) for seconds in (60, -60))
    assert served.get(If_None_Match='"other"', If_Modified_Since=later).status_code == 200
    assert served.get(If_None_Match=etag, If_Modified_Since=earlier).status_code == 304


@pytest.mark.parametrize("address", [("jpeg", ""), ("webp", "?size=s"), ("avif", "?size=s"), ("exe", "")])
@pytest.mark.parametrize("condition", ["", "range", "etag"])
def test_head_is_get_without_the_body(served: Served, address: tuple[str, str], condition: str) -> None:
    url = f"{served.stem}.{address[0]}{address[1]}".removeprefix("http://localhost:4647")
    etag = served.get(*address).headers.get("etag", '""')
    headers = {"": {}, "range": {"Range": "bytes=5-9"}, "etag": {"If-None-Match": etag}}[condition]
    get, head = (served.api.client.request(method, url, headers=headers) for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head.status_code == get.status_code
    assert {**head.headers, "x-request-id": ""} == {**get.headers, "x-request-id": ""}


def test_head_of_a_variant_that_was_never_made(shared: Api) -> None:
    url = f"{upload(shared, 901, 700).stem}.webp?size=s".removeprefix("http://localhost:4647")
    head = shared.client.head(url)
    body = shared.client.get(url).content
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(body)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=500-", 500, None),
        ("bytes=-1", -1, None),
        ("bytes=-100", -100, None),
        ("bytes=-999999999", 0, None),
        ("bytes=10-999999999", 10, None),
        ("BYTES=0-9", 0, 10),
    ],
)
def test_a_range(served: Served, asked: str, begin: int, end: int | None) -> None:
    answer = served.get(Range=asked)
    total = len(served.original)
    expected = served.original[begin:end]
    first = range(total)[begin]
    assert (answer.status_code, answer.content) == (206, expected)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{total}"
    assert answer.headers["content-length"] == str(len(expected))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"] == served.get().headers["etag"]


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=9-3",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=1-2-3",
        "lines=0-9",
        "0-9",
        "",
        "bytes=0-1,5-6",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(1000)),
        "bytes=--5",
        "bytes=+1-+2",
        f"bytes={'9' * 30}-",
        "bytes=0x1-0x2",
        "bytes=١-٢".encode().decode("latin-1"),
    ],
)
def test_a_range_that_is_none_or_many_gives_the_whole_file(served: Served, asked: str) -> None:
    answer = served.api.client.get(
        f"{served.stem}.jpeg".removeprefix("http://localhost:4647"), headers=[(b"range", asked.encode("latin-1"))]
    )
    assert (answer.status_code, answer.content) == (200, served.original)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes={size}-", "bytes={size}-{more}", "bytes=999999999-", "bytes=-0"])
def test_a_range_beyond_the_end(served: Served, asked: str) -> None:
    size = len(served.original)
    answer = served.get(Range=asked.format(size=size, more=size + 10))
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert answer.headers["cache-control"] == "no-store"
    assert {"error", "message"} <= set(answer.json())


@pytest.mark.parametrize(
    ("validator", "status"),
    [("{etag}", 206), ('"other"', 200), ("W/{etag}", 200), ("Tue, 14 Nov 2000 22:13:20 GMT", 200)],
)
def test_if_range(served: Served, validator: str, status: int) -> None:
    etag = served.get().headers["etag"]
    answer = served.get(Range="bytes=0-9", If_Range=validator.format(etag=etag))
    assert answer.status_code == status
    assert answer.content == (served.original[:10] if status == 206 else served.original)


def test_if_range_of_one_variant_is_not_good_for_another(served: Served) -> None:
    etag = served.get("webp", "?size=s").headers["etag"]
    assert served.get("webp", "?size=m", Range="bytes=0-9", If_Range=etag).status_code == 200


def test_a_matching_etag_wins_over_a_range(served: Served) -> None:
    assert served.get(Range="bytes=0-9", If_None_Match=served.get().headers["etag"]).status_code == 304


def test_a_range_of_a_variant_that_was_never_made(shared: Api) -> None:
    cold = upload(shared, 902, 700)
    part = cold.get("webp", "?size=s", Range="bytes=4-11")
    whole = cold.get("webp", "?size=s").content
    assert (part.status_code, part.content) == (206, whole[4:12])
    assert part.headers["content-range"] == f"bytes 4-11/{len(whole)}"


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("address", [("jpeg", ""), ("webp", "?size=s")])
def test_headers_for_browsers(served: Served, address: tuple[str, str], headers: dict[str, str]) -> None:
    answer = served.get(*address, **headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-request-id"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("photo.jpg", "photo"),
        ('a"b.jpg', 'a"b'),
        ('x"; filename="evil.html', 'x"; filename="evil'),
        ("a\r\nSet-Cookie: x=1.jpg", None),
        ("a\\b;c,d.jpg", None),
        ("Grüße 🎉 写真.jpg", "Grüße 🎉 写真"),
        ("50% of *'all'.jpg", "50% of *'all'"),
        ("\u202egnp.exe", "gnp"),
        (".jpg", None),
        ("é" * 255, "é" * 255),
    ],
)
def test_a_file_name_cannot_leave_its_header(shared: Api, name: str, stem: str | None) -> None:
    answer = shared.upload(make_image("png", 4, 3), filename="x.png", name=name)
    assert answer.status_code == 201, answer.text
    image = shared.fetch(answer.json()["src"])
    disposition = image.headers["content-disposition"]
    before, shown = disposition.split("filename*=UTF-8''")
    assert before == "inline; "
    assert set(shown) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
    assert unquote(shown).isprintable()
    assert unquote(shown).endswith(".png")
    assert stem is None or unquote(shown) == f"{stem}.png"
    assert "set-cookie" not in image.headers


@pytest.mark.parametrize("address", ["/{team}/{other}.png", "/{team}/{id}.exe", "/{team}/{id}.gif", "/{team}/{id}"])
def test_errors_are_json_that_nobody_keeps(served: Served, address: str) -> None:
    *_, team, media_id = served.stem.split("/")
    answer = served.api.client.get(address.format(team=team, id=media_id, other=media_id[::-1]))
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error", "message"}
    assert "etag" not in answer.headers
