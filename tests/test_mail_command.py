"""`imgpro-lite mail …`: whether mail can be sent, and what waits to be."""

import json
import re
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import Api, ApiFactory
from mailing import CERTIFICATE, body, deliver, mail_server, parse

from imgpro_lite.cli.main import cli
from imgpro_lite.errors import OperatorError


def run_mail(tmp_path: Path, *arguments: str, data_dir: Path | None = None, **mail: object) -> Result:
    """`imgpro-lite mail …` with a [mail] section."""
    config = tmp_path / "imgpro.toml"
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in mail.items()]
    config.write_text("[server]\npublic_url = 'https://images.example.com'\n[mail]\n" + "".join(lines), "utf-8")
    directory = str(data_dir or tmp_path / "data")
    return CliRunner().invoke(cli, ["mail", *arguments, "--config", str(config), "--data-dir", directory])


def failure(result: Result) -> str:
    assert isinstance(result.exception, OperatorError), result.exception
    return str(result.exception)


def test_a_test_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with mail_server(tls="starttls", password="secret") as server:
        settings = server.settings(tls="starttls", username="images", password="secret")
        result = run_mail(tmp_path, "test", "me@example.org", **settings)
    assert result.exit_code == 0, result.output
    assert result.output == (
        "From noreply@images.example.com to me@example.org, "
        f"by localhost port {server.port}, tls = starttls, logging in as images\n"
        "The mail was sent; the mail server said: 250 OK queued as 12345.\n"
    )
    (mail,) = server.received
    assert mail.recipients == ["me@example.org"]
    assert mail.message["Subject"] == "Test mail from images.example.com"
    assert "https://images.example.com" in body(mail.message)
    assert not (tmp_path / "data").exists()


def test_a_test_mail_that_the_server_refuses(tmp_path: Path) -> None:
    with mail_server() as server:
        server.on_mail = lambda _: "553 5.7.1 not yours"
        told = failure(run_mail(tmp_path, "test", "me@example.org", **server.settings()))
    assert told.startswith("The mail was not sent: 553 5.7.1 not yours.")
    assert "[mail] from" in told


def test_a_test_mail_without_a_server_behind_the_settings(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = failure(run_mail(tmp_path, "test", "me@example.org", host="127.0.0.1", port=port))
    assert f"[mail] host (127.0.0.1) and port ({port})" in told


def test_the_usual_mistake_with_port_465(tmp_path: Path) -> None:
    """The server waits for TLS, and we for its greeting. Whether one is there or not, the advice is the same."""
    told = failure(run_mail(tmp_path, "test", "me@example.org", host="127.0.0.1", port=465, timeout_seconds=0.5))
    assert 'Set [mail] tls = "tls"' in told


def test_a_test_mail_without_a_mail_server(tmp_path: Path) -> None:
    result = run_mail(tmp_path, "test", "root@localhost", **{"from": "Images <images@localhost>"})
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "data" / "outbox").iterdir()
    assert f"The mail was written to outbox/{path.name}, because [mail] host is not set." in result.output
    message = parse(path.read_bytes())
    assert (message["From"], message["To"]) == ("Images <images@localhost>", "root@localhost")


@pytest.mark.parametrize(
    "address", ["", "nonsense", "a@example.com\nBcc: b@example.com", "a@b.com, c@d.com", "a\udcff@b.c"]
)
def test_a_test_mail_to_what_is_no_address(tmp_path: Path, address: str) -> None:
    failure(run_mail(tmp_path, "test", address))
    assert not (tmp_path / "data").exists()


def test_what_waits(start: ApiFactory, tmp_path: Path) -> None:
    with mail_server() as gone:
        settings = gone.settings()
    api = start(mail=settings)
    for name in ["dev", "ops"]:
        api.new_key(email=f"{name}@example.com")
        deliver(api)
        api.clock.advance(seconds=10)
    shown = json.loads(run_mail(tmp_path, "list", "--json", data_dir=api.data_dir).output)
    began = 1_700_000_000
    assert shown == [
        {"kind": "verify", "to": "dev@example.com", "created_at": began, "attempts": 1, "next_attempt_at": began + 60},
        {
            "kind": "verify",
            "to": "ops@example.com",
            "created_at": began + 10,
            "attempts": 1,
            "next_attempt_at": began + 70,
        },
    ]
    table = run_mail(tmp_path, "list", data_dir=api.data_dir).output
    assert re.search(r"verify +dev@example.com +2023-11-14 22:13 +1 +2023-11-14 22:14 *\n", table)
    assert "/verify" not in table


def test_nothing_waits(api: Api, tmp_path: Path) -> None:
    assert json.loads(run_mail(tmp_path, "list", "--json", data_dir=api.data_dir).output) == []
    assert "no library" in failure(run_mail(tmp_path, "list", data_dir=tmp_path / "mistyped"))
