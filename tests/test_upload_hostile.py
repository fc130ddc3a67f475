"""POST /v1/upload: forms that no polite client sends (hardening C1) are refused in words, or taken as meant."""

from collections.abc import Iterator

import pytest
from conftest import Api
from images import make_image
from shared import serve
from wire import BOUNDARY, FORM, check_error_shape, check_refusal, form, part, send_form, send_raw, stored_blobs

PICTURE = make_image("png", 8, 6)
FILE = part("file", PICTURE, "a.png")
NOTHING = (400, "missing_file")
WRONG = (422, "validation_error")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data"), limits={"anonymous_file_mb": 1}) as api:
        yield api


def disposition(parameters: str) -> bytes:
    """A file part with this Content-Disposition."""
    return f"Content-Disposition: {parameters}\r\n\r\n".encode() + PICTURE


def check(api: Api, answer: object, refusal: tuple[int, str]) -> None:
    """A refusal that is itself small, and leaves nothing half-way."""
    blobs = stored_blobs(api)
    assert len(check_refusal(answer, *refusal)["message"]) < 1000
    assert len(answer.text) < 20_000
    assert stored_blobs(api) == blobs
    assert not list((api.data_dir / "tmp").iterdir())


HOSTILE = {
    "empty": (b"", NOTHING),
    "garbage": (b"\0\xff" * 5000, NOTHING),
    "no parts": (form(), NOTHING),
    "no closing boundary": (form(FILE, end=b""), NOTHING),
    "no closing boundary after a field": (form(FILE, part("a", "b"), end=b"\r\n"), NOTHING),
    "cut in the file": (form(FILE)[:-200], NOTHING),
    "cut in the last boundary": (form(FILE)[:-8], NOTHING),
    "cut in a header": (form(FILE)[:40], NOTHING),
    "another boundary": (form(FILE, boundary="other"), NOTHING),
    "two files": (form(FILE, FILE), WRONG),
    "another file beside it": (form(FILE, part("image", PICTURE, "b.png")), WRONG),
    "a file under another name": (form(part("image", PICTURE, "a.png")), NOTHING),
    "a file with an empty name": (form(part("file", PICTURE, "")), NOTHING),
    "a text field named file": (form(part("file", PICTURE)), NOTHING),
    "a field of 70 KB": (form(FILE, part("a", "b" * 70 * 1024)), WRONG),
    "300 KB in fields": (form(FILE, *[part(f"a{n}", "b" * 60 * 1024) for n in range(5)]), WRONG),
    "101 fields": (form(FILE, *[part(f"a{n}", "b") for n in range(101)]), WRONG),
    "10,000 fields": (form(FILE, *[part(f"a{n}", "b") for n in range(10_000)]), WRONG),
    "10,000 times tags": (form(FILE, *[part("tags", "")] * 10_000), WRONG),
    "10,000 times the same field": (form(FILE, *[part("a", "b")] * 10_000), WRONG),
    "10,000 fields that are no text": (form(FILE, *[part(f"a{n}", b"\xff") for n in range(10_000)]), WRONG),
    "10,000 fields without a name": (form(FILE, *[part("", "b")] * 10_000), WRONG),
    "10,000 files": (form(*[part("file", "x", "a.png")] * 10_000), WRONG),
    "10,000 files of different names": (form(FILE, *[part(f"a{n}", "b", "c") for n in range(10_000)]), WRONG),
    "10,000 empty file inputs": (form(FILE, *[part("file", "", "")] * 10_000), WRONG),
    "a part header of 100 KB": (form(part("file", PICTURE, "a.png", "X-A: " + "a" * 100 * 1024)), NOTHING),
    "5,000 part headers": (form(part("file", PICTURE, "a.png", *[f"X-{n}: a" for n in range(5000)])), NOTHING),
    "a part header without a colon": (form(part("file", PICTURE, "a.png", "garbage")), NOTHING),
    "NUL in a part header": (form(part("file", PICTURE, "a.png", "X-\0: a")), NOTHING),
    "a field name of 201 characters": (form(FILE, part("a" * 201, "b")), WRONG),
    "a field without a name": (form(FILE, part("", "b")), WRONG),
    "a part without headers": (form(FILE, b"\r\nb"), WRONG),
    "a part without a disposition": (form(FILE, b"X-A: a\r\n\r\nb"), WRONG),
    "a field that is no UTF-8": (form(FILE, part("a", b"\xff\xfe")), WRONG),
    "lines that end in LF": (form(FILE).replace(b"\r\n", b"\n"), NOTHING),
    "a field twice": (form(FILE, part("a", "b"), part("a", "c")), WRONG),
}


