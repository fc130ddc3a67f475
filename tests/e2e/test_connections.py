"""A real server and clients that send bytes in their own way: endless, slow, all at once, or not HTTP at all."""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from images import make_image
from running import BOUNDARY, WAIT_SECONDS, Connection, Running, Start, chunk, form, servers, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MB = 1024 * 1024
HAS_IPV6 = Path("/proc/net/if_inet6").exists() and " lo\n" in Path("/proc/net/if_inet6").read_text(encoding="ascii")
SMALL_FILES = "[limits]\nanonymous_file_mb = 1\nfile_mb = 1\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the tests that leave nothing behind."""
    with servers(tmp_path_factory.mktemp("shared")) as start:
        yield start()


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def send_until_refused(connection: Connection, pieces: Iterator[bytes]) -> None:
    """Send on and on, until the server does not take it any more."""
    with suppress(OSError):
        for piece in pieces:
            connection.send(piece)


def endless(opening: bytes) -> Iterator[bytes]:
    yield chunk(opening)
    for _ in range(4096):  # 256 MB
        yield chunk(b"\0" * 65_536)


@pytest.mark.slow
@pytest.mark.parametrize(
    "opening",
    [form(make_image("jpeg", 60, 40)).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode()), form(b"")],
    ids=["a file without end", "a form that ended long ago"],
)
def test_an_endless_upload_is_cut_off(serve: Start, opening: bytes) -> None:
    server = serve(config=SMALL_FILES)
    connection = server.connect()
    connection.send_upload_head("Transfer-Encoding: chunked")
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send_until_refused, connection, endless(opening))
        status, body = connection.read_json()
        assert (status, body["error"]) == (400, "file_too_large")
        assert "1 MB" in body["message"]
        with suppress(ConnectionError):
            assert connection.read_to_end() == b""  # one answer, then the end
        sending.result(WAIT_SECONDS)
    assert files_in(server.data_dir / "tmp") == files_in(server.data_dir / "blobs") == []
    assert server.upload(make_image("jpeg", 60, 40)).status_code == 201


@pytest.mark.slow
def test_who_asks_before_sending_too_much_is_told_so_at_once(serve: Start) -> None:
    server = serve(config=SMALL_FILES)
    connection = server.connect()
    connection.send_upload_head(f"Content-Length: {50 * MB}", "Expect: 100-continue")
    status, body = connection.read_json()  # the first answer, so there was no 100 before it
    assert (status, body["error"]) == (400, "file_too_large")
    assert connection.read_to_end() == b""


def test_who_asks_before_sending_may_go_on(shared: Running) -> None:
    connection = shared.connect()
    body = form(make_image("png", 40, 30))
    connection.send_upload_head(f"Content-Length: {len(body)}", "Expect: 100-continue")
    assert connection.read_head()[0] == 100
    connection.send(body)
    status, shown = connection.read_json()
    assert (status, shown["width"]) == (201, 40)


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_body_that_stands_still_is_given_up(serve: Start, framing: str) -> None:
    server = serve(config="[server]\nbody_idle_seconds = 1\n")
    body = form(make_image("png", 40, 30))
    connection = server.connect()
    if framing == "chunked":
        connection.send_upload_head("Transfer-Encoding: chunked")
        connection.send(chunk(body[:200]))
    else:
        connection.send_upload_head(f"Content-Length: {len(body)}")
        connection.send(body[:200])
    # Far above the one second, and below the 20 that the rest of an unwanted body may take.
    connection.set_timeout(10)
    status, answer = connection.read_json()
    assert (status, answer["error"]) == (408, "request_timeout")
    assert connection.read_to_end() == b""
    assert files_in(server.data_dir / "tmp") == []
    assert server.upload(make_image("png", 40, 30)).status_code == 201


def test_uploads_at_once_are_not_mixed_up(serve: Start) -> None:
    server = serve(config="[uploads]\nstrip_location = 'never'\n")
    dice = random.Random(1)
    # A JPEG may be followed by anything, so every file is different from its first kilobytes to its end.
    contents = [make_image("jpeg", 60 + number, 40) + dice.randbytes(2 * MB + number) for number in range(8)]

    def upload(content: bytes) -> tuple[int, bytes]:
        body = form(content)
        pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        answer = httpx2.post(f"{server.url}/v1/upload", content=pieces, headers=headers, timeout=WAIT_SECONDS)
        assert answer.status_code == 201, answer.text
        return answer.json()["width"], server.get(answer.json()["src"]).content

    with ThreadPoolExecutor(len(contents)) as threads:
        stored = list(threads.map(upload, contents))
    assert [width for width, _ in stored] == [60 + number for number in range(8)]
    assert [content == wanted for (_, content), wanted in zip(stored, contents, strict=True)] == [True] * 8
    names = {path.name for path in files_in(server.data_dir / "blobs")}
    assert names == {hashlib.sha256(content).hexdigest() for content in contents}


