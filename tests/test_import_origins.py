"""Importing from sites that do not behave: what they send is bounded in time and size, and never taken half."""

import contextlib
import gzip
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from mailing import CERTIFICATE
from origins import ORIGIN_ADDRESS, PICTURE, FakeInternet, Origin, Page, answer, origin, redirect
from running import until
from shared import serve
from wire import check_refusal

from imgpro_lite.fetching.resolver import look_up

MB = 1024 * 1024
IDLE_SECONDS = 0.3  # of a server that only fetches what is to take too long


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as running:
        yield running


@pytest.fixture(scope="module")
def secure_site() -> Iterator[Origin]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    with origin("127.0.0.1", tls) as running:
        running.pages["/photo.png"] = answer()
        yield running


@pytest.fixture(scope="module")
def ipv6_site(site: Origin) -> Iterator[Origin]:
    """A site on the port of the other one, which settings allow already."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(origin("::1", port=site.port))
        except OSError:
            pytest.skip("there is no IPv6 here")
        running.pages["/photo.png"] = answer()
        yield running


def imports(*sites: Origin, **more: Any) -> dict[str, Any]:
    """What a server needs to fetch from the sites."""
    networks = [ORIGIN_ADDRESS, "127.0.0.1", "::1"]
    return {"import": {"allow_networks": networks, "ports": [site.port for site in sites], **more}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, site: Origin, secure_site: Origin) -> Iterator[Api]:
    with serve(
        tmp_path_factory.mktemp("import") / "data",
        internet=FakeInternet().internet,
        limits={"anonymous_file_mb": 1, "svg_file_mb": 1},
        **imports(site, secure_site),
    ) as api:
        yield api


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, site: Origin) -> Iterator[Api]:
    """A server that waits a moment only."""
    fake = FakeInternet()
    fake.names["slow.example"] = ["never"]
    limits = imports(site, idle_seconds=IDLE_SECONDS)
    with serve(tmp_path_factory.mktemp("impatient") / "data", internet=fake.internet, **limits) as api:
        yield api
    fake.resolves.set()


@pytest.fixture(autouse=True)
def _fresh(site: Origin, caplog: pytest.LogCaptureFixture) -> None:
    site.pages.clear()
    site.requests.clear()
    caplog.set_level(logging.INFO, "imgpro_lite.imports")


def import_page(api: Api, site: Origin, page: Page) -> Any:
    """Import what the site says."""
    site.pages["/photo.png"] = page
    imported = api.client.post("/v1/import", json={"url": site.url("/photo.png")})
    assert not any((api.data_dir / "tmp").iterdir())
    return imported


def reason(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [record for record in caplog.records if record.name == "imgpro_lite.imports"]
    return str(vars(record)["reason"])


def repeatedly(first: bytes, data: bytes, pause_seconds: float = 0) -> Callable[[socket.socket], None]:
    """Send without end, until the server hangs up."""

    def talk(sock: socket.socket) -> None:
        sock.sendall(first)
        while True:
            sock.sendall(data)
            time.sleep(pause_seconds)

    return talk


def silent(first: bytes) -> Callable[[socket.socket], None]:
    """Send something, and wait until the server hangs up."""

    def talk(sock: socket.socket) -> None:
        sock.sendall(first)
        sock.recv(1)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
ENDLESS = HEAD + b"\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(body: bytes, size_bytes: int) -> bytes:
    parts = [body[start : start + size_bytes] for start in range(0, len(body), size_bytes)]
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# What is a picture, however it is sent.
GOOD: dict[str, Page] = {
    "with its length": answer(),
    "until the connection closes": ENDLESS + PICTURE,
    "in chunks": chunks(PICTURE, 20),
    "after a 100 and a 103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + answer(),
    "HTTP/1.0": answer().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "more than its length": answer(PICTURE, f"Content-Length: {len(PICTURE)}") + b"more",
    "says that it is not compressed": answer(PICTURE, "Content-Encoding: identity"),
    "a type in capitals": answer(content_type="IMAGE/PNG; charset=binary"),
    "another type of image": answer(content_type="image/x-unknown"),
    "its length twice": answer(PICTURE, *[f"Content-Length: {len(PICTURE)}"] * 2),
    "20 KB of header": answer(PICTURE, *(f"X-{number}: {'a' * 1000}" for number in range(20))),
}


@pytest.mark.parametrize("how", GOOD)
def test_a_picture(shared: Api, site: Origin, how: str) -> None:
    imported = import_page(shared, site, GOOD[how])
    assert (imported.status_code, imported.json().get("filesize")) == (201, len(PICTURE)), imported.text


# What is not fetched, and why, in words of the log.
FAILING: dict[str, tuple[Page, str]] = {
    "nothing": (lambda sock: None, "the connection failed"),
    "no HTTP": (b"220 mail.example ESMTP\r\n", "the connection failed"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the connection failed"),
    "a broken header": (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "the connection failed"),
    "100 KB of header": (answer(PICTURE, *(f"X-{number}: {'a' * 1000}" for number in range(100))), "64 KB"),
    "one line of 100 KB": (answer(PICTURE, "X: " + "a" * 100_000), "64 KB"),
    "a header without end": (repeatedly(HEAD, b"X: y\r\n" * 1000), "64 KB"),
    "100 without end": (repeatedly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "64 KB"),
    "another protocol": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "failed"),
    "a negative length": (answer(PICTURE, "Content-Length: -1"), "the connection failed"),
    "two lengths": (answer(PICTURE, f"Content-Length: {len(PICTURE)}", "Content-Length: 5"), "the connection failed"),
    "a length of 5,000 digits": (answer(PICTURE, "Content-Length: " + "9" * 5000), "the connection failed"),
    "less than its length": (answer(PICTURE, f"Content-Length: {len(PICTURE) + 1}"), "the connection failed"),
    "chunks that end early": (chunks(PICTURE, 20)[:-5], "the connection failed"),
    "a chunk that lies": (CHUNKED + b"zz\r\n" + PICTURE, "the connection failed"),
    "an unknown transfer encoding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + PICTURE, "the connection failed"),
    "chunks of one byte": (chunks(PICTURE + bytes(20_000), 1), "tiny chunks"),
    "gzip": (answer(gzip.compress(PICTURE), "Content-Encoding: gzip"), "compressed"),
    "a gzip bomb": (answer(gzip.compress(bytes(10 * MB)), "Content-Encoding: gzip"), "compressed"),
    "br": (answer(PICTURE, "Content-Encoding: br"), "compressed"),
    "a redirect without address": (answer(b"", status="302 Found"), "redirects"),
    "a redirect that is no text": (b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n", "UTF-8"),
    "a redirect to itself": (redirect("/photo.png"), "more than 3 redirects"),
} | {
    f"status {status}": (answer(PICTURE, status=f"{status} Odd"), f"status {status}")
    for status in (201, 203, 204, 206, 300, 304, 305, 400, 401, 403, 404, 410, 418, 429, 500, 503, 599)
}


@pytest.mark.parametrize("how", FAILING)
def test_what_cannot_be_fetched(shared: Api, site: Origin, caplog: pytest.LogCaptureFixture, how: str) -> None:
    page, why = FAILING[how]
    check_refusal(import_page(shared, site, page), 400, "fetch_failed")
    assert why in reason(caplog)


SLOW: dict[str, Page] = {
    "silence": silent(b""),
    "silence within the header": silent(HEAD),
    "silence within the body": silent(ENDLESS + PICTURE[:20]),
    "a header byte by byte": repeatedly(HEAD + b"X: ", b"a", 0.05),
    "a body byte by byte": repeatedly(ENDLESS, b"a", 0.05),
}


@pytest.mark.parametrize("how", SLOW)
def test_what_comes_too_slowly(impatient: Api, site: Origin, caplog: pytest.LogCaptureFixture, how: str) -> None:
    check_refusal(import_page(impatient, site, SLOW[how]), 400, "fetch_failed")
    assert "silent" in reason(caplog)


def test_a_resolver_that_does_not_answer(impatient: Api, site: Origin, caplog: pytest.LogCaptureFixture) -> None:
    refused = impatient.client.post("/v1/import", json={"url": site.url("/photo.png", "slow.example")})
    check_refusal(refused, 400, "fetch_failed")
    assert "silent" in reason(caplog)


def test_the_systems_resolver() -> None:
    """Numbers as C reads them. No name server is asked."""
    assert look_up("127.1") == ["127.0.0.1"]
    assert look_up("::1") == ["::1"]
    with pytest.raises(OSError):
        look_up("a\0b")


HTML = b"<!doctype html><title>x</title>"

NO_IMAGE = {
    "HTML": answer(HTML, content_type="text/html"),
    "HTML with the bytes of an image": answer(PICTURE, content_type="text/html"),
    "an image with the bytes of HTML": answer(HTML),
    "no type": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PICTURE), PICTURE),
    "any bytes": answer(PICTURE, content_type="application/octet-stream"),
    "an image after a comma": answer(PICTURE, content_type="text/html, image/png"),
    "nothing": answer(b""),
    "a part of it": answer(PICTURE[:-20]),
    "a part of it in a length that is too short": answer(PICTURE, f"Content-Length: {len(PICTURE) - 20}"),
    "a part of it until the connection closes": ENDLESS + PICTURE[:-20],
}


@pytest.mark.parametrize("how", NO_IMAGE)
def test_what_is_no_image(shared: Api, site: Origin, how: str) -> None:
    check_refusal(import_page(shared, site, NO_IMAGE[how]), 400, "unsupported_format")


def test_a_length_over_the_limit_is_not_waited_for(shared: Api, site: Origin) -> None:
    check_refusal(import_page(shared, site, silent(HEAD + b"Content-Length: 2000000\r\n\r\n")), 400, "file_too_large")


def test_a_body_without_end_is_read_up_to_the_limit(shared: Api, site: Origin) -> None:
    sent_bytes = 0

    def talk(sock: socket.socket) -> None:
        nonlocal sent_bytes
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        sock.sendall(ENDLESS)
        while True:
            sent_bytes += sock.send(bytes(65_536))

    check_refusal(import_page(shared, site, talk), 400, "file_too_large")
    assert MB < sent_bytes < 10 * MB  # and what was in the buffers of both


def test_a_body_that_never_ends_is_ended_by_the_deadline(
    start: ApiFactory, site: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither bytes that come nor a redirect begin it anew."""
    api = start(internet=FakeInternet().internet, **imports(site, deadline_seconds=0.5))
    site.pages["/slow.png"] = repeatedly(ENDLESS + PICTURE[:4], bytes(1500), 0.05)
    check_refusal(import_page(api, site, redirect("/slow.png")), 400, "fetch_failed")
    assert "more than 0.5 seconds" in reason(caplog)


