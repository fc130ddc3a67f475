"""The mail of dev mode: read, waited for and removed over HTTP, and shown to people."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Api, ApiFactory
from mailing import outbox_files
from pages import POLICY, Page, check_page
from shared import serve
from wire import check_refusal

from imgpro_lite.dev import mail_pages
from imgpro_lite.dev.index_page import offset_text
from imgpro_lite.dev.mails import parse_mail
from imgpro_lite.dev.mode import DevMode

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
LONG_SECONDS = 60  # nothing here takes so long


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve(tmp_path_factory.mktemp("dev"), dev=DevMode()) as api:
        yield api


@pytest.fixture
def dev(server: Api) -> Api:
    """As it was at the start."""
    assert server.client.post("/_dev/reset").status_code == 200
    return server


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def mails(dev: Api, **query: Any) -> Any:
    answer = dev.client.get("/_dev/outbox", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["mails"]


def receivers(dev: Api, **query: Any) -> list[str]:
    return [mail["to"] for mail in mails(dev, **query)]


def refusal(dev: Api, status: int, code: str, **query: Any) -> Any:
    return check_refusal(dev.client.get("/_dev/outbox", params=query), status, code)


def test_a_mail(dev: Api) -> None:
    dev.new_key("new@example.com")
    (mail,) = mails(dev)
    (path,) = outbox_files(dev)
    (link,) = mail["links"]
    assert mail == {
        "id": path.name.removesuffix(".eml"),
        "at": dev.clock.now(),
        "from": "noreply@localhost",
        "to": "new@example.com",
        "subject": "Confirm your API key for localhost:4647",
        "kind": "verify",
        "text": mail["text"],
        "html": mail["html"],
        "links": [link],
    }
    assert link in mail["text"]
    assert link in mail["html"]
    assert mail["html"].startswith("<!DOCTYPE html>")
    assert dev.client.get(link.removeprefix("http://localhost:4647")).status_code == 200
    assert mails(dev)[0] == mail
    one = dev.client.get(f"/_dev/outbox/{mail['id']}")
    assert one.json() == mail
    assert one.headers["cache-control"] == "no-store"
    raw = dev.client.get(f"/_dev/outbox/{mail['id']}.eml")
    assert raw.headers["content-type"] == "message/rfc822"
    assert raw.content == path.read_bytes()


def test_mail_is_there_as_soon_as_the_request_was_answered(dev: Api) -> None:
    """Whatever the clock does, the newest comes last."""
    for number in range(4):
        dev.new_key(f"dev{number}@example.com")
        assert receivers(dev) == [f"dev{earlier}@example.com" for earlier in range(number + 1)]
        dev.client.put("/_dev/clock", json={"now": 1_700_000_000 - number * 10**6})


def test_mail_stays_however_old_it_is(dev: Api) -> None:
    dev.new_key()
    (mail,) = mails(dev)
    dev.client.post("/_dev/clock/advance", json={"days": 400})
    portal: Any = dev.client.portal
    portal.call(dev.client.app.state.runtime.mail.sender.keep_tidy)
    assert mails(dev) == [mail]


@pytest.fixture
def three(dev: Api) -> Any:
    """Three mails: two for the same address, of two kinds."""
    dev.new_key("a@example.com")
    dev.new_key("b@example.com")
    assert dev.client.post("/_dev/keys", json={"email": "a@example.com", "verified": True}).status_code == 201
    dev.client.get(mails(dev)[0]["links"][0].removeprefix("http://localhost:4647"))
    return mails(dev)


def test_filters(dev: Api, three: list[Any]) -> None:
    first, second, third = (mail["id"] for mail in three)
    for query, expected in (
        ({}, [first, second, third]),
        ({"to": "A@Example.com "}, [first, third]),
        ({"to": "a@example.co"}, []),
        ({"to": ""}, [first, second, third]),
        ({"subject": "confirm YOUR"}, [first, second]),
        ({"subject": "joined"}, [third]),
        ({"kind": "joined"}, [third]),
        ({"kind": "sign_in"}, []),
        ({"kind": "verify", "to": "a@example.com", "subject": "key", "wait_seconds": LONG_SECONDS}, [first]),
        ({"after": first}, [second, third]),
        ({"after": third}, []),
        ({"after": first, "to": "a@example.com"}, [third]),
    ):
        assert [mail["id"] for mail in mails(dev, **query)] == expected, query
    assert set(refusal(dev, 422, "validation_error", after="no-such-mail")["errors"]) == {"after"}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("kind=verification", {"kind"}),
        ("wait_seconds=61", {"wait_seconds"}),
        ("wait_seconds=-1", {"wait_seconds"}),
        ("wait_seconds=nan", {"wait_seconds"}),
        ("wait_seconds=long&kind=x&recipient=a", {"wait_seconds", "kind", "recipient"}),
        ("to=a&to=b", {"to"}),
    ],
)
def test_wrong_queries(server: Api, query: str, fields: set[str]) -> None:
    """A filter with a slip of the pen would find the wrong mail, or wait in vain."""
    answer = server.client.get(f"/_dev/outbox?{query}")
    assert set(check_refusal(answer, 422, "validation_error")["errors"]) == fields


def wait(dev: Api, aside: ThreadPoolExecutor, **query: Any) -> Future[Any]:
    """Ask for mail that is not there yet: return when the server waits for it."""
    outbox = dev.client.app.state.runtime.mail.sender
    looked, list_names = threading.Event(), outbox.list_names

    def list_and_tell() -> Any:
        looked.set()
        return list_names()

    outbox.list_names = list_and_tell
    try:
        asked = aside.submit(mails, dev, **query, wait_seconds=LONG_SECONDS)
        assert looked.wait(LONG_SECONDS)
    finally:
        outbox.list_names = list_names
    return asked


def test_waiting_ends_when_the_mail_is_there(dev: Api, aside: ThreadPoolExecutor) -> None:
    asked = wait(dev, aside, to="late@example.com")
    dev.new_key("early@example.com")
    dev.new_key("late@example.com")
    assert [mail["to"] for mail in asked.result(LONG_SECONDS)] == ["late@example.com"]


def test_waiting_holds_up_no_reset(dev: Api, aside: ThreadPoolExecutor) -> None:
    asked = wait(dev, aside)
    assert dev.client.post("/_dev/reset").status_code == 200
    dev.new_key("later@example.com")
    assert [mail["to"] for mail in asked.result(LONG_SECONDS)] == ["later@example.com"]


def test_waiting_for_what_a_snapshot_brings_back(dev: Api, aside: ThreadPoolExecutor) -> None:
    dev.new_key()
    mails(dev)
    dev.client.put("/_dev/snapshots/with-mail")
    dev.client.post("/_dev/reset")
    asked = wait(dev, aside)
    dev.client.post("/_dev/snapshots/with-mail/restore")
    assert len(asked.result(LONG_SECONDS)) == 1


def test_waiting_in_vain_says_what_there_is(dev: Api) -> None:
    message = refusal(dev, 404, "not_found", to="x@example.com", wait_seconds="0.01")["message"]
    assert message == "No mail with to='x@example.com' came in 0.01 seconds. There is no mail at all."
    dev.new_key("y@example.com")
    message = refusal(dev, 404, "not_found", to="x@example.com", kind="verify", wait_seconds="0.01")["message"]
    assert "to='x@example.com' kind='verify'" in message
    assert message.endswith("verify to y@example.com: Confirm your API key for localhost:4647.")


def test_removing(dev: Api) -> None:
    dev.new_key("a@example.com")
    dev.new_key("b@example.com")
    first, second = mails(dev)
    address = f"/_dev/outbox/{first['id']}"
    assert dev.client.delete(address).status_code == 204
    for method, path in (("DELETE", address), ("GET", address), ("GET", f"{address}.eml"), ("GET", f"{address}.html")):
        check_refusal(dev.client.request(method, path), 404, "not_found")
    assert mails(dev) == [second]
    dev.new_key("c@example.com")  # is queued, perhaps not written yet
    assert dev.client.delete("/_dev/outbox").status_code == 204
    assert mails(dev) == []
    dev.new_key("d@example.com")
    assert receivers(dev) == ["d@example.com"]


@pytest.mark.parametrize("name", ["..%2f..%2fimgpro.db", "..%2fimgpro", "%2e%2e", "notes", "%00", "a" * 300])
def test_only_mail_is_read(dev: Api, name: str) -> None:
    (dev.data_dir / "outbox").mkdir(exist_ok=True)
    for other in ("notes.eml", "notes"):
        (dev.data_dir / "outbox" / other).write_text("somebody's own")
    for method in ("GET", "DELETE"):
        check_refusal(dev.client.request(method, f"/_dev/outbox/{name}"), 404, "not_found")
    assert mails(dev) == []
    assert (dev.data_dir / "outbox" / "notes.eml").exists()


def test_links_are_whole_and_each_is_there_once() -> None:
    content = (
        b"From: a@example.com\r\nTo: b@example.com\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n"
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/alternative; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/plain\r\n\r\nSee https://a.test/1?a=b&c=d. Or (http://b.test/_-)!\r\n"
        b'--x\r\nContent-Type: text/html\r\n\r\n<a href="https://a.test/1?a=b&amp;c=d">1</a>'
        b'<a href="mailto:a@a.test">2</a><a href="https://c.test/">3</a><a>4</a>\r\n--x--\r\n'
    )
    mail = parse_mail("20231114T221320Z-000001-sign_in-0123abcd.eml", content)
    assert mail.links == ("https://a.test/1?a=b&c=d", "http://b.test/_-", "https://c.test/")
    assert (mail.kind, mail.subject, mail.at) == ("sign_in", "café", 1_700_000_000)


# ── pages ──


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
    assert frame["sandbox"] == "allow-top-navigation-by-user-activation"
    framed = dev.client.get(str(frame["src"]))
    assert framed.text.replace('<base target="_top">', "") == mail["html"]
    policy = framed.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; form-action 'none'; " in policy
    assert policy.endswith("frame-ancestors 'self'; sandbox allow-top-navigation-by-user-activation")


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
