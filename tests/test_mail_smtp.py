"""Mail by a mail server: protected connections, logins, refusals, and servers that hang, drop or are not there."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP
from conftest import Api, ApiFactory
from library import connect
from mailing import CERTIFICATE, MailServer, body, deliver, mail_server, runtime, tokens
from running import until

from imgpro_lite import links
from imgpro_lite.services import delivery

DAY = 86_400


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with mail_server() as running:
        yield running


def queue(api: Api) -> list[tuple[str, int, int]]:
    """(recipient, attempts, seconds until the next one) of what waits."""
    with connect(api.data_dir) as conn:
        rows = conn.execute("SELECT recipient, attempts, next_attempt_at FROM mail_queue ORDER BY id").fetchall()
    return [(recipient, attempts, next_at - api.clock.now()) for recipient, attempts, next_at in rows]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str, str]]:
    """(level, message, reason, advice) of what was logged about mail."""
    return [
        (record.levelname, record.getMessage(), vars(record).get("reason", ""), vars(record).get("advice", ""))
        for record in caplog.records
        if record.name == "imgpro_lite.mail" and record.levelname != "INFO"
    ]


def only_log(caplog: pytest.LogCaptureFixture) -> tuple[str, str, str, str]:
    (line,) = logged(caplog)
    return line


# ── what goes well ──


def test_a_mail_is_sent_at_once(start: ApiFactory, server: MailServer) -> None:
    api = start(mail=server.settings(**{"from": "Images <images@example.org>"}))
    api.new_key()
    until(lambda: server.received)
    deliver(api)
    (mail,) = server.received
    assert (mail.sender, mail.recipients) == ("images@example.org", ["dev@example.com"])
    assert str(mail.message["From"]) == "Images <images@example.org>"
    (token,) = tokens(mail.message)
    assert runtime(api).links.load(links.VERIFY, token)["email"] == "dev@example.com"
    assert f"verify?t={token}" in body(mail.message, "html")
    assert queue(api) == []
    assert not (api.data_dir / "outbox").exists()


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_protected_connection_with_a_login(
    start: ApiFactory, monkeypatch: pytest.MonkeyPatch, tls: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))  # as an operator with an authority of his own does
    with mail_server(tls=tls, password="correct horse") as server:
        api = start(mail=server.settings(tls=tls, username="images", password="correct horse"))
        api.new_key()
        deliver(api)
    (mail,) = server.received
    assert mail.logged_in
    assert mail.encrypted
    assert logged(caplog) == []
    assert queue(api) == []


@pytest.mark.slow
def test_100_mails_one_connection_at_a_time(start: ApiFactory, server: MailServer) -> None:
    api = start(mail=server.settings(), limits={"keys_per_ip_per_hour": 0})
    emails = [f"dev{number}@example.com" for number in range(100)]
    for email in emails:
        api.new_key(email=email)
    deliver(api)
    assert [mail.recipients for mail in server.received] == [[email] for email in emails]
    assert len({mail.message["Message-ID"] for mail in server.received}) == 100
    assert queue(api) == []


def test_mail_that_was_queued_before_a_restart(start: ApiFactory) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    api.new_key()
    deliver(api)
    assert [attempts for _, attempts, _ in queue(api)] == [1]
    with mail_server() as server:
        api = start(mail=server.settings(), crashed=True)  # at once, although the pause is not over
        until(lambda: server.received)
        deliver(api)
        assert len(server.received) == 1
        assert queue(api) == []


# ── refusals ──


def test_a_recipient_that_is_put_off_is_tried_again(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.on_recipient = lambda address: f"450 4.2.0 <{address}>: greylisted, Somebody" if not_yet else None
    not_yet = True
    api = start(mail=server.settings())
    api.new_key(email="somebody@example.com")
    deliver(api)
    assert queue(api) == [("somebody@example.com", 1, 60)]
    level, message, reason, _ = only_log(caplog)
    assert (level, message) == ("WARNING", "mail not sent")
    assert reason == "450 4.2.0 <…@example.com>: greylisted, …"  # the address is nobody's business
    not_yet = False
    api.clock.advance(seconds=59)
    deliver(api)
    assert server.received == []
    api.clock.advance(seconds=1)
    deliver(api)
    assert len(server.received) == 1
    assert queue(api) == []


def test_a_recipient_that_is_refused_is_given_up_and_the_others_are_not(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.on_recipient = lambda address: "550 5.1.1 no such user" if address.startswith("nobody") else None
    api = start(mail=server.settings())
    for name in ["nobody", "dev", "nobody2"]:
        api.new_key(email=f"{name}@example.com")
    deliver(api)
    assert [mail.recipients for mail in server.received] == [["dev@example.com"]]
    assert queue(api) == []
    assert logged(caplog) == [("ERROR", "mail given up: the recipient is refused", "550 5.1.1 no such user", "")] * 2
    records = [record for record in caplog.records if record.levelname == "ERROR"]
    assert {(vars(record)["domain"], vars(record)["kind"]) for record in records} == {("example.com", "verify")}
    assert "nobody" not in str([vars(record) for record in records])


@pytest.mark.parametrize("answer", ["554 5.7.1 Relay access denied", "530 Authentication required"])
def test_a_refusal_that_is_about_us_is_not_the_end(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    server.on_recipient = lambda _: answer
    api = start(mail=server.settings())
    api.new_key()
    deliver(api)
    assert queue(api) == [("dev@example.com", 1, 60)]
    _, _, reason, advice = only_log(caplog)
    assert reason == answer
    assert "[mail] username" in advice


def test_a_refused_sender_is_for_the_operator_to_mend(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.on_mail = lambda address: f"553 5.7.1 {address}: not owned by user"
    api = start(mail=server.settings())
    api.new_key()
    deliver(api)
    assert queue(api) == [("dev@example.com", 1, 60)]
    _, _, reason, advice = only_log(caplog)
    assert reason == "553 5.7.1 noreply@localhost: not owned by user"
    assert "[mail] from" in advice


def test_refused_content_is_tried_again(start: ApiFactory, server: MailServer) -> None:
    """Some providers answer so until a sender is confirmed with them."""
    server.on_data = lambda: "554 Message rejected"
    api = start(mail=server.settings())
    api.new_key()
    deliver(api)
    assert queue(api) == [("dev@example.com", 1, 60)]


def test_an_address_that_the_server_cannot_take(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    class OldServer(SMTP):
        enable_SMTPUTF8 = property(lambda _: False, lambda _self, _value: None)  # noqa: N815

    with mail_server(smtp=OldServer) as server:
        api = start(mail=server.settings())
        for name in ["jos\u00e9", "dev"]:
            api.new_key(email=f"{name}@example.com")
        deliver(api)
    assert [mail.recipients for mail in server.received] == [["dev@example.com"]]
    assert queue(api) == []
    assert "SMTPUTF8" in only_log(caplog)[2]


def test_an_address_that_only_new_servers_take(start: ApiFactory, server: MailServer) -> None:
    api = start(mail=server.settings())
    api.new_key(email="jos\u00e9@b\u00fccher.example")
    deliver(api)
    assert [mail.recipients for mail in server.received] == [["jos\u00e9@xn--bcher-kva.example"]]


# ── servers that cannot be used ──


def test_the_pauses_grow_until_the_mail_is_given_up(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    api.new_key(email="somebody@example.com")
    began, pauses = api.clock.now(), []
    deliver(api)
    while waiting := queue(api):
        assert len(pauses) < 100
        pauses.append(waiting[0][2])
        api.clock.advance(seconds=pauses[-1])
        deliver(api)
    assert pauses[:6] == [60, 300, 900, 3600, 3600, 3600]
    assert set(pauses[6:]) == {3600}
    assert 3 * DAY <= api.clock.now() - began < 3 * DAY + 3600
    assert logged(caplog)[-1][:2] == ("ERROR", f"mail given up after {len(pauses) + 1} attempts")
    assert "somebody" not in str([vars(record) for record in caplog.records if record.name == "imgpro_lite.mail"])


def test_a_server_that_is_not_there_is_tried_once_for_all(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    for number in range(5):
        api.new_key(email=f"dev{number}@example.com")
    deliver(api)
    assert {(attempts, wait) for _, attempts, wait in queue(api)} == {(1, 60)}
    level, message, _, advice = logged(caplog)[0]
    assert (level, message) == ("WARNING", "the mail server cannot be used; mail waits")
    assert f"[mail] host (localhost) and port ({settings['port']})" in advice
    assert api.client.get("/healthz").status_code == 200


def test_all_are_given_up_at_the_same_time(start: ApiFactory) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    for number in range(5):
        api.new_key(email=f"dev{number}@example.com")
    for pause in [60, 300, 900, 3600, 3 * DAY]:
        deliver(api)
        api.clock.advance(seconds=pause)
    deliver(api)
    assert queue(api) == []


def test_a_clock_that_is_set_forward_gives_nothing_up(start: ApiFactory) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    api.new_key()
    deliver(api)
    api.clock.advance(days=365)
    deliver(api)
    assert queue(api) == [("dev@example.com", 2, 300)]


def test_a_clock_that_is_set_back_delays_nothing(start: ApiFactory) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    api.new_key()
    deliver(api)
    api.clock.advance(days=-365)
    deliver(api)
    assert queue(api) == [("dev@example.com", 2, 300)]


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: str
) -> None:
    (tmp_path / "0123abcd.0").touch()  # also where the machine that runs the tests has no authorities
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with mail_server(tls=tls, password="secret") as server:
        api = start(mail=server.settings(tls=tls, username="images", password="secret"))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert queue(api) == [("dev@example.com", 1, 60)]
    level, _, _, advice = only_log(caplog)
    assert level == "WARNING"
    assert "certificate is not good for localhost" in advice


def test_a_machine_without_certificate_authorities(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with mail_server(tls="tls") as server:
        api = start(mail=server.settings(tls="tls"))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert "install the package ca-certificates" in only_log(caplog)[3]


def test_authorities_that_cannot_be_read(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with mail_server(tls="tls") as server:
        api = start(mail=server.settings(tls="tls"))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert queue(api) == [("dev@example.com", 1, 60)]
    assert "SSL_CERT_FILE" in " ".join(only_log(caplog))


def test_a_certificate_of_another_name(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with mail_server(tls="starttls", address="127.0.0.2") as server:
        api = start(mail=server.settings(host="127.0.0.2", tls="starttls"))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert "certificate is not good for 127.0.0.2" in only_log(caplog)[3]


@pytest.mark.parametrize(
    ("wanted", "offered", "advice"),
    [("starttls", "none", "Check [mail] host"), ("tls", "starttls", '[mail] tls = "starttls"')],
)
def test_protection_that_the_server_does_not_have(
    start: ApiFactory, caplog: pytest.LogCaptureFixture, wanted: str, offered: str, advice: str
) -> None:
    """Then nothing is sent: an attacker on the way could have hidden it."""
    with mail_server(tls=offered) as server:
        api = start(mail=server.settings(tls=wanted))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert advice in only_log(caplog)[3]


def test_a_wrong_password(start: ApiFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with mail_server(tls="starttls", password="right") as server:
        api = start(mail=server.settings(tls="starttls", username="images", password="wrong-password"))
        api.new_key()
        deliver(api)
    assert server.received == []
    assert queue(api) == [("dev@example.com", 1, 60)]
    level, _, reason, advice = only_log(caplog)
    assert level == "WARNING"
    assert reason.startswith("535 ")
    assert "[mail] username and password" in advice
    assert "wrong-password" not in str([vars(record) for record in caplog.records])


def test_a_login_that_the_server_does_not_offer(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    api = start(mail=server.settings(username="images", password="secret"))
    api.new_key()
    deliver(api)
    assert server.received == []
    assert only_log(caplog)[0] == "WARNING"


# ── servers that hang or drop ──


def test_a_server_that_never_says_anything(start: ApiFactory, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail = {"host": "127.0.0.1", "port": silent.getsockname()[1], "tls": "none", "timeout_seconds": 0.2}
        api = start(mail=mail)
        api.new_key()
        deliver(api)
        assert queue(api) == [("dev@example.com", 1, 60)]
    assert only_log(caplog)[1] == "the mail server cannot be used; mail waits"


class Hanging(SMTP):
    """Says nothing more after RCPT."""

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802
        await asyncio.sleep(3600)


class Dropping(SMTP):
    """Drops the connection in the middle of DATA."""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        await self.push("354 go ahead")
        assert self.transport is not None
        self.transport.close()


class Silent(SMTP):
    """Takes the mail, but drops the connection instead of saying so."""

    async def push(self, status: str | bytes) -> None:
        if str(status).startswith("250 OK queued"):
            assert self.transport is not None
            self.transport.close()
        else:
            await super().push(status)


@pytest.mark.parametrize("smtp", [Hanging, Dropping, Silent])
def test_a_server_that_hangs_or_drops(start: ApiFactory, smtp: type[SMTP], caplog: pytest.LogCaptureFixture) -> None:
    with mail_server(smtp=smtp) as server:
        api = start(mail=server.settings(timeout_seconds=0.3))
        api.new_key()
        deliver(api)
    assert queue(api) == [("dev@example.com", 1, 60)]
    assert only_log(caplog)[:2] == ("WARNING", "mail not sent")
    assert len(server.received) == (1 if smtp is Silent else 0)


def test_a_mail_that_is_sent_twice_is_shown_once(start: ApiFactory) -> None:
    """Mail programs know a mail by its Message-ID."""
    with mail_server(smtp=Silent) as server:
        api = start(mail=server.settings())
        api.new_key()
        deliver(api)
        api.clock.advance(seconds=60)
        deliver(api)
    assert len(server.received) == 2
    assert len({mail.message["Message-ID"] for mail in server.received}) == 1


class Rude(SMTP):
    """Drops the connection instead of saying goodbye."""

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        assert self.transport is not None
        self.transport.close()


def test_what_comes_after_the_250_does_not_matter(start: ApiFactory) -> None:
    with mail_server(smtp=Rude) as server:
        api = start(mail=server.settings())
        api.new_key()
        deliver(api)
        assert len(server.received) == 1
        assert queue(api) == []


# ── beside everything else ──


def test_requests_do_not_wait_for_the_mail_server(start: ApiFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "STOP_SECONDS", 0.1)
    with mail_server(smtp=Hanging) as server:
        api = start(mail=server.settings(timeout_seconds=600))
        api.new_key()
        until(lambda: server.connections)
        for number in range(3):
            api.new_key(email=f"dev{number}@example.com")
        assert api.client.get("/healthz").status_code == 200
        assert len(queue(api)) == 4
        assert server.connections == 1
        start()  # a stop does not wait for it either
    assert server.received == []


class Slow(SMTP):
    """Thinks about every recipient."""

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802
        await asyncio.sleep(0.3)
        await super().smtp_RCPT(arg)


def test_a_mail_that_is_being_sent_when_the_server_stops_is_finished(start: ApiFactory) -> None:
    with mail_server(smtp=Slow) as server:
        settings = server.settings()
        api = start(mail=settings)
        api.new_key()
        until(lambda: server.connections)
        api = start(mail=settings)
        assert len(server.received) == 1
        deliver(api)
        assert queue(api) == []
        assert len(server.received) == 1


def test_a_mail_that_cannot_be_composed_blocks_no_other(
    start: ApiFactory, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    api = start(mail=server.settings())
    with connect(api.data_dir) as conn:
        conn.execute(
            "INSERT INTO mail_queue (kind, recipient, details, created_at, next_attempt_at) "
            "VALUES ('verify', 'somebody@example.com', '{}', 0, 0)"
        )
    api.new_key()
    deliver(api)
    assert [mail.recipients for mail in server.received] == [["dev@example.com"]]
    assert queue(api) == [("somebody@example.com", 1, 60)]
    assert only_log(caplog)[:3] == ("WARNING", "mail not sent", "KeyError")
    assert "somebody" not in str([vars(record) for record in caplog.records if record.name == "imgpro_lite.mail"])


def test_a_database_that_takes_no_writes_sends_nothing_twice(start: ApiFactory, server: MailServer) -> None:
    """While another process holds it, a mail cannot be taken out of the queue: nothing else is sent until it is."""
    api = start(mail=server.settings())
    locked = sqlite3.connect(api.data_dir / "imgpro.db", isolation_level=None, check_same_thread=False)

    def hold_the_database() -> None:
        locked.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, locked.rollback).start()

    server.on_data = hold_the_database
    for number in range(2):
        api.new_key(email=f"dev{number}@example.com")
        deliver(api)
    locked.close()
    assert len(server.received) == 2
    assert queue(api) == []