@pytest.mark.parametrize(("body", "refusal"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_form_is_refused(shared: Api, body: bytes, refusal: tuple[int, str]) -> None:
    check(shared, send_form(shared, body), refusal)
    chunks = [body[start : start + 7000] for start in range(0, len(body), 7000)]
    content_type = (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())
    check(shared, send_raw(shared, "/v1/upload", chunks, [content_type]), refusal)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (form(FILE, end=b"--"), "a.png"),
        (b"\r\n" + form(FILE), "a.png"),
        (form(FILE, end=b"--\r\nan epilogue"), "a.png"),
        (form(disposition("form-data; name=file; filename=b.png")), "b.png"),
        (form(disposition('FORM-DATA; NAME="file"; FILENAME="b.png"')), "b.png"),
        (form(disposition('form-data; filename="b.png"; name="file"')), "b.png"),
        (form(disposition('form-data; name="file"; filename="b\\"c.png"')), 'b"c.png'),
        (form(disposition('form-data; name="file"; filename="b.png"; filename*=UTF-8\'\'%2e%2e%2fc.png')), "b.png"),
        (form(part("file", PICTURE, "b.png", "Content-Transfer-Encoding: base64")), "b.png"),
        (form(part("file", PICTURE, "b.png", "Content-Type: multipart/mixed; boundary=x")), "b.png"),
        (form(part("file", PICTURE, "b.png", "Content-Length: 1")), "b.png"),
        (form(part("other", "", ""), part("file", "", ""), FILE), "a.png"),
    ],
)
def test_an_odd_form_is_taken_as_meant(shared: Api, body: bytes, name: str) -> None:
    answer = send_form(shared, body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == name
    assert answer.json()["filesize"] == len(PICTURE)


@pytest.mark.parametrize(
    "parameters",
    [
        "form-data; name=\"file\"; filename*=UTF-8''b.png",
        "form-data; name=\"file\"; filename*=bogus''%ff%fe",
        "form-data; name*=UTF-8''file; filename=\"b.png\"",
        "form-data; name*=bogus''%ff; filename=\"b.png\"",
        'form-data; name*0=fi; name*1=le; filename="b.png"',
        'form-data; name="file"; filename*0=b; filename*1=.png',
        'form-data; name="file"; filename*99999999999999999999=b.png',
        'form-data; name="file"; name="other"; filename="b.png"',
        'form-data; name="file"; filename="b.png',
        'form-data; name="file"; filename==?utf-8?b?Yi5wbmc=?=',
        'form-data; "name"="file"; filename="b.png"',
        ";;;;name=file;filename=b.png",
        "form-data; name=file; filename=" + "\\" * 1000,
        'form-data; name=file; filename="' + '\\"' * 1000,
        "form-data" + "; a=b" * 1000,
        "",
    ],
)
def test_odd_dispositions_never_hurt(shared: Api, parameters: str) -> None:
    answer = send_form(shared, form(disposition(parameters)))
    assert answer.status_code in (201, 400, 422), answer.text
    if answer.status_code == 201:
        assert answer.json()["filesize"] == len(PICTURE)
    else:
        check_error_shape(answer)


def test_a_preamble_is_skipped_or_refused(shared: Api) -> None:
    answer = send_form(shared, b"This is a message in MIME format.\r\n" + form(FILE))
    assert answer.status_code == 201 or check_refusal(answer, *NOTHING)


@pytest.mark.parametrize("end", [b"--\r\n" + bytes(2 * 1024 * 1024), b"--" + b"x" * 2 * 1024 * 1024])
def test_an_epilogue_counts_towards_the_size(shared: Api, end: bytes) -> None:
    check(shared, send_form(shared, form(FILE, end=end)), (400, "file_too_large"))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=B", "B"),
        ("Multipart/Form-DATA; BOUNDARY=B", "B"),
        ('multipart/form-data; boundary="B"', "B"),
        ("multipart/form-data;boundary=B;charset=utf-7", "B"),
        ('multipart/form-data; boundary="a b:c"', "a b:c"),
        ("multipart/form-data; boundary=" + "b" * 70, "b" * 70),  # RFC 2046 allows so many
    ],
)
def test_content_types_that_name_a_boundary(shared: Api, content_type: str, boundary: str) -> None:
    assert send_form(shared, form(FILE, boundary=boundary), content_type).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=" + b"b" * 257,
        b"multipart/form-data; boundary=" + b"b" * 1024,
        b"multipart/form-data; boundary=\xff\xfe",
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary*=bogus''%ff",
        b"multipart/form-data, text/plain",
        b"multipart/mixed; boundary=cut-here",
        b"application/x-www-form-urlencoded",
        b"application/json",
        b"image/png",
        b"\xff\xfe\0",
        b"multipart/form-data" + b"; a=b" * 5000,
    ],
)
def test_content_types_that_name_none(shared: Api, content_type: bytes) -> None:
    body = form(FILE, boundary="b" * 1024 if b"b" * 1024 in content_type else BOUNDARY)
    check(shared, send_raw(shared, "/v1/upload", [body], [(b"content-type", content_type)]), NOTHING)


def test_where_a_form_is_cut_into_packets_does_not_matter(shared: Api) -> None:
    wrong = [part("namespace", "A"), part("ttl", "1"), part("é", b"\xff"), part("file", PICTURE, "a.png")]
    body = form(*wrong, part("tags", "a" * 51)) + b"epilogue"
    headers = [(b"content-type", FORM.encode())]
    whole = send_raw(shared, "/v1/upload", [body], headers)
    for at in range(1, len(body)):
        assert send_raw(shared, "/v1/upload", [body[:at], body[at:]], headers).json() == whole.json()
    assert check_refusal(whole, 422, "validation_error")["errors"].keys() == {"namespace", "ttl", "é", "tags"}
