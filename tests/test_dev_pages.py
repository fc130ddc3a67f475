"""The pages of the control plane: what they show, what their buttons do, and a mail that nothing of can run."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Api, ApiFactory
from pages import POLICY, Page, check_page
from shared import serve
from wire import check_refusal

from imgpro_lite.dev import mail_pages
from imgpro_lite.dev.index_page import offset_text
from imgpro_lite.dev.mode import DevMode

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("dev"), dev=DevMode()) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    """As it was at the start."""
    assert server.client.post("/_dev/reset").status_code == 200
    return server


def mails(dev: Api) -> Any:
    return dev.client.get("/_dev/outbox").json()["mails"]


def press(dev: Api, **fields: str) -> Any:
    return dev.client.post("/_dev", data=fields, follow_redirects=False)


def index(dev: Api) -> Page:
    return Page(dev.client.get("/_dev").text)


def test_the_index_shows_everything(dev: Api) -> None:
    page = check_page(dev.client.get("/_dev"), referrer="same-origin")
    assert "14 November 2023, 22:13 UTC the real time" in page.text
    dev.new_key("new@example.com")
    dev.client.post("/_dev/faults", json={"path": "/v1/upload", "status": 429, "times": 2})
    dev.client.post("/_dev/faults", json={"path": "/*", "drop": "body", "delay_ms": 1500, "times": None})
    dev.client.put("/_dev/snapshots/checkout")
    page = check_page(dev.client.get("/_dev"), referrer="same-origin")
    for expected in (
        "Confirm your API key for localhost:4647",
        "to new@example.com",
        "free, not verified; no uploads this month, no bytes stored",
        "* /v1/upload 429 rate_limited; 0 of 2 used",
        "* /* broken off in the body, 1,500 ms late; used 0 times",
        "checkout Restore",
    ):
        assert expected in page.text
    assert mails(dev)[0]["links"][0] in page.links
    press(dev, do="end_faults")
    for link in page.links:
        path, _, _ = link.removeprefix("http://localhost:4647").partition("#")
        assert not path or dev.client.get(path, headers=BROWSER).status_code == 200, link


def test_the_buttons_of_the_index(dev: Api) -> None:
    for form in index(dev).forms:
        assert (form.method, form.action) == ("post", "/_dev")
    answer = press(dev, do="advance", seconds="2678400")
    assert (answer.status_code, answer.headers["location"]) == (303, "/_dev")
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 2_678_400
    assert "31 days ahead of the real time" in index(dev).text
    press(dev, do="real_time")
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 0
    dev.new_key()
    dev.client.post("/_dev/faults", json={"path": "/v1/upload", "status": 429})
    press(dev, do="keep", name="checkout")
    press(dev, do="end_faults")
    assert dev.client.get("/_dev/faults").json() == {"faults": []}
    press(dev, do="empty_outbox")
    assert mails(dev) == []
    press(dev, do="restore", name="checkout")
    assert len(mails(dev)) == 1
    press(dev, do="reset")
    assert dev.client.get("/_dev/teams").json() == {"teams": []}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"do": "other"}, 400),
        ({"do": "advance"}, 422),
        ({"do": "advance", "seconds": "-1"}, 422),
        ({"do": "advance", "seconds": "9" * 30}, 422),
        ({"do": "keep"}, 422),
        ({"do": "keep", "name": "../x"}, 422),
        ({"do": "restore", "name": "no-such-snapshot"}, 404),
    ],
)
def test_what_no_button_asks_for(dev: Api, fields: dict[str, str], status: int) -> None:
    check_page(press(dev, **fields), status)
    assert dev.client.get("/_dev/clock").json()["offset_seconds"] == 0


def test_buttons_on_the_pages_of_others_do_nothing(dev: Api) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = dev.client.post("/_dev", data={"do": "reset"}, headers=headers)
        check_refusal(answer, 403, "forbidden")


def test_the_outbox_as_pages(dev: Api) -> None:
    assert (
        "There is no mail." in check_page(dev.client.get("/_dev/outbox", headers=BROWSER), referrer="same-origin").text
    )
    dev.new_key("a@example.com")
    dev.new_key("b@example.com")
    answer = dev.client.get("/_dev/outbox", headers=BROWSER)
    assert answer.headers["vary"] == "Accept"
    page = check_page(answer, referrer="same-origin")
    assert page.text.index("to b@example.com") < page.text.index("to a@example.com")
    only = check_page(dev.client.get("/_dev/outbox?to=a@example.com", headers=BROWSER), referrer="same-origin")
    assert "b@example.com" not in only.text
    mail = mails(dev)[0]
    shown = dev.client.get(f"/_dev/outbox/{mail['id']}", headers=BROWSER)
    page = Page(shown.text)
    assert shown.headers["content-security-policy"] == f"{POLICY}; frame-src 'self'"
    assert page.heading == mail["subject"]
    assert mail["links"][0] in page.links
    (frame,) = page.attributes("iframe")
    assert frame["sandbox"] == "allow-same-origin allow-top-navigation-by-user-activation"
    framed = dev.client.get(str(frame["src"]))
    assert framed.text.replace('<base target="_top">', "") == mail["html"]
    policy = framed.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; form-action 'none'; " in policy
    assert policy.endswith("frame-ancestors 'self'; sandbox allow-same-origin allow-top-navigation-by-user-activation")


def test_a_page_has_the_newest_only(dev: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_pages, "MAX_MAILS", 1)
    dev.new_key("a@example.com")
    dev.new_key("b@example.com")
    text = Page(dev.client.get("/_dev/outbox", headers=BROWSER).text).text
    assert "b@example.com" in text
    assert "a@example.com" not in text
    assert "And 1 older one." in text
    assert len(mails(dev)) == 2


def test_refusals_in_a_browser_are_pages(dev: Api) -> None:
    for path, status in (
        ("/_dev/outbox/none", 404),
        ("/_dev/outbox?kind=x", 422),
        ("/_dev/outbox?wait_seconds=.01", 404),
    ):
        check_page(dev.client.get(path, headers=BROWSER), status)


def test_below_a_prefix(start: ApiFactory) -> None:
    dev = start(server={"public_url": "http://localhost:4647/img"}, dev=DevMode())
    dev.new_key()
    page = Page(dev.client.get("/img/_dev").text)
    assert all(link.startswith(("/img/", "#", "http://localhost:4647/img/verify?t=")) for link in page.links)
    assert {form.action for form in page.forms} == {"/img/_dev"}
    answer = dev.client.post("/img/_dev", data={"do": "real_time"}, follow_redirects=False)
    assert answer.headers["location"] == "/img/_dev"
    for link in page.links:
        if "/_dev/outbox/" in link:
            assert Page(dev.client.get(link, headers=BROWSER).text).attributes("iframe")[0]["src"] == f"{link}.html"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "the real time"),
        (1, "1 second ahead of the real time"),
        (31 * 86_400 + 7325, "31 days and 2 hours ahead of the real time"),
        (-3600, "1 hour behind the real time"),
    ],
)
def test_how_far_the_clock_is_ahead(seconds: int, text: str) -> None:
    assert offset_text(seconds) == text
