"""`imgpro-lite mail …`: whether mail can be sent, and what waits to be."""

import asyncio
import json
import secrets
from pathlib import Path

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import (
    date_text,
    library_clock,
    open_library,
    print_table,
    require_database,
    settings_for_command,
)
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.errors import OperatorError
from imgpro_lite.mail.addresses import mail_domain, sender_address
from imgpro_lite.mail.composer import Composer
from imgpro_lite.mail.envelope import pack
from imgpro_lite.mail.senders import open_sender
from imgpro_lite.mail.sending import MailFailed, Message
from imgpro_lite.setting_types import check_email_address
from imgpro_lite.settings import Settings
from imgpro_lite.store.data_dir import make_data_dir
from imgpro_lite.store.mail_rows import QueuedMail, list_mail


@click.group()
def mail() -> None:
    """Try out how mail is sent, and list what waits, also while the server runs."""


@mail.command()
@configuration_options
@click.argument("address")
def test(config_path: Path | None, data_dir: Path | None, address: str) -> None:
    """Send a test mail now, with the settings in force, and print what the mail server says."""
    settings = settings_for_command(config_path, data_dir)
    message = _test_message(settings, address)
    click.echo(f"From {message.sender} to {message.recipient}, {_way(settings)}")
    directory = settings.data_dir if settings.mail.host else make_data_dir(settings.data_dir)
    try:
        result = asyncio.run(open_sender(settings, directory, library_clock(settings)).send(message))
    except (MailFailed, OSError) as error:
        advice = f"\n{error.advice}" if isinstance(error, MailFailed) and error.advice else ""
        raise OperatorError(f"The mail was not sent: {error}.{advice}") from error
    click.echo(f"The mail was {result}.")


def _way(settings: Settings) -> str:
    mail = settings.mail
    if not mail.host:
        return "by no mail server"
    login = f"logging in as {mail.username}" if mail.username else "without logging in"
    return f"by {mail.host} port {mail.port}, tls = {mail.tls}, {login}"


def _test_message(settings: Settings, address: str) -> Message:
    if not address:
        raise OperatorError("Say whom to send the mail to.")
    try:
        recipient = check_email_address(address)
    except ValueError as error:
        raise OperatorError(f"{address!r} {error}") from None
    return pack(
        "test",
        Composer(settings.public_url, settings.server.contact).test(),
        sender=sender_address(settings.mail.from_, settings.public_url),
        recipient=recipient,
        at=library_clock(settings).now(),
        message_id=f"{secrets.token_hex(16)}@{mail_domain(settings.public_url)}",
    )


@mail.command("list")
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List the mail that waits to be sent, the oldest first. The log says why it waits."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        waiting = list_mail(conn)
    if as_json:
        click.echo(json.dumps([_mail_json(one) for one in waiting]))
        return
    table = Table("Mail", "To", "Waits since", "Attempts", "Next attempt", box=None)
    for one in waiting:
        table.add_row(
            one.kind, one.recipient, date_text(one.created_at), str(one.attempts), date_text(one.next_attempt_at)
        )
    print_table(table)


def _mail_json(one: QueuedMail) -> dict[str, object]:
    return {
        "kind": one.kind,
        "to": one.recipient,
        "created_at": one.created_at,
        "attempts": one.attempts,
        "next_attempt_at": one.next_attempt_at,
    }
