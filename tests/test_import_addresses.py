"""Importing from addresses that are not on the public internet: always the same answer, and never a packet."""

import logging
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from conftest import Api, ApiFactory
from hypothesis import given, settings
from hypothesis import strategies as st
from origins import (
    ORIGIN_ADDRESS,
    ORIGIN_NAME,
    Canaries,
    FakeInternet,
    Origin,
    answer,
    canaries,
    origin,
    redirect,
)
from shared import serve
from wire import check_refusal

from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching import urls
from imgpro_lite.fetching.addresses import is_own, is_public

CANARY_ADDRESSES = ("127.0.0.1", "127.0.0.3", "::1")

# Hosts that lead inside, as they may stand in a URL, and what the log says about each.
INSIDE = {
    "127.0.0.1": "not public",
    "127.1": "not public",
    "2130706433": "not public",
    "0x7f.1": "not public",
    "0x7f000001": "not public",
    "0177.1": "not public",
    "0177.0.0.1": "not valid",  # no dotted quad has leading zeros
    "0": "not public",
    "0.0.0.0": "not public",
    "localhost": "own",
    "localhost.": "own",
    "LOCALHOST": "own",
    "127.0.0.1.": "not known",
    "127。0。0。1": "not public",
    "127。0。0。3": "not public",
    "①②⑦.0.0.1": "not valid",
    "１２７.0.0.1": "not valid",
    "[::]": "not public",
    "[::1]": "not public",
    "[0:0:0:0:0:0:0:1]": "not public",
    "[::ffff:127.0.0.1]": "not public",
    "[::ffff:7f00:1]": "not public",
    "[::127.0.0.1]": "not public",
    "[64:ff9b::7f00:1]": "not public",
    "[64:ff9b:1::7f00:1]": "not public",
    "[2002:7f00:1::]": "not public",
    "[2001:0:1:1:1:1:80ff:fffe]": "not public",
    "[2001:470::5efe:7f00:1]": "not public",
    "[2001:470::200:5efe:7f00:1]": "not public",
    "[fe80::1%25lo]": "no valid host",
    "[fe80::1%lo]": "no valid host",
    "[fe80::1]": "not public",
    "[fec0::1]": "not public",
    "[fd00:ec2::254]": "not public",
    "[2001:db8::1]": "not public",
    "[3fff::1]": "not public",
    "[ff02::1]": "not public",
    "10.0.0.1": "not public",
    "172.16.0.1": "not public",
    "172.31.255.255": "not public",
    "192.168.0.1": "not public",
    "100.64.0.1": "not public",
    "100.100.100.200": "not public",
    "169.254.169.254": "not public",
    "168.63.129.16": "not public",
    "192.0.0.192": "not public",
    "192.0.2.1": "not public",
    "192.88.99.1": "not public",
    "198.18.0.1": "not public",
    "224.0.0.1": "not public",
    "240.0.0.1": "not public",
    "255.255.255.255": "not public",
    "inside.example": "not public",
    "nowhere.example": "not known",
    "empty.example": "no address",
    "127.0.0.1%2f@x": "user name",
}

# Other URLs that are never asked. {port} is one that may be asked, of a site that is there.
ODD = {
    "": "not http",
    "images.example:{port}/a.png": "not http",
    "//images.example:{port}/a.png": "not http",
    "http:/images.example:{port}/a.png": "no valid host",
    "http:///a.png": "no valid host",
    "http://": "no valid host",
    "http://:{port}/a.png": "no valid host",
    "file:///etc/passwd": "not http",
    "ftp://images.example:{port}/a.png": "not http",
    "gopher://images.example:{port}/a.png": "not http",
    "data:image/png;base64,AAAA": "not http",
    "javascript:alert(1)": "not http",
    "http://a:b@images.example:{port}/a.png": "user name",
    "http://a@images.example:{port}/a.png": "user name",
    "http://127.0.0.1\\@images.example:{port}/a.png": "backslashes",
    "http://images.example:{port}\\@127.0.0.1/a.png": "backslashes",
    "http://images.example:{port}/a.png\r\nX: y": "control",
    "http://images.example:{port}/a b.png": "spaces",
    " http://images.example:{port}/a.png": "spaces",
    "http://images.example:{port}/a.png\u202e": "control",
    "http://images.example:22/a.png": "port 22",
    "http://images.example:25/a.png": "port 25",
    "http://images.example:6379/a.png": "port 6379",
    "http://images.example/a.png": "port 80",
    "https://images.example/a.png": "port 443",
    "http://images.example:0/a.png": "port 0",
    "http://images.example:99999/a.png": "port 99999",
    "http://images.example:-1/a.png": "port is not",
    "http://images.example:x/a.png": "not valid",
    "http://images.example:٨٠/a.png": "port is not",
    "http://images.example:+{port}/a.png": "port is not",
    "http://images.example:0_{port}/a.png": "port is not",
    "http://[2606:4700::1111]:٨٠/a.png": "port is not",
    "http://[2606:4700::1111]{port}/a.png": "port is not",
    "http://images.example:{port}:80/a.png": "not valid",
    "http://[::1/a.png": "not valid",
    "http://[::1]x:{port}/a.png": "not valid",
    "http://images.example%00:{port}/a.png": "no valid host",
    "http://images.example%2f:{port}/a.png": "no valid host",
    "http://" + "a" * 300 + ":{port}/a.png": "no valid host",
    "http://images.example:{port}/" + "a" * 10_000: "more than 8192",
    "http://images.test:{port}/a.png": "own",
    "http://IMAGES.TEST.:{port}/a.png": "own",
    "http://api.images.test:{port}/a.png": "own",
}


