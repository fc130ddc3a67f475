"""`imgpro-lite secrets …`: what signs links. Works beside a running server."""

from pathlib import Path

import rich_click as click

from imgpro_lite.cli.offline import (
    date_text,
    require_database,
    settings_for_command,
    transaction,
    wait_until_noticed,
)
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.links import LINK_SECONDS
from imgpro_lite.store.data_dir import rotate_secrets


@click.group()
def secrets() -> None:
    """Replace the secret that signs links, also while the server runs."""


@secrets.command()
@configuration_options
@click.option("--forget-old", is_flag=True, help="Links that were given out before end at once: a secret has leaked.")
def rotate(config_path: Path | None, data_dir: Path | None, forget_old: bool) -> None:
    """Sign links with a new secret from now on. Links that were given out before stay good until they end."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        rotate_secrets(settings.data_dir, tx.now, forget_old=forget_old)
        last_end_at = tx.now + LINK_SECONDS
    wait_until_noticed(settings)
    if forget_old:
        click.echo("A new secret signs links from now on. Links that were given out before are no longer good.")
        return
    until = date_text(last_end_at)
    click.echo(f"A new secret signs links from now on. The old one still verifies, until {until} (UTC).")
