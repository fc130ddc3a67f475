"""Teams with their keys, and changes to them that no key is needed for: what a server for tests lets its owner do."""

import sqlite3
from dataclasses import dataclass

from imgpro_lite import ids
from imgpro_lite.errors import NotFound, ValidationFailed
from imgpro_lite.models import Ability, ApiKey, Team, TeamKind
from imgpro_lite.plans import PlanTable, month_number
from imgpro_lite.services import upgrades
from imgpro_lite.services.accounts import FREE, NewKey, operator_create_key
from imgpro_lite.services.verification import join_announced
from imgpro_lite.store import account_rows, team_rows
from imgpro_lite.store.sqlite_file import Tx


@dataclass(frozen=True)
class TeamAndKeys:
    """A team with its keys in force, without those of sessions on the pages."""

    team: Team
    keys: list[ApiKey]


@dataclass(frozen=True)
class TeamChange:
    """What to change of a team. None leaves it as it is."""

    plan: str | None = None
    verified: bool | None = None
    uploads_used: int | None = None
    """The uploads of this month."""
    registration_closed: bool | None = None


@dataclass(frozen=True)
class WantedKey:
    """A key to make."""

    email: str
    name: str
    plan: str | None
    """None is that of the address's team, else `free`."""
    verified: bool
    abilities: frozenset[Ability]
    secret: str | None
    """The key itself; None leaves it to chance."""


def list_teams_and_keys(conn: sqlite3.Connection) -> list[TeamAndKeys]:
    """Every team that somebody has or had a key of, oldest first."""
    keys: dict[int, list[ApiKey]] = {}
    for key, team in account_rows.list_api_keys(conn):
        if key.revoked_at is None and key.session_ends_at is None:
            keys.setdefault(team.id, []).append(key)
    teams = [summary.team for summary in team_rows.list_teams(conn)]
    return [TeamAndKeys(team, keys.get(team.id, [])) for team in teams if team.kind is not TeamKind.ANONYMOUS]


def change_team(tx: Tx, name: str, change: TeamChange) -> TeamAndKeys:
    """Change the team of a hash, an address or a key_id: the team, which may be another after it was verified.

    Raises NotFound, and ValidationFailed for what cannot be and for an address that several teams have.
    """
    team = _get_team(tx.conn, name)
    if change.verified is not None and change.verified != team.verified:
        team = _verify(tx, team, verified=change.verified)
    if change.plan is not None:
        upgrades.set_plan(tx, team.id, change.plan)
    if change.uploads_used is not None:
        account_rows.replace_team_uploads(tx.conn, team.id, month_number(tx.now), change.uploads_used)
    if change.registration_closed is not None:
        team_rows.update_registration(tx.conn, team.id, closed=change.registration_closed)
    return TeamAndKeys(account_rows.get_team(tx.conn, team.id), _list_keys(tx, team))


def insert_wanted_key(tx: Tx, plans: PlanTable, wanted: WantedKey) -> NewKey:
    """A key in a space of its own or, with `verified`, in the address's team. Raises ValidationFailed."""
    if wanted.secret is not None and account_rows.has_api_key(tx.conn, ids.api_key_sha256(wanted.secret)):
        raise ValidationFailed({"key": ["is that of another key, or of one that was revoked"]})
    team = account_rows.find_verified_team(tx.conn, wanted.email) if wanted.verified else None
    if team is not None and wanted.plan not in (None, team.plan):
        raise ValidationFailed({"plan": [f"the address's team is on the plan {team.plan}; leave it out, or change it"]})
    return operator_create_key(
        tx,
        plans,
        email=wanted.email,
        name=wanted.name,
        plan=wanted.plan,
        default_plan=FREE,
        verified=wanted.verified,
        abilities=wanted.abilities,
        secret=wanted.secret,
    )


def _get_team(conn: sqlite3.Connection, name: str) -> Team:
    by_key = account_rows.find_api_key(conn, name)
    if by_key is not None:
        return by_key[1]
    named = [summary.team for summary in team_rows.list_teams_named(conn, name.strip().lower())]
    found = [team for team in named if team.kind is not TeamKind.ANONYMOUS]
    candidates = [team for team in found if team.verified] or found
    if not candidates:
        raise NotFound("There is no such team. Name it by its hash, its e-mail address or a key_id.")
    if len(candidates) > 1:
        hashes = ", ".join(team.hash for team in candidates)
        raise ValidationFailed({"team": [f"is not the only one of this address, which nobody has confirmed: {hashes}"]})
    return candidates[0]


def _verify(tx: Tx, team: Team, *, verified: bool) -> Team:
    """What the link in the mail does."""
    if not verified:
        raise ValidationFailed({"verified": ["cannot be taken back; make a new key instead"]})
    keys = _list_keys(tx, team)
    if not keys:
        raise ValidationFailed({"verified": ["needs a key, and those of this team were revoked"]})
    return join_announced(tx, team, keys[0].key_id)


def _list_keys(tx: Tx, team: Team) -> list[ApiKey]:
    return [key for key in account_rows.list_team_keys(tx.conn, team.id, tx.now) if key.session_ends_at is None]
