"""Importing whatever anybody sends: a success or a refusal in the contract's shape, for any body and any site."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import Api
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from origins import ORIGIN_ADDRESS, ORIGIN_NAME, PICTURE, FakeInternet, Origin, answer, origin
from shared import serve
from wire import check_error_shape, send_raw

EXAMPLES = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
MANY_EXAMPLES = settings(EXAMPLES, max_examples=2000)


@dataclass
class Setting:
    """A server and the site that it fetches from."""

    api: Api
    site: Origin


_settings: list[Setting] = []


@pytest.fixture(scope="module", autouse=True)
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with origin() as site:
        limits = {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port], "idle_seconds": 1.0}
        data_dir = tmp_path_factory.mktemp("data")
        with serve(data_dir, internet=FakeInternet().internet, **{"import": limits}) as api:
            site.pages["/a.png"] = answer()
            _settings.append(Setting(api, site))
            yield
            _settings.clear()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
names = [
    "name",
    "tags",
    "namespace",
    "public",
    "external_id",
    "date",
    "ttl",
    "metadata",
    "file",
    "id",
    "error",
    "",
    "x",
]
fields = st.dictionaries(st.sampled_from(names) | st.text(), json_values, max_size=4)
url_texts = st.text() | st.from_regex(r"https?://[ -~]*") | st.builds("http://{}:PORT/{}".format, st.text(), st.text())


def send(body: object) -> None:
    text = json.dumps(body).replace("PORT", str(_settings[0].site.port)).encode()
    answered = send_raw(_settings[0].api, "/v1/import", [text], [])
    assert answered.status_code in {201, 400, 413, 422}, answered.text
    if answered.status_code == 201:
        assert answered.json()["src"]
    else:
        check_error_shape(answered)


@EXAMPLES
@given(body=fields)
def test_fields_beside_a_good_url(body: dict[str, object]) -> None:
    send({**body, "url": f"http://{ORIGIN_NAME}:PORT/a.png"})


@EXAMPLES
@given(url=url_texts | json_values)
def test_urls(url: object) -> None:
    send({"url": url})


GOOD = answer()
lines = st.sampled_from(
    [
        "Content-Length: 5",
        "Content-Length: x",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: x",
        "Content-Type: image/gif",
        "Content-Encoding: gzip",
        "Connection: upgrade",
        "Location: /a.png",
        "Location: http://[",
        " folded",
        "",
    ]
)
statuses = st.sampled_from(["200 OK", "302 Found", "100 Continue", "101 Switching", "204 No", "304 Not", "999", "2 x"])
pages = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda some, status: answer(PICTURE, *some, status=status), st.lists(lines, max_size=3), statuses),
    st.builds(
        lambda start, end, inserted: GOOD[:start] + inserted + GOOD[end:],
        st.integers(0, len(GOOD)),
        st.integers(0, len(GOOD)),
        st.binary(max_size=10),
    ),
)


def fetch(page: bytes) -> None:
    _settings[0].site.pages["/b.png"] = page
    send({"url": f"http://{ORIGIN_NAME}:PORT/b.png"})


@EXAMPLES
@given(page=pages)
def test_sites(page: bytes) -> None:
    fetch(page)


@pytest.mark.slow
@MANY_EXAMPLES
@given(page=pages, url=url_texts, body=fields)
def test_much_more_of_all(page: bytes, url: str, body: dict[str, object]) -> None:
    fetch(page)
    send({**body, "url": url})