@pytest.mark.slow
def test_a_client_that_goes_away_takes_nothing_along(serve: Start) -> None:
    server = serve()
    src = server.upload(make_image("jpeg", 5000, 4000)).json()["src"]
    path = src.removeprefix(f"http://localhost:{server.port}").replace(".jpeg", ".avif?size=l")
    impatient = server.connect()
    impatient.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    until(lambda: list((server.data_dir / "cache").rglob("*.tmp")))
    with ThreadPoolExecutor(3) as threads:
        others = [threads.submit(server.get, path) for _ in range(3)]
        impatient.close()
        answers = [other.result(WAIT_SECONDS) for other in others]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    # The draft, and by now perhaps what it is replaced by.
    made = [path.name for path in files_in(server.data_dir / "cache") if not path.name.endswith(".tmp")]
    assert len({name.partition("-e")[0] for name in made}) == 1


def test_a_client_that_goes_away_while_uploading_leaves_nothing(serve: Start) -> None:
    server = serve()
    body = form(make_image("png", 40, 30) + b"\0" * MB)
    connection = server.connect()
    connection.send_upload_head(f"Content-Length: {len(body)}")
    connection.send(body[: MB // 2])
    until(lambda: files_in(server.data_dir / "tmp"))
    connection.close()
    until(lambda: not files_in(server.data_dir / "tmp"))
    until(lambda: " 499 " in server.stderr)
    assert "Traceback" not in server.stderr
    assert files_in(server.data_dir / "blobs") == []


@pytest.mark.parametrize(
    ("lines", "statuses"),
    [
        (["GET /v1/upload/../../imgpro.db HTTP/1.1", "Host: localhost"], {404}),
        (["GET //v1/media/abcdefghijkl12 HTTP/1.1", "Host: localhost"], {404}),
        (["GET /%2e%2e%2f%2e%2e%2fsecret HTTP/1.1", "Host: localhost"], {404}),
        (["GET http://evil.com/v1/nothing HTTP/1.1", "Host: evil.com"], {404}),
        (["OPTIONS * HTTP/1.1", "Host: localhost:{port}"], {200, 204, 400, 404, 405}),
        (["OPTIONS * HTTP/1.1", "Host: localhost"], {200, 204, 400, 404, 405}),
        (["CONNECT evil.com:443 HTTP/1.1", "Host: localhost:{port}"], {400}),
        (["GET nothing HTTP/1.1", "Host: localhost:{port}"], {400, 404}),
        (["BREW /v1/upload HTTP/1.1", "Host: localhost"], {400, 405, 501}),
        (["TRACE /v1/upload HTTP/1.1", "Host: localhost"], {405}),
        (["GET /nothing HTTP/1.0"], {404}),
        (["GET /v1/nothing HTTP/1.1", "Host: localhost", "Content-Length: -1"], {400}),
        (["POST /v1/keys HTTP/1.1", "Host: localhost", "Content-Length: 5, 6"], {400}),
        (["this is not HTTP"], {400}),
    ],
)
def test_odd_requests_are_refused_and_do_no_harm(shared: Running, lines: list[str], statuses: set[int]) -> None:
    logged = len(shared.stderr)
    connection = shared.connect()
    connection.send(("\r\n".join(lines).format(port=shared.port) + "\r\n\r\n").encode())
    status, _ = connection.read_head()
    assert status in statuses
    assert "Traceback" not in shared.stderr[logged:]
    assert shared.get("/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("log", ['level = "info"', 'level = "debug"\nformat = "json"'])
def test_secrets_are_neither_in_the_log_nor_on_the_disk(serve: Start, log: str) -> None:
    server = serve(config=f"[log]\n{log}\n")
    created = httpx2.post(f"{server.url}/v1/keys", json={"email": "dev@example.com"}, timeout=WAIT_SECONDS)
    key = created.json()["key"]
    wrong = "img_live_" + "Zz9" * 10 + "Zz"
    for bearer in (key, wrong, "another-secret-value"):
        headers = {"Authorization": f"Bearer {bearer}"}
        server.upload(make_image("png", 40, 30), headers=headers)
        server.upload(b"not a picture", headers=headers)
        server.get(f"/v1/media/{bearer}", headers=headers)
        server.get(f"/{bearer}?key={bearer}&t={bearer}")
        server.get(f"/v1/keys?t={bearer}", headers=headers)
    assert server.end() == 0
    assert server.stderr.count("/v1/upload") >= 6
    for secret in (key, wrong, key.removeprefix("img_live_"), (server.data_dir / "secret").read_text().strip()):
        assert secret not in server.stderr
    assert "t=another-secret-value" not in server.stderr
    assert "Bearer another-secret-value" not in server.stderr
    for path in files_in(server.data_dir):
        assert key.encode() not in path.read_bytes(), path
    if "json" in log:
        lines = [json.loads(line) for line in server.stderr.splitlines()]
        assert sum(line.get("path") == "/v1/upload" for line in lines) == 6
        assert all(line["request_id"] for line in lines if "path" in line)


@pytest.mark.skipif(not HAS_IPV6, reason="there is no IPv6 loopback here")
def test_the_default_address_is_both_loopbacks(shared: Running) -> None:
    for url in (shared.url, f"http://[::1]:{shared.port}", f"http://localhost:{shared.port}"):
        assert httpx2.get(f"{url}/healthz", timeout=WAIT_SECONDS, trust_env=False).status_code == 200
