"""Upgrade links: what their page says, and what its button does in each mode (decision 18)."""

import sqlite3
from dataclasses import dataclass
from urllib.parse import quote

from imgpro_lite import links
from imgpro_lite.errors import NotFound
from imgpro_lite.models import Team
from imgpro_lite.plans import Plan, PlanTable
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.store import account_rows, upgrade_rows
from imgpro_lite.store.sqlite_file import Tx

_NEW_LINK = "Take a new link from the next answer of the API that offers an upgrade."


@dataclass(frozen=True)
class Upgrade:
    """A team that is offered a larger plan."""

    team: Team
    current: Plan
    offered: Plan
    requested_at: int | None
    """When the operator was asked for it, in Unix seconds; None when nobody has."""

    @property
    def is_done(self) -> bool:
        """Whether the team's plan gives as much already. A link that is used again never takes anything away."""
        return not self.offered.gives_more_than(self.current)


async def get_upgrade(rt: Runtime, plan_name: str, token: str) -> Upgrade:
    """What an upgrade link is about. Raises InvalidLink, ExpiredLink, and NotFound for what is no longer on offer."""
    return await rt.db.read(_describe, rt.plans, _team_hash(rt, plan_name, token), plan_name)


async def accept(rt: Runtime, plan_name: str, token: str) -> Upgrade:
    """Do what [upgrade] mode says: put the team on the plan, or ask the operator to. In mode redirect, nothing.

    Doing it again changes nothing. Raises as above.
    """
    team_hash = _team_hash(rt, plan_name, token)
    match rt.settings.upgrade.mode:
        case "apply":
            return await rt.db.write(_apply, rt.plans, team_hash, plan_name)
        case "ask":
            return await rt.db.write(_ask, rt.plans, team_hash, plan_name, rt.settings.server.contact)
        case "redirect":
            return await rt.db.read(_describe, rt.plans, team_hash, plan_name)


def payment_url(rt: Runtime, upgrade: Upgrade) -> str | None:
    """Where an upgrade is paid for: the operator's address with the placeholders filled in. None in other modes.

    What is filled in is quoted, so that nothing in it can change the address.
    """
    if rt.settings.upgrade.mode != "redirect":
        return None
    values = {"plan": upgrade.offered.name, "team": upgrade.team.hash, "email": upgrade.team.email or ""}
    url = rt.settings.upgrade.url
    for name, value in values.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return url


def set_plan(tx: Tx, team_id: int, plan_name: str) -> None:
    """Put a team on a plan, which settles what it asked for."""
    account_rows.update_team_plan(tx.conn, team_id, plan_name)
    upgrade_rows.delete_upgrade_requests(tx.conn, team_id)


def _team_hash(rt: Runtime, plan_name: str, token: str) -> str:
    """Whom a link to a plan is for. Raises InvalidLink, also for a link to another plan, and ExpiredLink."""
    payload = rt.links.load(links.UPGRADE, token)
    if payload["plan"] != plan_name:
        raise links.InvalidLink
    return str(payload["team"])


def _describe(conn: sqlite3.Connection, plans: PlanTable, team_hash: str, plan_name: str) -> Upgrade:
    team = account_rows.find_team_by_hash(conn, team_hash)
    if team is None:
        raise NotFound(f"The account of this link has become a part of another account. {_NEW_LINK}")
    offered = plans.find(plan_name)
    if offered is None or not (offered.offered or team.plan == plan_name):
        raise NotFound(f"This plan is not on offer any more. {_NEW_LINK}")
    request = upgrade_rows.find_upgrade_request(conn, team.id, plan_name)
    return Upgrade(team, plans.get(team.plan), offered, request.requested_at if request else None)


def _apply(tx: Tx, plans: PlanTable, team_hash: str, plan_name: str) -> Upgrade:
    upgrade = _describe(tx.conn, plans, team_hash, plan_name)
    if not upgrade.is_done:
        set_plan(tx, upgrade.team.id, plan_name)
    return _describe(tx.conn, plans, team_hash, plan_name)


def _ask(tx: Tx, plans: PlanTable, team_hash: str, plan_name: str, contact: str) -> Upgrade:
    upgrade = _describe(tx.conn, plans, team_hash, plan_name)
    is_new = not upgrade.is_done and upgrade_rows.insert_upgrade_request(tx.conn, upgrade.team.id, plan_name, tx.now)
    if is_new and contact:
        mail.queue_upgrade_request(tx, contact, upgrade.team.id, plan_name)
    return _describe(tx.conn, plans, team_hash, plan_name)
