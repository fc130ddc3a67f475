"""Upgrade links: what their page says, and what its button does in each mode (decision 18)."""

from dataclasses import dataclass
from urllib.parse import quote

from imgpro_lite import links
from imgpro_lite.errors import NotFound
from imgpro_lite.models import Team
from imgpro_lite.plans import Plan
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.store import account_rows, upgrade_rows
from imgpro_lite.store.sqlite_file import Tx


@dataclass(frozen=True)
class Upgrade:
    """A team that is offered a larger plan."""

    team: Team
    current: Plan
    offered: Plan

    @property
    def is_done(self) -> bool:
        """Whether the team has that plan already."""
        return self.team.plan == self.offered.name


@dataclass(frozen=True)
class Outcome:
    """What the button has done: the plan is in force, or was asked for, or is to be paid for at `redirect_url`."""

    upgrade: Upgrade
    redirect_url: str | None = None


async def get_upgrade(rt: Runtime, plan_name: str, token: str) -> Upgrade:
    """What an upgrade link is about. Raises InvalidLink, ExpiredLink, and NotFound for what is no longer on offer."""
    payload = rt.links.load(links.UPGRADE, token)
    if payload["plan"] != plan_name:
        raise links.InvalidLink
    team = await rt.db.read(account_rows.find_team, payload["team"])
    offered = rt.plans.find(plan_name)
    if team is None or offered is None or not (offered.offered or team.plan == plan_name):
        raise NotFound("This plan is not on offer any more, or not for this account.")
    return Upgrade(team, rt.plans.get(team.plan), offered)


async def accept(rt: Runtime, plan_name: str, token: str) -> Outcome:
    """Do what [upgrade] mode says. Doing it again changes nothing. Raises as above."""
    upgrade = await get_upgrade(rt, plan_name, token)
    if upgrade.is_done:
        return Outcome(upgrade)
    match rt.settings.upgrade.mode:
        case "apply":
            await rt.db.write(set_plan, upgrade.team.id, plan_name)
        case "redirect":
            return Outcome(upgrade, redirect_url=_payment_url(rt.settings.upgrade.url, upgrade))
        case "ask":
            await rt.db.write(_ask, rt.settings.server.contact, upgrade.team.id, plan_name)
    return Outcome(await get_upgrade(rt, plan_name, token))


def set_plan(tx: Tx, team_id: int, plan_name: str) -> None:
    """Put a team on a plan, which settles what it asked for."""
    account_rows.update_team_plan(tx.conn, team_id, plan_name)
    upgrade_rows.delete_upgrade_requests(tx.conn, team_id)


def _ask(tx: Tx, contact: str, team_id: int, plan_name: str) -> None:
    if upgrade_rows.insert_upgrade_request(tx.conn, team_id, plan_name, tx.now) and contact:
        mail.queue_upgrade_request(tx, contact, team_id, plan_name)


def _payment_url(template: str, upgrade: Upgrade) -> str:
    """The operator's address with the placeholders filled in, so that nothing in them can change the address."""
    values = {"plan": upgrade.offered.name, "team": upgrade.team.hash, "email": upgrade.team.email or ""}
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template
