"""The mail of dev mode, read back from the files that it was written to."""

import asyncio
import email
import email.policy
import re
import time
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import Any

from starlette.requests import Request

from imgpro_lite.dev.control import Control, control
from imgpro_lite.mail.addresses import to_ascii_domain
from imgpro_lite.mail.outbox import Outbox, kind_of
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.delivery import deliver_due
from imgpro_lite.web.requests import runtime

SUFFIX = ".eml"
_URL = re.compile(r"https?://[^\s<>\"]+")
_AFTER_URL = ".,:;!?)'"  # what ends a sentence rather than an address


@dataclass(frozen=True)
class Mail:
    """A mail as its recipient would read it."""

    id: str
    """The name of its file without `.eml`."""
    at: int
    """When it was written, in Unix seconds of the server's clock."""
    sender: str
    to: str
    subject: str
    kind: str
    text: str
    html: str
    links: tuple[str, ...]
    """Every address in it, each once."""

    def as_json(self) -> dict[str, Any]:
        """The mail as the control plane shows it."""
        shown = asdict(self)
        return {"id": shown.pop("id"), "at": shown.pop("at"), "from": shown.pop("sender"), **shown}


@dataclass(frozen=True)
class MailFilter:
    """Which mail is meant. None is any."""

    to: str | None = None
    subject: str | None = None
    """What the subject contains, in capitals or not."""
    kind: str | None = None
    after: str | None = None
    """An id: only mail that came after that one."""

    def select(self, mails: list[Mail]) -> list[Mail]:
        """Those that are meant, in their order."""
        return [mail for mail in mails[self._begin(mails) :] if self._fits(mail)]

    def _begin(self, mails: list[Mail]) -> int:
        return next((number for number, mail in enumerate(mails, 1) if mail.id == self.after), 0)

    def _fits(self, mail: Mail) -> bool:
        return (
            (self.to is None or mail.to.lower() == to_ascii_domain(self.to.strip().lower()))
            and (self.subject is None or self.subject.lower() in mail.subject.lower())
            and (self.kind is None or mail.kind == self.kind)
        )


class Mailbox:
    """All mail of a server in dev mode. What is queued is delivered before anybody looks, so nobody has to wait for
    the mail of a request that was answered."""

    def __init__(self, rt: Runtime, control: Control) -> None:
        assert isinstance(rt.mail.sender, Outbox)  # no server in dev mode has another
        self._rt = rt
        self._control = control
        self._outbox = rt.mail.sender

    async def list_mails(self) -> list[Mail]:
        """All of it, the newest last. Waits while the library is put back."""
        async with self._control.traffic.request():
            await deliver_due(self._rt)
            return await asyncio.to_thread(self._read_all)

    def _read_all(self) -> list[Mail]:
        contents = [(name, self._outbox.read(name)) for name in self._outbox.list_names()]
        return [parse_mail(name, content) for name, content in contents if content is not None]

    async def wait_for(self, wanted: MailFilter, seconds: float) -> tuple[list[Mail], list[Mail]]:
        """Return as soon as some mail is meant, or when so many seconds of real time are over: what is meant, and all
        that is there."""
        ends_at = time.monotonic() + seconds
        while True:
            arrival = self._outbox.next_arrival
            mails = await self.list_mails()
            found = wanted.select(mails)
            left_seconds = ends_at - time.monotonic()
            if found or left_seconds <= 0:
                return found, mails
            try:
                async with asyncio.timeout(left_seconds):
                    await arrival.wait()
            except TimeoutError:
                continue  # and look once more

    async def find_raw(self, mail_id: str) -> bytes | None:
        """A mail as it was sent; None when there is none of that id."""
        async with self._control.traffic.request():
            await deliver_due(self._rt)
            return await asyncio.to_thread(self._outbox.read, mail_id + SUFFIX)

    async def find_mail(self, mail_id: str) -> Mail | None:
        """One mail; None when there is none of that id."""
        content = await self.find_raw(mail_id)
        return None if content is None else parse_mail(mail_id + SUFFIX, content)

    async def remove_all(self) -> None:
        """Empty it, of what is still queued too. Inside of a request that is counted."""
        await deliver_due(self._rt)
        await asyncio.to_thread(lambda: self._outbox.remove(self._outbox.list_names()))

    async def remove(self, mail_id: str) -> bool:
        """Remove one. False when there is none of that id. Inside of a request that is counted."""
        name = mail_id + SUFFIX
        if await asyncio.to_thread(self._outbox.read, name) is None:
            return False
        await asyncio.to_thread(self._outbox.remove, [name])
        return True


def mailbox(request: Request) -> Mailbox:
    """The mail of the server that a request is for."""
    return Mailbox(runtime(request), control(request))


def parse_mail(name: str, content: bytes) -> Mail:
    """The mail in a file of this name."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    text, html = (_body(message, kind) for kind in ("plain", "html"))
    return Mail(
        id=name.removesuffix(SUFFIX),
        at=int(message["Date"].datetime.timestamp()),
        sender=str(message["From"]),
        to=message["To"].addresses[0].addr_spec,
        subject=str(message["Subject"]),
        kind=kind_of(name),
        text=text,
        html=html,
        links=tuple(dict.fromkeys([*_links_of_text(text), *_links_of_html(html)])),
    )


def _body(message: Any, kind: str) -> str:
    part = message.get_body([kind])
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


def _links_of_text(text: str) -> list[str]:
    return [url.rstrip(_AFTER_URL) for url in _URL.findall(text)]


def _links_of_html(html: str) -> list[str]:
    parser = _LinkParser()
    parser.feed(html)
    return parser.links


class _LinkParser(HTMLParser):
    """Collects where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") or ""
        if tag == "a" and _URL.match(href):
            self.links.append(href)