@pytest.mark.parametrize("hops", [0, 1, 2, 3, 4])
def test_three_redirects_and_no_more(shared: Api, site: Origin, caplog: pytest.LogCaptureFixture, hops: int) -> None:
    for hop in range(1, hops):
        site.pages[f"/{hop}"] = redirect(f"/{hop + 1}" if hop + 1 < hops else "/end.png")
    site.pages["/end.png"] = answer()
    first = answer() if hops == 0 else redirect("/1" if hops > 1 else "/end.png")
    imported = import_page(shared, site, first)
    if hops <= 3:
        assert imported.status_code == 201
    else:
        check_refusal(imported, 400, "fetch_failed")
        assert "more than 3 redirects" in reason(caplog)
    assert len(site.requests) == min(hops, 3) + 1


@pytest.mark.parametrize(
    "location", ["end.png", "/a/end.png", "?x=/../../a/end.png", "//images.example:{port}/a/end.png"]
)
def test_a_relative_redirect(shared: Api, site: Origin, location: str) -> None:
    site.pages |= {"/a/begin": redirect(location.replace("{port}", str(site.port))), "/a/end.png": answer()}
    site.pages["/a/begin?x=/../../a/end.png"] = answer()
    assert shared.client.post("/v1/import", json={"url": site.url("/a/begin")}).status_code == 201


