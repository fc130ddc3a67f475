"""A mail server that takes our mail (SMTP, RFC 5321), by aiosmtplib: one connection for each mail."""

import asyncio
import contextlib
import re
import ssl
from typing import cast

import aiosmtplib

from imgpro_lite import authorities
from imgpro_lite.mail.addresses import domain_of
from imgpro_lite.mail.sending import MailFailed, Message, RecipientRefused, ServerUnusable
from imgpro_lite.settings import MailSettings

QUIT_SECONDS = 5  # for saying goodbye; by then the mail is delivered
MAX_REASON_CHARS = 300  # of what a server says, for the log
TLS_PORT, SUBMISSION_PORT = 465, 587

_PERMANENT_CODE = 500  # and above (RFC 5321, 4.2.1)
_LOGIN_REQUIRED_CODE = 530  # RFC 4954, 6
_POLICY_STATUS = re.compile(r"5\.7\.\d+")  # "Relay access denied": it is about us, not about the recipient (RFC 3463)
_SERVER_ERRORS = (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError)


class SmtpServer:
    """The mail server of the settings."""

    def __init__(self, settings: MailSettings, our_name: str) -> None:
        """`our_name` is what we call ourselves to it."""
        self._settings = settings
        self._our_name = our_name

    async def send(self, message: Message) -> str:
        """Return when the server has taken the mail: that it is sent, and what the server said.

        Raises RecipientRefused, ServerUnusable, and MailFailed where it is about this mail alone.
        """
        client = aiosmtplib.SMTP(
            hostname=self._settings.host,
            port=self._settings.port,
            use_tls=self._settings.tls == "tls",
            start_tls=False,  # _connect does it, where it is wanted
            tls_context=self._trusting_context() if self._settings.tls != "none" else None,
            local_hostname=self._our_name,  # else it asks the DNS for one, which may take long
            timeout=self._settings.timeout_seconds,
        )
        try:
            await self._connect(client)
            return await self._transfer(client, message)
        finally:
            if client.transport is not None:
                # A polite close would wait for a server that hangs. It was told QUIT, if all went well.
                cast(asyncio.Transport, client.transport).abort()
            client.close()

    def _trusting_context(self) -> ssl.SSLContext:
        try:
            return authorities.trusting_context()
        except OSError as error:
            raise ServerUnusable(f"SSL_CERT_FILE: {_reason(error)}", "Name a file that can be read.") from error

    async def keep_tidy(self) -> None:
        """There is nothing to do."""

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Connect, protect the connection, log in. Whatever fails here fails for every mail."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await client.connect()
                if self._settings.tls == "starttls":
                    await client.starttls()
                if self._settings.username:
                    await client.login(self._settings.username, self._settings.password)
        except _SERVER_ERRORS as error:
            raise ServerUnusable(_reason(error), _advice(error, self._settings)) from error

    async def _transfer(self, client: aiosmtplib.SMTP, message: Message) -> str:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                options = [] if message.is_ascii else ["SMTPUTF8"]
                _, answer = await client.sendmail(
                    message.sender, [message.recipient], message.content, mail_options=options
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0], message.recipient) from error
        except aiosmtplib.SMTPSenderRefused as error:
            raise ServerUnusable(_reason(error), _advice(error, self._settings)) from error
        except aiosmtplib.SMTPNotSupported as error:
            raise RecipientRefused("the mail server takes no addresses with such characters (SMTPUTF8)") from error
        except _SERVER_ERRORS as error:
            raise MailFailed(_without(message.recipient, _reason(error))) from error
        with contextlib.suppress(*_SERVER_ERRORS):
            await client.execute_command(b"QUIT", timeout=QUIT_SECONDS)
        return _without(message.recipient, f"sent; the mail server said: 250 {_short(answer)}")


def _refusal(error: aiosmtplib.SMTPRecipientRefused, recipient: str) -> MailFailed:
    reason = _without(recipient, _reason(error))
    if error.code == _LOGIN_REQUIRED_CODE or _POLICY_STATUS.match(error.message):
        return MailFailed(reason, "The server does not let us send there: check [mail] username, password and from.")
    return RecipientRefused(reason) if error.code >= _PERMANENT_CODE else MailFailed(reason)


def _reason(error: BaseException) -> str:
    """What went wrong, in the words of the server if it said any."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _short(f"{error.code} {error.message}")
    if isinstance(error, TimeoutError) and not str(error):
        return "the mail server did not answer in time"
    return _short(str(error) or type(error).__name__)


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON_CHARS]


def _without(recipient: str, text: str) -> str:
    """Servers like to repeat the address, which is nobody's business in a log."""
    local_part = recipient.rpartition("@")[0]
    text = re.sub(re.escape(recipient), f"…@{domain_of(recipient)}", text, flags=re.IGNORECASE)
    return re.sub(rf"(?<!\w){re.escape(local_part)}(?!\w)", "…", text, flags=re.IGNORECASE)


def _advice(error: BaseException, settings: MailSettings) -> str:
    """What the operator should look at."""
    place = f"[mail] host ({settings.host}) and port ({settings.port})"
    if certificate := _find_cause(error, ssl.SSLCertVerificationError):
        if not authorities.has_authorities():
            return authorities.ADVICE
        return (
            f"The server's certificate is not good for {settings.host}: {certificate}. Set [mail] host to the name "
            "in it; for an authority of your own, name its file in the environment variable SSL_CERT_FILE."
        )
    if _find_cause(error, ssl.SSLError):
        return f'This port does not begin with TLS: set [mail] tls = "starttls", usual on port {SUBMISSION_PORT}.'
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return "Check [mail] username and password; many providers want an app password or an API key there."
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        return "Set [mail] from to an address that this account may send from."
    if settings.tls == "starttls" and settings.port == TLS_PORT:
        return f'Set [mail] tls = "tls": port {TLS_PORT} begins with TLS.'
    if isinstance(error, OSError):  # no connection, or none any more, or no answer in time
        return f"Check {place}, and that nothing on the way blocks the port."
    return f"Check {place}, tls, username and password against what your mail provider says."


def _find_cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """The first error of a kind among this one and those that led to it."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error
