"""Mail as its recipient would read it: what is in the files that it was written to."""

import email
import email.policy
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import Any

from imgpro_lite.mail.addresses import to_ascii_domain
from imgpro_lite.mail.outbox import kind_of

SUFFIX = ".eml"
MAX_KNOWN_MAILS = 1000  # of 10 KB each
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


class MailMemory:
    """Reads mail, and keeps the latest that it has read: a file never changes, and to parse one takes 3 ms."""

    def __init__(self) -> None:
        self._known: dict[str, Mail] = {}

    def read(self, names: Iterable[str], read_file: Callable[[str], bytes | None]) -> list[Mail]:
        """The mail in files of these names, but not of those that are gone."""
        known, found = self._known, dict[str, Mail]()
        for name in names:
            if name in known:
                found[name] = known[name]
            elif (content := read_file(name)) is not None:
                found[name] = parse_mail(name, content)
        self._known = dict(list(found.items())[-MAX_KNOWN_MAILS:])
        return list(found.values())


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
