"""A letter as the bytes that mail servers pass on."""

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from imgpro_lite.mail.addresses import header_address
from imgpro_lite.mail.composer import Letter
from imgpro_lite.mail.sending import Message

# RFC 5322, 2.1.1, without the line break. Shorter lines would fold a long address in the middle (measured).
MAX_LINE_CHARS = 998


def pack(kind: str, letter: Letter, *, sender: Address, recipient: str, at: int, message_id: str) -> Message:
    """The mail to one address, dated `at` in Unix seconds. Raises ValueError for what is no address."""
    to = header_address(recipient)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(at, UTC))
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"  # so that no holiday notice answers it (RFC 3834)
    message.set_content(letter.text, cte=_encoding(letter.text))
    message.add_alternative(letter.html, subtype="html", cte=_encoding(letter.html))
    policy = SMTP.clone(max_line_length=MAX_LINE_CHARS, utf8=not (to.addr_spec + sender.addr_spec).isascii())
    return Message(kind, sender.addr_spec, to.addr_spec, message.as_bytes(policy=policy))


def _encoding(text: str) -> str:
    """As it is wherever possible: a link in outbox/*.eml can then be copied from the file."""
    plain = text.isascii() and max(map(len, text.splitlines())) <= MAX_LINE_CHARS
    return "7bit" if plain else "quoted-printable"
