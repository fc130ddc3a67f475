"""POST /v1/upload: files that are too large, and files that are not what they seem (hardening A)."""

import random
import struct
import zlib
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest
from conftest import Api, ApiFactory
from images import make_image, make_svg
from shared import serve
from wire import FORM, check_error_shape, check_refusal, form, nothing_is_stored, part, send_form, send_raw

from imgpro_lite.formats import Format

MB = 1024 * 1024
CHUNK = bytes(64 * 1024)
SMALL = {"anonymous_file_mb": 1, "file_mb": 3, "svg_file_mb": 2}
PICTURE = make_image("jpeg", 64, 48)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data"), limits=SMALL) as api:
        yield api


def padded(content: bytes, size_bytes: int) -> bytes:
    return content + bytes(size_bytes - len(content))


def padded_svg(size_bytes: int) -> bytes:
    return make_svg(8, 6, f"<!--{'x' * (size_bytes - len(make_svg(8, 6)) - 7)}-->")


# ── size ──


def test_an_anonymous_file_at_its_limit_and_one_byte_more(shared: Api) -> None:
    answer = shared.upload(padded(PICTURE, MB))
    assert answer.status_code == 201
    assert answer.json()["filesize"] == MB
    body = check_refusal(shared.upload(padded(PICTURE, MB + 1)), 400, "file_too_large")
    assert "1 MB" in body["message"]


def test_a_file_with_a_key_at_its_limit_and_one_byte_more(shared: Api) -> None:
    headers = shared.new_key()
    assert shared.upload(padded(PICTURE, 3 * MB), headers).status_code == 201
    body = check_refusal(shared.upload(padded(PICTURE, 3 * MB + 1), headers), 400, "file_too_large")
    assert "3 MB" in body["message"]


def test_an_svg_at_its_limit_and_one_byte_more(shared: Api) -> None:
    headers = shared.new_key()
    assert len(padded_svg(2 * MB)) == 2 * MB
    assert shared.upload(padded_svg(2 * MB), headers).status_code == 201
    body = check_refusal(shared.upload(padded_svg(2 * MB + 1), headers), 400, "file_too_large")
    assert "2 MB" in body["message"]


def test_the_smaller_limit_holds_for_an_anonymous_svg(shared: Api) -> None:
    check_refusal(shared.upload(padded_svg(MB + 1)), 400, "file_too_large")


def test_fields_do_not_count_as_file(shared: Api) -> None:
    answer = shared.upload(padded(PICTURE, MB), author="x" * 10_000)
    assert answer.status_code == 201


def test_the_limits_without_settings(start: ApiFactory) -> None:
    api = start()
    length = (b"content-length", b"%d" % (72 * MB))
    for headers, limit in (({}, "20 MB"), (api.new_key(), "70 MB")):
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        answer = send_raw(
            api,
            "/v1/upload",
            [form(part("file", PICTURE, "a.jpg"))],
            [*pairs, length, (b"content-type", FORM.encode())],
        )
        assert limit in check_refusal(answer, 400, "file_too_large")["message"]


def endless_file() -> Iterator[bytes]:
    yield form(part("file", PICTURE, "a.jpg"), end=b"")[:-12]
    yield from repeat(CHUNK)


def test_a_length_far_over_the_limit_is_refused_unread(shared: Api) -> None:
    headers = [(b"content-type", FORM.encode()), (b"content-length", b"9" * 5000)]
    answer = send_raw(shared, "/v1/upload", endless_file(), headers)
    check_refusal(answer, 400, "file_too_large")
    assert answer.chunks_taken == 0
    assert answer.headers["connection"] == "close"


def test_a_body_without_length_is_read_to_the_limit(start: ApiFactory) -> None:
    api = start(limits=SMALL)
    headers = [(b"content-type", FORM.encode()), (b"transfer-encoding", b"chunked")]
    answer = send_raw(api, "/v1/upload", endless_file(), headers)
    check_refusal(answer, 400, "file_too_large")
    assert answer.chunks_taken * len(CHUNK) <= MB + 3 * len(CHUNK)
    assert answer.headers["connection"] == "close"
    assert nothing_is_stored(api)


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"--cut-here\r\n"])
def test_a_body_that_never_becomes_a_form_is_not_read_for_ever(shared: Api, beginning: bytes) -> None:
    def body() -> Iterator[bytes]:
        yield beginning
        yield from repeat(b"\r\n" * 32_000)

    headers = [(b"content-type", FORM.encode()), (b"transfer-encoding", b"chunked")]
    answer = send_raw(shared, "/v1/upload", body(), headers)
    assert answer.status_code == 400
    check_error_shape(answer)
    assert answer.chunks_taken * 64_000 <= MB + 4 * 64_000


# ── content ──


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a<?php",
        b"BM",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0",
        b"\0\0\0\x18ftypheic",
        b"<svg>",
        b"<html><body><svg/></body></html>",
        b"%PDF-1.7",
        b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'b'>]><svg xmlns='http://www.w3.org/2000/svg'>&a;</svg>",
    ],
)
def test_stubs_and_other_files(shared: Api, content: bytes) -> None:
    check_refusal(shared.upload(content), 400, "unsupported_format")


def test_noise(shared: Api) -> None:
    noise = random.Random(1)
    for _ in range(50):
        check_refusal(shared.upload(noise.randbytes(noise.randrange(2000))), 400, "unsupported_format")


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize("percent", [10, 50, 99])
def test_a_truncated_file(shared: Api, format_: Format, percent: int) -> None:
    content = make_image(format_, 200, 150)
    answer = shared.upload(content[: len(content) * percent // 100])
    check_refusal(answer, 400, "unsupported_format")


@pytest.mark.slow
@pytest.mark.parametrize("format_", list(Format))
def test_flipped_bits(shared: Api, format_: Format) -> None:
    chance = random.Random(str(format_))
    content = make_image(format_, 40, 30)
    for _ in range(10):
        broken = bytearray(content)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        answer = shared.upload(bytes(broken))
        assert answer.status_code == 201 or check_refusal(answer, 400, "unsupported_format")
    assert shared.upload(content).status_code == 201


def png_header(width: int, height: int) -> bytes:
    """A tiny PNG that says it is enormous."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in (header, rows, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_a_picture_over_the_pixel_limit(shared: Api, size: tuple[int, int]) -> None:
    check_refusal(shared.upload(png_header(*size)), 400, "unsupported_format")


@pytest.mark.parametrize(
    ("format_", "tail"),
    [
        ("jpeg", b"<html><script>alert(1)</script></html>"),
        ("jpeg", b"<?php system($_GET['x']); ?>"),
        ("gif", b"PK\x03\x04\x14\0\0\0\0\0classes.jar"),
        ("png", b"PK\x03\x04\x14\0\0\0\0\0a.zip"),
    ],
)
def test_a_picture_that_is_something_else_as_well(shared: Api, format_: str, tail: bytes) -> None:
    content = make_image(format_, 8, 6) + tail
    headers = shared.new_key()  # without one, what follows the picture is not even stored
    sent = form(part("file", content, "a.html", "Content-Type: text/html"))
    image: dict[str, Any] = send_form(shared, sent, headers=headers).json()
    answer = shared.fetch(image["src"])
    assert answer.content == content
    assert answer.headers["content-type"] == f"image/{format_}"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for extension in ("html", "php", "jar", "zip", "js", "svg"):
        check_refusal(shared.fetch(f"{image['src'].rpartition('.')[0]}.{extension}"), 404, "not_found")
