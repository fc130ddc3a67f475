"""What it is to send a mail, and what may come of it.

MailFailed               this mail could not be sent now
├── RecipientRefused     … and never can be
└── ServerUnusable       … and neither could any other
"""

from dataclasses import dataclass
from typing import Protocol


class MailFailed(Exception):
    """The mail was not sent. `reason` is what the server said, `advice` what the operator should do, if anything."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


class RecipientRefused(MailFailed):
    """Mail to this address will never be taken."""


class ServerUnusable(MailFailed):
    """The mail server cannot be reached or does not let us in, so no mail can be sent."""


@dataclass(frozen=True)
class Message:
    """A whole mail, ready to be sent to one address."""

    kind: str
    sender: str
    recipient: str
    content: bytes

    @property
    def is_ascii(self) -> bool:
        """Whether every mail server understands the addresses; else it takes one with SMTPUTF8 (RFC 6531)."""
        return self.sender.isascii() and self.recipient.isascii()


class Sender(Protocol):
    """Something that takes mail."""

    async def send(self, message: Message) -> str:
        """Return when the mail is in safe hands: where that is, for the operator. Raises MailFailed, OSError."""

    async def keep_tidy(self) -> None:
        """Do what has to be done from time to time. Raises OSError."""
