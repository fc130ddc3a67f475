"""Whatever is sent, the answer is a success or a refusal in the contract's shape."""

import json
from collections.abc import Iterator

import pytest
from conftest import Api
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import make_image
from shared import serve
from wire import BOUNDARY, FORM, check_error_shape, form, part, send_raw

EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
PICTURE = make_image("png", 8, 6)
STATUSES = {201, 400, 413, 422, 429}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["name", "tags", "namespace", "public", "external_id", "date", "ttl", "metadata", "file", "id", "error", ""]
)
field_texts = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.integers().map(lambda number: str(number).encode()),
    st.datetimes().map(lambda date: date.isoformat().encode()),
)
header_bytes = st.binary(max_size=20) | field_names.map(str.encode)
parts = st.one_of(
    st.builds(part, field_names, field_texts),
    st.builds(part, header_bytes, field_texts),
    st.builds(part, field_names | header_bytes, st.just(PICTURE) | field_texts, header_bytes),
    st.builds(part, st.just("file"), st.just(PICTURE), st.just("a.png"), st.binary(max_size=20)),
    st.binary(max_size=60),
)
forms = st.builds(
    lambda some, at, end: form(*some[:at], part("file", PICTURE, "a.png"), *some[at:], end=end),
    st.lists(parts, max_size=5),
    st.integers(0, 5),
    st.sampled_from([b"--\r\n", b"--\r\n", b"--", b"", b"\r\n", b"--\r\n\r\n--cut-here"]),
)
broken_forms = st.builds(
    lambda body, start, end, inserted: body[:start] + inserted + body[end:],
    forms,
    st.integers(0, 900),
    st.integers(0, 900),
    st.binary(max_size=10),
)


_servers: list[Api] = []


@pytest.fixture(scope="module", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with serve(tmp_path_factory.mktemp("data")) as api:
        _servers.append(api)
        yield
        _servers.clear()


def check(path: str, body: bytes, headers: list[tuple[bytes, bytes]], chunk_bytes: int) -> None:
    """Send a body in chunks. A success is whole; a refusal has its shape."""
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)]
    answer = send_raw(_servers[0], path, chunks, headers)
    assert answer.status_code in STATUSES, answer.text
    if answer.status_code == 201:
        assert answer.json()["key" if path == "/v1/keys" else "src"]
    else:
        check_error_shape(answer)


@EXAMPLES
@given(body=forms | broken_forms, chunk_bytes=st.sampled_from([1, 7, 100, 10_000]))
def test_forms(body: bytes, chunk_bytes: int) -> None:
    check("/v1/upload", body, [(b"content-type", FORM.encode())], chunk_bytes)


@EXAMPLES
@given(content_type=st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: FORM.encode() + tail))
def test_content_types(content_type: bytes) -> None:
    body = form(part("file", PICTURE, "a.png"), boundary=BOUNDARY)
    check("/v1/upload", body, [(b"content-type", content_type)], 10_000)


# Composing a mail, as the server does meanwhile, takes a number from `random`, and hypothesis notices.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@EXAMPLES
@given(
    body=st.one_of(
        json_values,
        st.fixed_dictionaries({}, optional={"email": st.emails() | json_values, "name": json_values, "x": json_values}),
    ).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=100),
    chunk_bytes=st.sampled_from([1, 10_000]),
)
def test_json(body: bytes, chunk_bytes: int) -> None:
    check("/v1/keys", body, [], chunk_bytes)