@pytest.fixture(scope="module")
def site() -> Iterator[Origin]:
    with origin() as running:
        yield running


@pytest.fixture(scope="module")
def fake() -> FakeInternet:
    fake = FakeInternet()
    fake.names |= {"inside.example": ["127.0.0.3"], "empty.example": [], "localhost": ["127.0.0.1", "::1"]}
    return fake


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, site: Origin, fake: FakeInternet) -> Iterator[Api]:
    with serve(
        tmp_path_factory.mktemp("import") / "data",
        internet=fake.internet,
        server={
            "public_url": "http://images.test",
            "api_url": "http://api.images.test",
            "src_url": "http://localhost:4647",
        },
        **{"import": {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port]}},
    ) as api:
        yield api


@pytest.fixture
def birds(site: Origin) -> Iterator[Canaries]:
    with canaries(site.port, CANARY_ADDRESSES) as found:
        yield found


@pytest.fixture(autouse=True)
def _fresh(fake: FakeInternet, site: Origin, caplog: pytest.LogCaptureFixture) -> None:
    fake.asked.clear()
    fake.dialled.clear()
    fake.own.clear()
    site.requests.clear()
    site.pages.clear()
    caplog.set_level(logging.INFO, "imgpro_lite.imports")


def reason(caplog: pytest.LogCaptureFixture) -> str:
    """Why the only import failed, as the operator reads it."""
    (record,) = [record for record in caplog.records if record.name == "imgpro_lite.imports"]
    return str(vars(record)["reason"])


def check_failed(api: Api, url: str) -> Any:
    """The answer to an import that fails as all do."""
    failed = api.client.post("/v1/import", json={"url": url})
    body = check_refusal(failed, 400, "fetch_failed")
    assert body == {
        "error": "fetch_failed",
        "message": "The image could not be fetched. The URL must be http or https and lead to an image on the public "
        "internet that anybody can load.",
    }
    assert sorted(failed.headers) == [
        "access-control-allow-origin",
        "access-control-expose-headers",
        "cache-control",
        "content-length",
        "content-type",
        "x-content-type-options",
        "x-request-id",
    ]
    assert not any((api.data_dir / "tmp").iterdir())
    return failed


def test_the_canaries_sing(birds: Canaries, fake: FakeInternet, shared: Api, site: Origin) -> None:
    """What the tests below rest on: a connection is counted, and a picture that may be fetched is."""
    for address in ("127.0.0.1", "127.0.0.3"):
        socket.create_connection((address, site.port), timeout=10).close()
    assert birds.count() == 2
    assert birds.count() == 0
    site.pages["/a.png"] = answer()
    assert shared.client.post("/v1/import", json={"url": site.url("/a.png")}).status_code == 201
    assert fake.dialled == [ORIGIN_ADDRESS]


