"""`imgpro-lite keys …`: API keys, from the operator's side. Works beside a running server."""

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import (
    date_text,
    open_library,
    print_table,
    require_database,
    settings_for_command,
    transaction,
)
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.errors import OperatorError, ValidationFailed
from imgpro_lite.models import Ability, ApiKey, Team
from imgpro_lite.plans import OWNER, PlanTable
from imgpro_lite.services import accounts
from imgpro_lite.store.data_dir import DATABASE_NAME, make_data_dir


@click.group()
def keys() -> None:
    """Create, list, revoke and verify API keys, also while the server runs."""


@keys.command()
@configuration_options
@click.option("--email", required=True, help="E-mail address of the key's owner.")
@click.option("--name", default=accounts.DEFAULT_KEY_NAME, show_default=True, help="Name of the key.")
@click.option("--plan", help=f"Plan of a new team. Default: {OWNER}, which has no limits.")
@click.option("--verified", is_flag=True, help="Take the address as confirmed: images are kept for good.")
@click.option("--read-only", is_flag=True, help="The key may read, but not upload or change anything.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(
    config_path: Path | None,
    data_dir: Path | None,
    email: str,
    name: str,
    plan: str | None,
    verified: bool,
    read_only: bool,
    as_json: bool,
) -> None:
    """Create a key. It is shown once."""
    settings = settings_for_command(config_path, data_dir)
    is_new = not (settings.data_dir / DATABASE_NAME).exists()
    data_dir = make_data_dir(settings.data_dir)
    with transaction(settings) as tx:
        try:
            new = accounts.operator_create_key(
                tx,
                PlanTable.from_settings(settings.plans),
                email=email,
                name=name,
                plan=plan,
                default_plan=OWNER,
                verified=verified,
                abilities=frozenset({Ability.READ}) if read_only else accounts.ALL_ABILITIES,
            )
        except ValidationFailed as failure:
            problems = "; ".join(f"--{field} {messages[0]}" for field, messages in failure.errors.items())
            raise OperatorError(problems) from None
    shown = {"key": new.secret, **_key_json(new.key, new.team)}
    if as_json:
        click.echo(json.dumps(shown))
        return
    click.echo(f"Key:     {new.secret}")
    click.echo(f"Key ID:  {new.key.key_id}")
    click.echo(f"Plan:    {new.team.plan}")
    click.echo(f"Library: {data_dir}" + (" (new; give --data-dir if you meant another)" if is_new else ""))
    retention = accounts.retention_days(settings, new.team)
    if retention is not None:
        days = "1 day" if retention == 1 else f"{retention} days"
        click.echo(f"Images:  kept {days}, until you run: imgpro-lite keys verify {new.key.key_id}")
    click.echo("This is the only time that the key is shown.")


@keys.command("list")
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List all keys, without their secrets."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        found = accounts.list_keys(conn)
    if as_json:
        click.echo(json.dumps([_key_json(key, team) for key, team in found]))
        return
    table = Table("Key ID", "E-mail", "Name", "Plan", "Verified", "Abilities", "Created", "Revoked", box=None)
    for key, team in found:
        shown = _key_json(key, team)
        table.add_row(
            key.key_id,
            team.email,
            key.name,
            team.plan,
            "yes" if team.verified else "no",
            ", ".join(shown["abilities"]),
            date_text(key.created_at),
            date_text(key.revoked_at) if key.revoked_at else "",
        )
    print_table(table)


@keys.command()
@configuration_options
@click.argument("key_id")
def revoke(config_path: Path | None, data_dir: Path | None, key_id: str) -> None:
    """End a key at once. Its team's images stay."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        accounts.operator_revoke_key(tx, key_id)
    click.echo(f"The key {key_id} is revoked.")


@keys.command()
@configuration_options
@click.argument("key_id")
def verify(config_path: Path | None, data_dir: Path | None, key_id: str) -> None:
    """Confirm a key's e-mail address without its mail: its images are kept for good."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        team = accounts.operator_verify_key(tx, key_id)
    click.echo(f"The key {key_id} belongs to the verified team of {team.email} now; its images are kept for good.")


def _key_json(key: ApiKey, team: Team) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "email": team.email,
        "name": key.name,
        "plan": team.plan,
        "verified": team.verified,
        "abilities": sorted(key.abilities),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }
