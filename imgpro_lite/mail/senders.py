"""Which way mail goes: to the server of the settings, or without one into files."""

from pathlib import Path

from imgpro_lite.clock import Clock
from imgpro_lite.links import LINK_SECONDS
from imgpro_lite.mail.addresses import mail_domain
from imgpro_lite.mail.outbox import Outbox
from imgpro_lite.mail.sending import Sender
from imgpro_lite.mail.smtp import SmtpServer
from imgpro_lite.settings import Settings

OUTBOX_NAME = "outbox"


def open_sender(settings: Settings, data_dir: Path, clock: Clock, *, is_dev: bool = False) -> Sender:
    """What takes the mail. Nothing is connected or written yet. `is_dev`: the clock may jump, so files stay."""
    if settings.mail.host:
        return SmtpServer(settings.mail, mail_domain(settings.public_url))
    directory = data_dir / OUTBOX_NAME
    if is_dev:
        return Outbox(directory, clock, keep_seconds=None, reason="as always in dev mode")
    # A file is of no use for longer than the links in it.
    return Outbox(directory, clock, keep_seconds=LINK_SECONDS, reason="because [mail] host is not set")