@pytest.mark.parametrize("host", INSIDE)
def test_a_host_inside(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    check_failed(shared, f"http://{host}:{site.port}/a.png")
    assert INSIDE[host] in reason(caplog)
    assert (fake.dialled, birds.count()) == ([], 0)


@pytest.mark.parametrize("host", INSIDE)
def test_a_redirect_inside(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    site.pages["/r"] = redirect(f"http://{host}:{site.port}/a.png")
    check_failed(shared, site.url("/r"))
    assert INSIDE[host] in reason(caplog)
    assert (fake.dialled, birds.count()) == ([ORIGIN_ADDRESS], 0)


@pytest.mark.parametrize("url", ODD)
def test_a_url_that_is_never_asked(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    check_failed(shared, url.replace("{port}", str(site.port)))
    assert ODD[url] in reason(caplog)
    assert (fake.asked, fake.dialled, birds.count()) == ([], [], 0)


# A redirect may be relative, so these are good ones; line breaks end a header, and a space at either end is not in it.
GOOD_REDIRECTS = {"", "images.example:{port}/a.png", "//images.example:{port}/a.png"}
REDIRECTS = [url for url in ODD if url not in GOOD_REDIRECTS and "\r\n" not in url and not url.startswith(" ")]


@pytest.mark.parametrize("url", REDIRECTS)
def test_a_redirect_that_is_never_followed(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    site.pages["/r"] = redirect(url.replace("{port}", str(site.port)))
    check_failed(shared, site.url("/r"))
    assert reason(caplog)
    assert (fake.asked, fake.dialled, birds.count()) == ([ORIGIN_NAME], [ORIGIN_ADDRESS], 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_checked(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, status: int
) -> None:
    site.pages["/r"] = redirect(f"http://inside.example:{site.port}/a.png", status)
    check_failed(shared, site.url("/r"))
    assert (fake.asked, birds.count()) == ([ORIGIN_NAME, "inside.example"], 0)
    site.pages |= {"/r": redirect("/a.png", status), "/a.png": answer()}
    assert shared.client.post("/v1/import", json={"url": site.url("/r")}).status_code == 201


def literal(host: str) -> str:
    return host.strip("[]").replace("%25", "%")


@pytest.mark.parametrize("address", [literal(host) for host in INSIDE if INSIDE[host] == "not public" and "." in host])
def test_a_name_that_leads_inside(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    """Alone, or beside a public address, before or after it."""
    for number, answers in enumerate([[address], ["8.8.8.8", address], [address, "2606:4700::1111"]]):
        fake.names["mixed.example"] = answers
        caplog.clear()
        check_failed(shared, f"http://mixed.example:{site.port}/{number}.png")
        assert f"{address}, which is not public" in reason(caplog)
    assert (fake.dialled, birds.count()) == ([], 0)


def test_an_address_with_an_interface(shared: Api, site: Origin, fake: FakeInternet) -> None:
    fake.names["scoped.example"] = ["2606:4700::1111%lo"]
    check_failed(shared, f"http://scoped.example:{site.port}/a.png")
    assert fake.dialled == []


def test_public_addresses_are_dialled_as_they_were_resolved(shared: Api, site: Origin, fake: FakeInternet) -> None:
    """At most three of them; here nobody answers."""
    fake.names["public.example"] = ["8.8.8.8", "2606:4700::1111", "8.8.4.4", "1.1.1.1"]
    check_failed(shared, f"http://public.example:{site.port}/a.png")
    assert fake.dialled == ["8.8.8.8", "2606:4700::1111", "8.8.4.4"]


def test_a_public_address_of_this_machine(shared: Api, site: Origin, fake: FakeInternet) -> None:
    fake.own |= {"8.8.8.8", "2606:4700::1111"}
    for host in ("8.8.8.8", "[2606:4700::1111]"):
        check_failed(shared, f"http://{host}:{site.port}/a.png")
    assert fake.dialled == []


def test_a_network_that_is_allowed_leaves_out_this_machine(tmp_path: Path, site: Origin, fake: FakeInternet) -> None:
    """Only its very address, and not a network around it, opens this machine to those who may import."""
    site.pages["/a.png"] = answer()
    fetching = {"allow_networks": ["127.0.0.0/24", "127.0.1.1/32"], "ports": [site.port]}
    with serve(tmp_path / "data", internet=fake.internet, **{"import": fetching}) as api:
        fake.own |= {ORIGIN_ADDRESS, "127.0.1.1"}
        check_failed(api, site.url("/a.png"))
        assert fake.dialled == []
        check_failed(api, site.url("/a.png", "127.0.1.1"))  # where nobody listens
        assert fake.dialled == ["127.0.1.1"]
        fake.own.clear()
        assert api.client.post("/v1/import", json={"url": site.url("/a.png")}).status_code == 201


def test_the_second_address_is_tried(shared: Api, site: Origin, fake: FakeInternet) -> None:
    site.pages["/second.png"] = answer()
    fake.names["two.example"] = ["2606:4700::1111", ORIGIN_ADDRESS]
    assert shared.client.post("/v1/import", json={"url": site.url("/second.png", "two.example")}).status_code == 201
    assert fake.dialled == ["2606:4700::1111", ORIGIN_ADDRESS]


def test_a_name_that_changes_its_address_after_the_check(
    shared: Api, site: Origin, fake: FakeInternet, birds: Canaries
) -> None:
    fake.names["rebound.example"] = [ORIGIN_ADDRESS]
    fake.next_names["rebound.example"] = ["127.0.0.3"]
    site.pages |= {"/a.png": answer(), "/r": redirect("/a.png")}
    assert shared.client.post("/v1/import", json={"url": site.url("/a.png", "rebound.example")}).status_code == 201
    assert (fake.asked, fake.dialled, birds.count()) == (["rebound.example"], [ORIGIN_ADDRESS], 0)
    # Each hop asks anew, and dials what it was told then.
    fake.names["rebound.example"] = [ORIGIN_ADDRESS]
    check_failed(shared, site.url("/r", "rebound.example"))
    assert (fake.dialled, birds.count()) == ([ORIGIN_ADDRESS, ORIGIN_ADDRESS], 0)


def test_who_fails_tells_nothing(shared: Api, site: Origin, fake: FakeInternet) -> None:
    """A closed port, a page that is not there, a name that is not known, and a host inside: `check_failed` compares
    every byte of the answer and the names of its headers."""
    with origin() as closed:
        port = closed.port
    for url in (f"http://{ORIGIN_NAME}:{port}/a.png", site.url("/nothing"), site.url("/", "nowhere.example")):
        check_failed(shared, url)
    check_failed(shared, f"http://127.0.0.1:{site.port}/a.png")


def test_the_log_names_the_host_and_nothing_else_of_the_url(
    shared: Api, site: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    failed = check_failed(shared, site.url("/hidden?token=hidden#hidden"))
    check_failed(shared, f"http://user:hidden@{ORIGIN_NAME}:{site.port}/hidden")
    check_failed(shared, f"http://user:hid/den@{ORIGIN_NAME}:{site.port}/hidden")
    records = [record for record in caplog.records if record.name == "imgpro_lite.imports"]
    assert [vars(record)["host"] for record in records] == [ORIGIN_NAME, "", ""]
    assert "hid" not in repr([vars(record) for record in records])
    assert vars(records[0])["request_id"] == failed.headers["x-request-id"]


def test_a_proxy_of_the_environment_is_not_used(
    start: ApiFactory, site: Origin, birds: Canaries, fake: FakeInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{site.port}")
    site.pages["/a.png"] = answer()
    api = start(internet=fake.internet, **{"import": {"allow_networks": [ORIGIN_ADDRESS], "ports": [site.port]}})
    assert api.client.post("/v1/import", json={"url": site.url("/a.png")}).status_code == 201
    assert birds.count() == 0


# ── the parts ──

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address(text: str) -> None:
    assert is_public(ip_address(text))


@settings(deadline=None)
@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address: object) -> None:
    """Python's own opinion, where it is the stricter one, and what carries another address."""
    parsed = ip_address(str(address))
    if is_public(parsed):
        assert parsed.is_global
        assert not parsed.is_multicast
        assert getattr(parsed, "ipv4_mapped", None) is getattr(parsed, "sixtofour", None) is None


def test_which_addresses_are_this_machines_own() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.9.9.9"):
        assert is_own(ip_address(address))
    assert not is_own(ip_address("192.0.2.1"))
    assert not is_own(ip_address("2001:db8::1"))


@settings(deadline=None)
@given(st.text() | st.from_regex(r"https?://[ -~]*"), st.binary())
def test_any_text_is_a_url_or_refused(text: str, location: bytes) -> None:
    for parse in (lambda: urls.parse_url(text), lambda: urls.redirect_target(urls.parse_url("http://a/"), location)):
        try:
            url = parse()
        except FetchFailed:
            continue
        assert url.scheme in ("http", "https")
        assert urls.host_of(url)
        assert isinstance(urls.port_of(url), int)
