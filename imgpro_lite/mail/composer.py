"""What mails say: subject, text and HTML, from the templates beside this file.

Nothing in them is chosen by a stranger but an e-mail address and the IP address of a request: the name of a key, for
example, could be a sentence with a link, and we would be mailing it to somebody who never asked for anything.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from imgpro_lite.links import LINK_SECONDS, SIGN_IN_SECONDS
from imgpro_lite.settings import SECONDS_PER_DAY

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class KeyNotice:
    """A key as its address is told about it. Times are Unix seconds."""

    key_id: str
    created_at: int
    created_from: str | None
    """The IP address that asked for it; None when the operator made it."""
    verify_url: str


@dataclass(frozen=True)
class Letter:
    """What a mail says, as text and as HTML."""

    subject: str
    text: str
    html: str


class Composer:
    """Writes every kind of mail for one server."""

    def __init__(self, public_url: str, contact: str) -> None:
        self._common = {"site": public_url.partition("://")[2], "site_url": public_url, "contact": contact}

    def verification(self, keys: Sequence[KeyNotice], team_images: int | None, retention_days: int) -> Letter:
        """Links to confirm keys or to revoke them. `team_images` is None where the address has no team yet."""
        return self._write(
            "verify",
            f"Confirm your API {'key' if len(keys) == 1 else 'keys'} for {self._common['site']}",
            keys=keys,
            team_images=team_images,
            retention_days=retention_days,
            link_days=LINK_SECONDS // SECONDS_PER_DAY,
        )

    def joined(self, key_id: str, images: int, *, revoked: bool) -> Letter:
        """A key, and so many images with it, now belong to the address's team."""
        subject = f"An API key joined your account at {self._common['site']}"
        return self._write("joined", subject, key_id=key_id, images=images, revoked=revoked)

    def upgrade_request(self, team_hash: str, email: str, current_plan: str, plan: str) -> Letter:
        """To the operator: a team asks for a plan."""
        subject = f"Plan {plan} requested at {self._common['site']}"
        return self._write(
            "upgrade_request", subject, team_hash=team_hash, email=email, current_plan=current_plan, plan=plan
        )

    def sign_in(self, url: str, asked_from: str) -> Letter:
        """A link that signs in. `asked_from` is the IP address that wants it."""
        subject = f"Sign in to {self._common['site']}"
        minutes = SIGN_IN_SECONDS // SECONDS_PER_MINUTE
        return self._write("sign_in", subject, url=url, asked_from=asked_from, link_minutes=minutes)

    def test(self) -> Letter:
        """To the operator: mail works."""
        return self._write("test", f"Test mail from {self._common['site']}")

    def _write(self, name: str, subject: str, **values: Any) -> Letter:
        values |= self._common | {"subject": subject}
        text, html = (_templates().get_template(f"{name}.{kind}").render(values) for kind in ("txt", "html"))
        return Letter(subject, text, html)


@functools.cache
def _templates() -> Environment:
    """The templates. They are read and compiled once: they are part of the program."""
    environment = Environment(
        loader=PackageLoader("imgpro_lite.mail"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["utc"] = _utc
    return environment


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
