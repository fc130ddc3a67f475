"""`imgpro-lite teams …`: who has an account, on which plan, and who asks for another. Works beside a running server."""

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from imgpro_lite.cli.offline import (
    date_text,
    library_clock,
    open_library,
    print_table,
    require_database,
    settings_for_command,
    size_text,
    transaction,
)
from imgpro_lite.cli.options import configuration_options
from imgpro_lite.models import Team, TeamKind
from imgpro_lite.plans import PlanTable, month_ends_at, month_number
from imgpro_lite.services import teams as services
from imgpro_lite.services.teams import PlanChange
from imgpro_lite.settings import Settings
from imgpro_lite.store.team_rows import TeamSummary
from imgpro_lite.store.upgrade_rows import UpgradeRequest


@click.group()
def teams() -> None:
    """List teams, give them a plan, and see what they ask for, also while the server runs."""


@teams.command("list")
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List all teams: verified ones, and the space of each unverified key."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        found = [_team_json(settings, summary) for summary in services.list_teams(conn)]
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table("Team", "E-mail", "Kind", "Plan", "Images", "Storage", "Uploads", "Keys", "Created", box=None)
    for shown in found:
        table.add_row(
            shown["team"],
            shown["email"] or "(anonymous)",
            shown["kind"],
            shown["plan"] or "",
            str(shown["images"]),
            _of(size_text(shown["storage_bytes"]), shown["storage_limit_bytes"], size_text),
            _of(str(shown["uploads_used"]), shown["uploads_limit"], str),
            str(shown["keys"]),
            date_text(shown["created_at"]),
        )
    print_table(table)


@teams.command()
@configuration_options
@click.argument("team")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(config_path: Path | None, data_dir: Path | None, team: str, as_json: bool) -> None:
    """Show one team: TEAM is an e-mail address, or the five characters that its image addresses begin with."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        found = services.show_team(conn, team)
    shown = _team_json(settings, found.summary)
    shown["key_ids"] = [key.key_id for key in found.keys if key.revoked_at is None]
    shown["requests"] = [{"plan": asked.plan, "requested_at": asked.requested_at} for asked in found.requests]
    shown["other_spaces"] = [other.hash for other in found.others]
    if as_json:
        click.echo(json.dumps(shown))
        return
    lines = _lines(settings, shown)
    width = max(map(len, lines)) + 2
    for label, value in lines.items():
        click.echo(f"{label + ':':<{width}}{value}")


@teams.command("set-plan")
@configuration_options
@click.argument("team")
@click.argument("plan")
def set_plan(config_path: Path | None, data_dir: Path | None, team: str, plan: str) -> None:
    """Put TEAM, an e-mail address or a team's five characters, on a plan. It may be smaller than the one before."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        change = services.set_plan(tx, PlanTable.from_settings(settings.plans), team, plan)
        resets_at = month_ends_at(tx.now)
    for line in _told(change, resets_at):
        click.echo(line)


@teams.command("set-email")
@configuration_options
@click.argument("team")
@click.argument("address")
def set_email(config_path: Path | None, data_dir: Path | None, team: str, address: str) -> None:
    """Give TEAM, an e-mail address or a team's five characters, another e-mail ADDRESS. Its keys and images stay."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        changed = services.set_email(tx, team, address)
    click.echo(f"The team {changed.hash} has the address {changed.email} now.")


@teams.command()
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def requests(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """List what teams have asked for by upgrade links, oldest first. `teams set-plan` settles it."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with open_library(settings) as conn:
        found = services.list_requests(conn)
    if as_json:
        click.echo(json.dumps([_request_json(asked, team) for asked, team in found]))
        return
    table = Table("Team", "E-mail", "Plan", "Asks for", "Since", box=None)
    for asked, team in found:
        table.add_row(team.hash, team.email, team.plan, asked.plan, date_text(asked.requested_at))
    print_table(table)


