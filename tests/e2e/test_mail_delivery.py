"""Mail from the installed server: by a protected connection, and through kill -9."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from library import connect
from mailing import CERTIFICATE, MailServer, mail_server
from running import WAIT_SECONDS, Running, Start, servers, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

KILLS = 2


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    with servers(tmp_path) as start:
        yield start


def config(server: MailServer, *, tls: str, password: str = "") -> str:
    login = f'username = "images"\npassword = "{password}"\n' if password else ""
    return f'[mail]\nhost = "localhost"\nport = {server.port}\ntls = "{tls}"\n{login}'


def new_key(server: Running, email: str) -> None:
    answer = httpx2.post(f"{server.url}/v1/keys", json={"email": email}, timeout=WAIT_SECONDS, trust_env=False)
    assert answer.status_code == 201, answer.text


def count_queued(server: Running) -> int:
    with connect(server.data_dir) as conn:
        return int(conn.execute("SELECT count(*) FROM mail_queue").fetchone()[0])


@pytest.mark.parametrize("tls", ["starttls", pytest.param("tls", marks=pytest.mark.slow)])
def test_a_protected_connection(serve: Start, monkeypatch: pytest.MonkeyPatch, tls: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with mail_server(tls=tls, password="secret") as smtp:
        server = serve(config=config(smtp, tls=tls, password="secret"))
        new_key(server, "dev@example.com")
        until(lambda: "mail sent; the mail server said: 250 OK queued as 12345" in server.stderr)
    assert [(mail.logged_in, mail.encrypted) for mail in smtp.received] == [(True, True)]
    assert "dev@" not in server.stderr
    assert "verify?t=" not in server.stderr
    assert server.end() == 0


@pytest.mark.slow
def test_no_mail_is_lost_by_kill_9(serve: Start) -> None:
    """It is killed while mail is on its way. Each that was killed in between may come twice."""
    emails = set()
    with mail_server() as smtp:
        for number in range(KILLS):
            server = serve(config=config(smtp, tls="none"))
            for name in range(5):
                emails.add(f"dev{number}-{name}@example.com")
                new_key(server, f"dev{number}-{name}@example.com")
            server.end(signal.SIGKILL)
        server = serve(config=config(smtp, tls="none"))
        until(lambda: {mail.recipients[0] for mail in smtp.received} == emails)
        until(lambda: count_queued(server) == 0)
        assert server.end() == 0
    assert len(smtp.received) <= len(emails) + KILLS