def test_an_ipv6_address(shared: Api, ipv6_site: Origin) -> None:
    assert shared.client.post("/v1/import", json={"url": ipv6_site.url("/photo.png", "[::1]")}).status_code == 201
    assert f"Host: [::1]:{ipv6_site.port}\r\n" in ipv6_site.requests[0]


def test_no_connection_is_left_open(impatient: Api, site: Origin) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    pages: list[Page] = [answer(), answer(HTML, content_type="text/html"), redirect("/photo.png"), silent(ENDLESS)]
    import_page(impatient, site, pages[0])
    before = open_files()
    for page in pages:
        import_page(impatient, site, page)
    until(lambda: open_files() <= before)  # the site closes its ends a little later


# ── TLS ──


def test_a_certificate_that_nobody_vouches_for(
    shared: Api, secure_site: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    refused = shared.client.post("/v1/import", json={"url": secure_site.url("/photo.png", "127.0.0.1")})
    check_refusal(refused, 400, "fetch_failed")
    assert "self-signed certificate" in reason(caplog)


def test_a_certificate_for_the_name(
    start: ApiFactory,
    site: Origin,
    secure_site: Origin,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Right name, wrong name, and never back to http."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    fake = FakeInternet()
    fake.names["wrong.example"] = ["127.0.0.1"]
    api = start(internet=fake.internet, **imports(site, secure_site))
    site.pages |= {"/photo.png": answer(), "/up": redirect(secure_site.url("/photo.png", "127.0.0.1"))}
    secure_site.pages["/down"] = redirect(site.url("/photo.png"))

    def status(url: str) -> int:
        answered: int = api.client.post("/v1/import", json={"url": url}).status_code
        return answered

    assert status(secure_site.url("/photo.png", "127.0.0.1")) == 201
    assert status(site.url("/up")) == 201
    assert status(secure_site.url("/photo.png", "wrong.example")) == 400
    assert "Hostname mismatch" in reason(caplog)
    caplog.clear()
    assert status(secure_site.url("/down", "127.0.0.1")) == 400
    assert "from https to http" in reason(caplog)
