"""What is no request, too much of one, or two in one: refused once, in the contract's shape, and never read on."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from running import Connection, Running, chunk, servers, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="e2e servers are started on Linux only")

HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close"
# What hides behind each: a request that must not be answered, nor even come into the log.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
TLS_CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + b"\x17" * 193


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(tmp_path_factory.mktemp("front-door")) as start:
        server = start()
        yield server
        assert server.end() == 0
        assert "smuggled" not in server.stderr
        assert "Traceback" not in server.stderr


def ask(server: Running, data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Send bytes and read until the server ends the connection: the answers. They must come one after the other."""
    connection = server.connect()
    with suppress(BrokenPipeError, ConnectionResetError):  # it may end before it has all
        connection.send(data)
    rest, answers = connection.read_to_end(), []
    while rest:
        assert rest.startswith(b"HTTP/1.1 "), rest
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        answers.append((int(first.split()[1]), headers, rest[:length]))
        rest = rest[length:]
    return answers


def check_refused(server: Running, data: bytes, status: int = 400, code: str = "bad_request") -> str:
    """Send what must be refused, once; the request's id."""
    ((found, headers, body),) = ask(server, data)
    answer = json.loads(body)
    assert (found, answer["error"]) == (status, code)
    assert headers["content-type"] == "application/json"
    assert (headers["connection"], headers["cache-control"]) == ("close", "no-store")
    return headers["x-request-id"]


def head(*lines: bytes, method: bytes = b"GET", target: bytes = b"/v1/nothing", version: bytes = b"HTTP/1.1") -> bytes:
    """A request's head with a good Host."""
    return b"\r\n".join([method + b" " + target + b" " + version, b"Host: localhost", *lines, b"", b""])


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked", method=b"POST") + body


NO_REQUESTS = {
    "two Content-Lengths": head(b"Content-Length: 1", b"Content-Length: 2", method=b"POST") + b"xy",
    "the same Content-Length twice": head(b"Content-Length: 1", b"Content-Length: 1", method=b"POST") + b"x",
    "Content-Length before Transfer-Encoding": head(b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST")
    + b"0\r\n\r\n",
    "Content-Length after Transfer-Encoding": head(b"Transfer-Encoding: chunked", b"Content-Length: 5", method=b"POST")
    + b"0\r\n\r\n",
    "Content-Length -1": head(b"Content-Length: -1", method=b"POST"),
    "Content-Length +1": head(b"Content-Length: +1", method=b"POST") + b"x",
    "Content-Length 1 1": head(b"Content-Length: 1 1", method=b"POST") + b"x",
    "Content-Length 0x1": head(b"Content-Length: 0x1", method=b"POST") + b"x",
    "no Content-Length": head(b"Content-Length:", method=b"POST") + b"x",
    "Content-Length of 30 digits": head(b"Content-Length: " + b"9" * 30, method=b"POST"),
    "gzip": head(b"Transfer-Encoding: gzip", method=b"POST") + b"x",
    "gzip, chunked": head(b"Transfer-Encoding: gzip, chunked", method=b"POST") + b"0\r\n\r\n",
    "chunked, gzip": head(b"Transfer-Encoding: chunked, gzip", method=b"POST") + b"0\r\n\r\n",
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
    **{
        f"chunked after {coding.decode()} on a line of its own": head(
            b"Transfer-Encoding: " + coding, b"Transfer-Encoding: chunked", method=b"POST"
        )
        + b"0\r\n\r\n"
        for coding in (b"nothing", b"gzip", b"identity", b"xchunked")
    },
    "nearly chunked": head(b"Transfer-Encoding: xchunked", method=b"POST") + b"0\r\n\r\n",
    "chunked after a tab": head(b"Transfer-Encoding: \x0bchunked", method=b"POST") + b"0\r\n\r\n",
    "chunked in HTTP/1.0": head(b"Transfer-Encoding: chunked", method=b"POST", version=b"HTTP/1.0") + b"0\r\n\r\n",
    "a chunk size that is no number": chunked(b"zz\r\nx\r\n0\r\n\r\n"),
    "a chunk size with a sign": chunked(b"+1\r\nx\r\n0\r\n\r\n"),
    "a chunk size with 0x": chunked(b"0x1\r\nx\r\n0\r\n\r\n"),
    "a chunk size with a space": chunked(b"1 \r\nx\r\n0\r\n\r\n"),
    "a chunk size of 17 digits": chunked(b"f" * 17 + b"\r\nx\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked(b"1\r\nxyz\r\n0\r\n\r\n"),
    "chunks that end in LF": chunked(b"1\nx\n0\n\n"),
    "a chunk extension that ends in LF": chunked(b"1;a\nx\r\n0\r\n\r\n"),
    "a chunk extension of 200 KB": chunked(b"1;" + b"a" * 200_000 + b"\r\nx\r\n"),
    "a trailer of 200 KB": chunked(b"1\r\nx\r\n0\r\nX: " + b"a" * 200_000),
    "a folded header": head(b"X: a\r\n b"),
    "a folded header at first": b"GET / HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "LF alone": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "one LF alone": head(b"X: a\nY: b"),
    "one CR alone": head(b"X: a\rY: b"),
    "NUL in a value": head(b"X: a\0b"),
    "NUL in a name": head(b"X\0: a"),
    "a control character": head(b"X: a\x01b"),
    "a space before the colon": head(b"Content-Length : 1", method=b"POST") + b"x",
    "no colon": head(b"X"),
    "no name": head(b": a"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": head(b"Host: localhost"),
    "two Hosts in HTTP/1.0": head(b"Host: evil.example", version=b"HTTP/1.0"),
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a Host with a path": b"GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "a Host with a name and password": b"GET / HTTP/1.1\r\nHost: a:b@localhost\r\n\r\n",
    "a Host with a space": b"GET / HTTP/1.1\r\nHost: local host\r\n\r\n",
    "a Host that is not ASCII": b"GET / HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n",
    "a Host with two ports": b"GET / HTTP/1.1\r\nHost: localhost:1:2\r\n\r\n",
    "another host in the address": head(target=b"http://evil.example/v1/nothing"),
    "another scheme in the address": head(target=b"ftp://localhost/v1/nothing"),
    "an address that is a host": head(target=b"localhost:80"),
    "CONNECT": head(method=b"CONNECT", target=b"localhost:80"),
    "an address that is not ASCII": head(target=b"/\xff"),
    "a space in the address": head(target=b"/v1/a b"),
    "a space before the method": b" " + head(),
    "a method in small letters": head(method=b"get"),
    "HTTP/0.9": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/0.9 without saying so": b"GET /\r\n\r\n",
    "HTTP/1.2": head(version=b"HTTP/1.2"),
    "HTTP/2.0": head(version=b"HTTP/2.0"),
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": TLS_CLIENT_HELLO,
}


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_what_is_no_request_is_refused_once(server: Running, case: str) -> None:
    check_refused(server, NO_REQUESTS[case] + SMUGGLED)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (head(CLOSE, target=b"/" + b"a" * 8_191), 404, "not_found"),
        (head(target=b"/" + b"a" * 8_192), 414, "uri_too_long"),
        (head(target=b"/?" + b"a" * 100_000), 414, "uri_too_long"),
        (head(CLOSE, b"X: " + b"a" * 32_000), 404, "not_found"),
        (head(b"X: " + b"a" * 32_768), 431, "header_too_large"),
        (head(b"X: " + b"a" * 200_000), 431, "header_too_large"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 5_000_000, 431, "header_too_large"),  # and no end of it
        (b"GET / HTTP/1.1\r\n" + b"a" * 5_000_000, 431, "header_too_large"),
        (head(CLOSE, *[b"X%d: 1" % number for number in range(98)]), 404, "not_found"),
        (head(*[b"X%d: 1" % number for number in range(100)]), 431, "header_too_large"),
        (head(*[b"X%d: 1" % number for number in range(5_000)]), 431, "header_too_large"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value),
)
def test_heads_have_a_size(server: Running, data: bytes, status: int, code: str) -> None:
    if status == 404:
        ((found, _, body),) = ask(server, data)
        assert (found, json.loads(body)["error"]) == (status, code)
    else:
        check_refused(server, data + SMUGGLED, status, code)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nhOST: 127.0.0.1:4647\r\nConnection: close\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:4647\r\nConnection: close\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: my_container:4647\r\nConnection: close\r\n\r\n", 200),
        (head(CLOSE, target=b"http://LOCALHOST/healthz"), 200),
        (head(CLOSE, target=b"/healthz?" + b"a=1&" * 1_000), 200),
        (head(b"Content-Length: 2 ", CLOSE, method=b"POST", target=b"/v1/keys") + b"{}", 422),
        (
            head(b"Transfer-Encoding: Chunked", CLOSE, method=b"POST", target=b"/v1/keys")
            + b"1;name=value\r\n{\r\n1\r\n}\r\n0\r\nAuthorization: Bearer no\r\n\r\n",
            422,  # and not 401: what comes behind a body is no header
        ),
        (head(b"Connection: Upgrade, close", b"Upgrade: websocket", target=b"/healthz"), 200),
    ],
)
def test_what_is_odd_but_right_is_answered(server: Running, data: bytes, status: int) -> None:
    assert [answer[0] for answer in ask(server, data)] == [status]


