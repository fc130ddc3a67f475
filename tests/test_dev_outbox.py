"""The mail of dev mode: read, waited for and removed over HTTP."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Api
from mailing import outbox_files
from shared import serve
from wire import check_refusal

from imgpro_lite.dev.mails import parse_mail
from imgpro_lite.dev.mode import DevMode

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
