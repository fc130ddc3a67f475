"""Requests that are odd as a whole: targets, credentials, and clients that go away or fall silent in the middle."""

import time
from collections.abc import Iterator

import pytest
from conftest import Api, ApiFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import make_image
from shared import serve
from wire import FORM, HANGS_UP, STANDS_STILL, check_error_shape, check_refusal, form, nothing_is_stored, part, send_raw

PICTURE = make_image("png", 8, 6)
MB = 1024 * 1024
BODY = form(part("tags", "a"), part("file", PICTURE, "a.png"))
CHUNKED = [(b"content-type", FORM.encode()), (b"transfer-encoding", b"chunked")]
_servers: list[Api] = []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        _servers.append(api)
        yield api
        _servers.clear()


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("target", ["*", "", "v1/keys", "/v1/keys\0", "/v1/ke\nys"])
def test_a_target_that_is_no_path(shared: Api, target: str, method: str) -> None:
    check_refusal(send_raw(shared, target, [], [], method), 404, "not_found")


@pytest.mark.usefixtures("shared")
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.binary(max_size=60) | st.binary(max_size=60).map(lambda key: b"Bearer " + key))
def test_any_other_authorization_is_401(value: bytes) -> None:
    for path, method in (("/v1/keys", "POST"), ("/v1/upload", "POST"), ("/v1/media/a1b2c3d4e5f6g7", "GET")):
        answer = send_raw(_servers[0], path, [b"{}"], [(b"authorization", value)], method)
        check_refusal(answer, 401, "unauthorized")


header_names = st.sampled_from([b"host", b"x-forwarded-for", b"x-forwarded-host", b"content-type", b"expect", b"range"])
header_values = st.binary(max_size=30) | st.sampled_from([b"100-continue", b"localhost:4647", FORM.encode()])


@pytest.mark.usefixtures("shared")
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(headers=st.lists(st.tuples(header_names, header_values), max_size=4))
def test_any_other_headers_never_hurt(headers: list[tuple[bytes, bytes]]) -> None:
    answer = send_raw(_servers[0], "/v1/upload", [BODY], headers)
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 400:
        check_error_shape(answer)


@pytest.mark.parametrize("length", [b"", b"-1", b"+5", b"abc", b"5, 5", b"\xb2", b"1_0", b"1e3", b"0"])
def test_a_declared_length_that_is_no_number(shared: Api, length: bytes) -> None:
    answer = send_raw(shared, "/v1/upload", [BODY], [CHUNKED[0], (b"content-length", length)])
    assert answer.status_code == 201


@pytest.mark.parametrize("at", [0, 1, 60, len(BODY) - 100, len(BODY) - 1])
def test_a_client_that_hangs_up(api: Api, at: int) -> None:
    for headers in (CHUNKED, [CHUNKED[0], (b"content-length", b"%d" % len(BODY))]):
        answer = send_raw(api, "/v1/upload", [BODY[:at], HANGS_UP], headers)
        assert answer.status_code == 0
    assert nothing_is_stored(api)
    assert api.upload(PICTURE).status_code == 201


def test_a_client_that_hangs_up_while_it_is_refused(api: Api) -> None:
    headers = [(b"authorization", b"Bearer x"), (b"content-length", b"1000")]
    answer = send_raw(api, "/v1/upload", [HANGS_UP], headers)
    assert answer.status_code in (0, 401)
    assert api.upload(PICTURE).status_code == 201


def test_large_bodies_share_their_memory(shared: Api) -> None:
    budget = shared.client.app.state.runtime.large_bodies  # type: ignore[attr-defined]
    small, large = [b'{"name": "a"}'], [b'{"name": "', *[b"a" * 50_000] * 4, b'"}']
    taken = [MB for _ in range(100) if budget.take(MB)]  # by as many large bodies that are on their way
    assert 1 < len(taken) < 100
    assert budget.take(MB - 1) is False
    check_refusal(send_raw(shared, "/v1/keys", large, []), 503, "overloaded")
    check_refusal(send_raw(shared, "/v1/keys", small, []), 422, "validation_error")
    assert shared.upload(PICTURE + b"\0" * 200_000).status_code == 201  # in smaller steps
    check_refusal(shared.upload(PICTURE, name="a" * 40_000), 503, "overloaded")
    budget.give_back(sum(taken))
    for _ in range(len(taken) * 4):  # none of them keeps what it took; an upload has 1 MB for its file, too
        body = form(part("a", "a" * 60_000), part("b", "b" * 60_000))
        assert send_raw(shared, "/v1/upload", [body, HANGS_UP], CHUNKED).status_code == 0
    for _ in range(len(taken) * 20 + 50):
        assert send_raw(shared, "/v1/keys", [*large[:4], HANGS_UP], []).status_code == 0
    check_refusal(send_raw(shared, "/v1/keys", large, []), 422, "validation_error")


def test_a_client_that_crawls(start: ApiFactory) -> None:
    api = start(server={"body_seconds": 0.1})

    def crawl() -> Iterator[bytes]:
        yield BODY[:2_000] + b"\0" * 100_000  # being fast at first does not help
        for _ in range(100):
            time.sleep(0.06)
            yield b"\0"

    answer = send_raw(api, "/v1/upload", crawl(), CHUNKED)
    check_refusal(answer, 408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert answer.chunks_taken < 100
    assert nothing_is_stored(api)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "begin"), [("/v1/upload", BODY[:-20]), ("/v1/keys", b'{"email"')])
@pytest.mark.parametrize("length", [(b"transfer-encoding", b"chunked"), (b"content-length", b"1000")])
def test_a_client_that_falls_silent(start: ApiFactory, path: str, begin: bytes, length: tuple[bytes, bytes]) -> None:
    api = start(server={"body_idle_seconds": 1})
    answer = send_raw(api, path, [begin, STANDS_STILL, b"late"], [(b"content-type", FORM.encode()), length])
    check_refusal(answer, 408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert answer.chunks_taken == 1  # given up, and not waited for once more
    assert nothing_is_stored(api)