@teams.command("set-registration")
@configuration_options
@click.argument("team")
@click.argument("state", metavar="open|closed", type=click.Choice(["open", "closed"]))
def set_registration(config_path: Path | None, data_dir: Path | None, team: str, state: str) -> None:
    """Let TEAM, an e-mail address or a team's five characters, have new keys through the API, or not."""
    settings = settings_for_command(config_path, data_dir)
    require_database(settings)
    with transaction(settings) as tx:
        changed = services.set_registration(tx, team, closed=state == "closed")
    if changed.registration_closed:
        click.echo(f"The team {_name(changed)} gets no new keys through the API. Those that it has still work.")
    else:
        click.echo(f"The team {_name(changed)} may have new keys through the API.")


def _lines(settings: Settings, shown: dict[str, Any]) -> dict[str, str]:
    """A team for people: values by label."""
    resets = date_text(month_ends_at(library_clock(settings).now()))
    lines = {
        "Team": shown["team"],
        "E-mail": shown["email"] or "(anonymous)",
        "Kind": shown["kind"],
        "Plan": shown["plan"] or "none",
        "Images": str(shown["images"]),
        "Storage": _of(size_text(shown["storage_bytes"]), shown["storage_limit_bytes"], size_text),
        "Uploads": f"{_of(str(shown['uploads_used']), shown['uploads_limit'], str)} this month, until {resets} (UTC)",
        "Keys": ", ".join(shown["key_ids"]) or "none",
        "New keys": "not through the API" if shown["registration_closed"] else "allowed",
        "Created": date_text(shown["created_at"]),
    }
    for asked in shown["requests"]:
        lines[f"Asks for {asked['plan']}"] = f"since {date_text(asked['requested_at'])}"
    if shown["other_spaces"]:
        lines["Unverified"] = f"other spaces with this address: {', '.join(shown['other_spaces'])}"
    return lines


def _told(change: PlanChange, resets_at: int) -> list[str]:
    """What a plan means for its team, in words."""
    team, plan = change.team, change.plan
    again = " already" if change.before == plan.name else f" now, instead of {change.before!r}"
    lines = [f"The team {_name(team)} is on the plan {plan.name!r}{again}."]
    lines += [f"Its request for {asked!r} is settled." for asked in change.settled]
    if change.is_out_of_storage:
        stored = _of(size_text(team.storage_bytes), plan.storage_limit_bytes, size_text)
        lines.append(f"It stores {stored}: its images stay, but it cannot upload until it has deleted some.")
    if change.is_out_of_uploads:
        uploads = _of(str(change.uploads_used), plan.uploads_limit, str)
        lines.append(f"It has made {uploads} uploads this month: it cannot upload before {date_text(resets_at)} (UTC).")
    return lines


def _name(team: Team) -> str:
    return f"{team.hash} of {team.email}"


def _of(used: str, limit: int | None, text: Any) -> str:
    """`42 of 100`, or only `42` where there is no limit."""
    return used if limit is None else f"{used} of {text(limit)}"


def _team_json(settings: Settings, summary: TeamSummary) -> dict[str, Any]:
    team = summary.team
    is_anonymous = team.kind is TeamKind.ANONYMOUS
    plan = PlanTable.from_settings(settings.plans).get(team.plan)
    return {
        "team": team.hash,
        "email": team.email,
        "kind": team.kind,
        "plan": None if is_anonymous else team.plan,
        "images": summary.images,
        "storage_bytes": team.storage_bytes,
        "storage_limit_bytes": None if is_anonymous else plan.storage_limit_bytes,
        "uploads_used": team.uploads_used_in(month_number(library_clock(settings).now())),
        "uploads_limit": None if is_anonymous else plan.uploads_limit,
        "keys": summary.keys,
        "registration_closed": team.registration_closed,
        "created_at": summary.created_at,
    }


def _request_json(asked: UpgradeRequest, team: Team) -> dict[str, Any]:
    return {
        "team": team.hash,
        "email": team.email,
        "plan": team.plan,
        "requested_plan": asked.plan,
        "requested_at": asked.requested_at,
    }
