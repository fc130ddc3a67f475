"""What the operator does with teams: list and show them, give them a plan, close them. Beside a server or alone."""

import sqlite3
from dataclasses import dataclass

from imgpro_lite.errors import OperatorError
from imgpro_lite.fields import check_email, is_text
from imgpro_lite.models import ApiKey, Team, TeamKind
from imgpro_lite.plans import Plan, PlanTable, month_number
from imgpro_lite.services import upgrades
from imgpro_lite.services.accounts import refuse_unknown_plan
from imgpro_lite.store import account_rows, team_rows, upgrade_rows
from imgpro_lite.store.sqlite_file import Tx
from imgpro_lite.store.team_rows import TeamSummary
from imgpro_lite.store.upgrade_rows import UpgradeRequest


@dataclass(frozen=True)
class Shown:
    """One team with all that there is to say about it."""

    summary: TeamSummary
    keys: list[ApiKey]
    requests: list[UpgradeRequest]
    others: list[Team]
    """Unverified spaces with the same address, each of a key that nobody has confirmed."""


@dataclass(frozen=True)
class PlanChange:
    """A team that was given a plan, and what it means for its uploads from now on."""

    team: Team
    plan: Plan
    before: str
    settled: list[str]
    """The plans that it had asked for."""
    uploads_used: int

    @property
    def is_out_of_uploads(self) -> bool:
        """Whether the month's uploads are used up."""
        return self.plan.uploads_limit is not None and self.uploads_used >= self.plan.uploads_limit

    @property
    def is_out_of_storage(self) -> bool:
        """Whether not even the smallest image has room."""
        limit_bytes = self.plan.storage_limit_bytes
        return limit_bytes is not None and self.team.storage_bytes >= limit_bytes


def list_teams(conn: sqlite3.Connection) -> list[TeamSummary]:
    """Every team, oldest first; the first is the one that owns what is uploaded without a key."""
    return team_rows.list_teams(conn)


def list_requests(conn: sqlite3.Connection) -> list[tuple[UpgradeRequest, Team]]:
    """What teams have asked for, the oldest first."""
    found = upgrade_rows.list_upgrade_requests(conn)
    return [(request, account_rows.get_team(conn, request.team_id)) for request in found]


def show_team(conn: sqlite3.Connection, name: str) -> Shown:
    """The team of an address or a hash. Raises OperatorError."""
    summary = _get_team(conn, name)
    team = summary.team
    same_address = team_rows.list_teams_named(conn, team.email) if team.email else []
    return Shown(
        summary=summary,
        keys=[key for key, owner in account_rows.list_api_keys(conn) if owner.id == team.id],
        requests=[asked for asked in upgrade_rows.list_upgrade_requests(conn) if asked.team_id == team.id],
        others=[other.team for other in same_address if other.team.id != team.id and not other.team.verified],
    )


def set_plan(tx: Tx, plans: PlanTable, name: str, plan: str) -> PlanChange:
    """Put the team of an address or a hash on a plan, also a smaller one. Raises OperatorError."""
    team = _get_owned_team(tx.conn, name)
    refuse_unknown_plan(plans, plan)
    asked = [asked.plan for asked in upgrade_rows.list_upgrade_requests(tx.conn) if asked.team_id == team.id]
    upgrades.set_plan(tx, team.id, plan)
    return PlanChange(
        team=account_rows.get_team(tx.conn, team.id),
        plan=plans.get(plan),
        before=team.plan,
        settled=asked,
        uploads_used=team.uploads_used_in(month_number(tx.now)),
    )


def set_email(tx: Tx, name: str, address: str) -> Team:
    """Give the team of an address or a hash another address, which counts as confirmed where its own did. Raises
    OperatorError."""
    team = _get_owned_team(tx.conn, name)
    try:
        email = check_email(address)
    except ValueError as error:
        raise OperatorError(f"ADDRESS {error}.") from error
    other = account_rows.find_verified_team(tx.conn, email)
    if team.verified and other is not None and other.id != team.id:
        raise OperatorError(f"The team {other.hash} has the address {email} already, and only one can. Choose another.")
    team_rows.update_email(tx.conn, team.id, email)
    return account_rows.get_team(tx.conn, team.id)


def set_registration(tx: Tx, name: str, *, closed: bool) -> Team:
    """Let the team of an address or a hash have new keys through the API, or not. Raises OperatorError."""
    team = _get_owned_team(tx.conn, name)
    team_rows.update_registration(tx.conn, team.id, closed=closed)
    return account_rows.get_team(tx.conn, team.id)


def _get_owned_team(conn: sqlite3.Connection, name: str) -> Team:
    """A team that somebody has a key of."""
    team = _get_team(conn, name).team
    if team.kind is TeamKind.ANONYMOUS:
        raise OperatorError("This is the team of what is uploaded without a key; [anonymous] in imgpro.toml is for it.")
    return team


def _get_team(conn: sqlite3.Connection, name: str) -> TeamSummary:
    """The one team that is meant: with an address its verified team, else its only space."""
    found = team_rows.list_teams_named(conn, name.strip().lower()) if is_text(name) else []
    if not found:
        raise OperatorError(f"There is no team {name!r}. `imgpro-lite teams list` shows them.")
    verified = [summary for summary in found if summary.team.verified]
    candidates = verified or found
    if len(candidates) > 1:
        spaces = ", ".join(f"{summary.team.hash} ({summary.images} images)" for summary in candidates)
        raise OperatorError(
            f"Nobody has confirmed {name.strip()} yet, and {len(candidates)} unverified spaces have it: {spaces}. "
            "Name the one that you mean."
        )
    return candidates[0]