def test_a_wish_for_another_protocol_is_not_heard(server: Running) -> None:
    upgrade = head(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: abc=", target=b"/healthz")
    answers = ask(server, upgrade + upgrade + head(CLOSE))
    assert [answer[0] for answer in answers] == [200, 200, 404]


@pytest.mark.parametrize("chunked_body", [False, True])
def test_a_body_beside_a_wish_for_another_protocol_is_read(server: Running, chunked_body: bool) -> None:
    """As Java's client sends it; whatever is in the body, it is no request."""
    wish = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAA")
    for body, status in ((b"{}", 422), (SMUGGLED, 400)):
        framed = chunk(body) + b"0\r\n\r\n" if chunked_body else body
        framing = b"Transfer-Encoding: chunked" if chunked_body else b"Content-Length: %d" % len(body)
        request = head(*wish, framing, method=b"POST", target=b"/v1/keys")
        answers = ask(server, request + framed + request + framed + head(CLOSE))
        assert [answer[0] for answer in answers] == [status, status, 404]
        connection = server.connect()
        for part in (request[:-1], request[-1:], framed[:1], framed[1:]):
            connection.send(part)
            time.sleep(0.01)  # so that they arrive one by one
        assert connection.read_json()[0] == status


def test_requests_sent_ahead_are_answered_in_order_until_one_is_wrong(server: Running) -> None:
    good = [head(target=b"/v1/nothing"), head(target=b"/healthz")]
    answers = ask(server, good[0] + good[1] + good[0] + b"nonsense\r\n\r\n" + SMUGGLED)
    assert [answer[0] for answer in answers] == [404, 200, 404]
    answers = ask(server, good[1] + chunked(b"1\r\nx\r\nzz\r\n") + SMUGGLED)
    assert [answer[0] for answer in answers] == [200]
    answers = ask(server, good[1] * 1_000)
    assert 1 < len(answers) < 20  # what was sent too far ahead is left to be asked again
    assert {answer[0] for answer in answers} == {200}


def test_after_a_request_that_ends_the_connection_nothing_is_read(server: Running) -> None:
    answers = ask(server, head(CLOSE, target=b"/healthz") + SMUGGLED)
    assert [answer[0] for answer in answers] == [200]


def test_a_body_that_breaks_off_within_an_upload(server: Running) -> None:
    connection = server.connect()
    connection.send_upload_head("Transfer-Encoding: chunked")
    until(lambda: list((server.data_dir / "tmp").iterdir()))
    connection.send(b"nonsense\r\n" + SMUGGLED)
    assert read_refusal(connection) == (400, "bad_request")
    until(lambda: not list((server.data_dir / "tmp").iterdir()))
    until(lambda: "POST /v1/upload 499" in server.stderr)


def read_refusal(connection: Connection) -> tuple[int, str]:
    """The status and code of the only answer."""
    status, body = connection.read_json()
    assert connection.read_to_end() == b""
    return status, body["error"]


def test_a_refusal_shows_what_was_asked_but_no_query(server: Running) -> None:
    data = head(b"X: " + b"a" * 50_000, target=b"/verify?t=secret-token")
    request_id = check_refused(server, data, 431, "header_too_large")
    until(lambda: request_id in server.stderr)
    assert "GET /verify 431" in server.stderr
    assert "secret-token" not in server.stderr


def test_a_refused_head_has_no_body(server: Running) -> None:
    connection = server.connect()
    connection.send(b"HEAD /healthz HTTP/1.1\r\n\r\n")
    status, headers = connection.read_head()
    assert (status, headers["content-length"]) == (400, "0")
    assert connection.read_to_end() == b""
