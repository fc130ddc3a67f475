"""Mail in tests: what is in the outbox, and a real mail server on this machine that does as it is told."""

import contextlib
import email
import email.policy
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from conftest import Api

from imgpro_lite.services.delivery import deliver_due

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"
LINK = re.compile(r"https?://[^\s\"<>]+/verify\?t=([A-Za-z0-9_.-]+)")


def runtime(api: Api) -> Any:
    app: Any = api.client.app
    return app.state.runtime


def deliver(api: Api) -> None:
    """Send what is due now, as the server does by itself: return when all has been tried."""
    portal: Any = api.client.portal
    portal.call(deliver_due, runtime(api))


def read_outbox(api: Api) -> list[EmailMessage]:
    """The mail that was written to files, oldest first."""
    deliver(api)
    return [parse(path.read_bytes()) for path in outbox_files(api)]


def outbox_files(api: Api) -> list[Path]:
    return sorted((api.data_dir / "outbox").glob("*.eml"))


def parse(content: bytes) -> EmailMessage:
    """A mail as a mail program reads it."""
    return email.message_from_bytes(content, policy=email.policy.default)


def body(message: EmailMessage, kind: str = "plain") -> str:
    """The text of a mail, or its HTML."""
    part = message.get_body([kind])
    assert part is not None
    return str(part.get_content())


def words(message: EmailMessage, kind: str) -> str:
    """The same without its line breaks."""
    return " ".join(body(message, kind).split())


def tokens(message: EmailMessage) -> list[str]:
    """The tokens of the links in a mail."""
    return LINK.findall(body(message))


@dataclass
class Received:
    """A mail that the server has taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    logged_in: bool
    encrypted: bool


@dataclass
class MailServer:
    """What it has received, and what it is to say: a hook returns the answer, or None for the usual one."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    on_mail: Callable[[str], str | None] = lambda _sender: None
    on_recipient: Callable[[str], str | None] = lambda _recipient: None
    on_data: Callable[[], str | None] = lambda: None

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.on_mail(address) or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.on_recipient(address) or "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.on_data() or "250 OK queued as 12345"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            assert envelope.mail_from is not None
            self.received.append(
                Received(
                    envelope.mail_from,
                    envelope.rcpt_tos,
                    parse(envelope.content),
                    session.authenticated,
                    server.transport is not None and bool(server.transport.get_extra_info("sslcontext")),
                )
            )
        return answer

    def settings(self, **others: Any) -> dict[str, Any]:
        """The [mail] section that uses this server."""
        return {"host": "localhost", "port": self.port, "tls": "none", **others}


class _Controller(Controller):
    """On a port that the system chooses, and counting the connections."""

    def __init__(self, server: MailServer, smtp: type[SMTP], address: str, **options: Any) -> None:
        super().__init__(server, hostname=address, port=0, server_hostname="localhost", **options)
        self._server, self._smtp = server, smtp
        self._sessions: list[SMTP] = []

    def factory(self) -> SMTP:
        self._server.connections += 1
        self._sessions.append(self._smtp(self.handler, **self.SMTP_kwargs))
        return self._sessions[-1]

    def abort_sessions(self) -> None:
        """End what clients have left open, such as one that was killed: a loop that is closed would not."""
        transports = [session.transport for session in self._sessions if session.transport is not None]
        for transport in transports:
            self.loop.call_soon_threadsafe(transport.abort)
        if transports:
            time.sleep(0.02)  # in which the loop closes their sockets

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self._server.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
        self._server.connections = 0


@contextlib.contextmanager
def mail_server(
    *, tls: str = "none", password: str = "", smtp: type[SMTP] = SMTP, address: str = "127.0.0.1"
) -> Iterator[MailServer]:
    """A running mail server; with a password it wants one for the user "images"."""
    server = MailServer()
    options: dict[str, Any] = {"auth_require_tls": False}
    if tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        options |= {"tls_context": context} if tls == "starttls" else {"ssl_context": context}
    if password:
        options |= {"authenticator": _authenticator(password)}
    if password and tls == "starttls":  # it does not notice a connection that began with TLS
        options |= {"auth_required": True, "auth_require_tls": True}
    controller = _Controller(server, smtp, address, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.abort_sessions()
        controller.stop()


def _authenticator(password: str) -> Callable[..., AuthResult]:
    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == (b"images", password.encode()), handled=False)

    return authenticate
