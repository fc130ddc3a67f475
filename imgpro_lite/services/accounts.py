"""Keys and teams: who a caller is, new keys, and what the operator does with them."""

import sqlite3
from dataclasses import dataclass

from imgpro_lite import ids
from imgpro_lite.bodies import KeyFields, parse
from imgpro_lite.errors import (
    Action,
    Forbidden,
    KeyLimitReached,
    OperatorError,
    RegistrationClosed,
    Unauthorized,
)
from imgpro_lite.fields import is_text
from imgpro_lite.models import ANONYMOUS_TEAM_ID, Ability, ApiKey, Caller, Team, TeamKind
from imgpro_lite.plans import OWNER, Plan, PlanTable
from imgpro_lite.rate_windows import HOUR_SECONDS, MINUTE_SECONDS, RateLimit, refuse_exceeded
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.services.limits import verify_action
from imgpro_lite.settings import BYTES_PER_MB, SECONDS_PER_DAY, Settings
from imgpro_lite.store import account_rows, media_rows
from imgpro_lite.store.sqlite_file import Tx

DEFAULT_KEY_NAME = "Default"
FREE = "free"  # the plan of every key made through the API (decision 15)
ALL_ABILITIES = frozenset(Ability)


@dataclass(frozen=True)
class NewKey:
    """A key just made. `secret` is shown this once and stored nowhere."""

    secret: str
    key: ApiKey
    team: Team


async def identify(rt: Runtime, bearer: str | None, address: str) -> Caller:
    """Who sends a request: the team of its key, or an address without one. Raises Unauthorized."""
    if bearer is None:
        team = await rt.db.read(account_rows.get_team, ANONYMOUS_TEAM_ID)
        return Caller(team, None, address)
    found = await rt.db.read(account_rows.find_key_and_team, ids.api_key_sha256(bearer))
    if found is None:
        raise Unauthorized
    key, team = found
    return Caller(team, key, address)


def get_current_team(tx: Tx, caller: Caller) -> Team:
    """The caller's team as it is in this transaction. Raises Unauthorized when the key was revoked meanwhile.

    A long upload may begin in an unverified space and end in the verified team that the space was joined to.
    """
    if caller.key is None:
        return account_rows.get_team(tx.conn, ANONYMOUS_TEAM_ID)
    found = account_rows.find_api_key(tx.conn, caller.key.key_id)
    if found is None or found[0].revoked_at is not None:
        raise Unauthorized
    return found[1]


def authorize(rt: Runtime, caller: Caller, ability: Ability) -> None:
    """Let a caller pass who may do this. Raises RateLimited, and Forbidden when the key lacks the ability."""
    key = caller.key
    if key is None:
        return
    if ability not in key.abilities:
        raise Forbidden
    now = rt.clock.now()
    limit = RateLimit("requests_per_key", rt.settings.limits.requests_per_key_per_minute, MINUTE_SECONDS)
    refuse_exceeded([rt.rate_windows.charge(limit, key.key_id, now)], now, "requests with this key")


def charge_key_attempt(rt: Runtime, caller: Caller) -> None:
    """Count an attempt to make a key, whatever becomes of it. Raises RateLimited."""
    now = rt.clock.now()
    limit = RateLimit("keys_per_ip", rt.settings.limits.keys_per_ip_per_hour, HOUR_SECONDS)
    refuse_exceeded([rt.rate_windows.charge(limit, caller.address, now)], now, "new keys from your address")


async def create_key(rt: Runtime, caller: Caller, fields: KeyFields) -> NewKey:
    """A new key: in a space of its own, or, for a caller with a key, in the caller's team (decisions 6 and 7). It may
    do what its maker may, and no more; one that is the first of its team may do everything.

    Raises RateLimited, RegistrationClosed, ValidationFailed, KeyLimitReached.
    """
    if caller.anonymous and rt.settings.server.registration_closed:
        raise registration_closed(rt)
    email = fields.email or caller.team.email
    assert email is not None  # email_problems() has seen to it
    now = rt.clock.now()
    # Whose address is confirmed is counted apart, or strangers could use up an owner's attempts by naming the address.
    subject = f"team {caller.team.hash}" if caller.team.verified else email
    window = rt.rate_windows.charge(keys_per_email(rt.settings), subject, now)
    refuse_exceeded([window], now, "new keys for this e-mail address")
    return await rt.db.write(_insert_key, rt, caller, email, fields.name or DEFAULT_KEY_NAME)


def keys_per_email(settings: Settings) -> RateLimit:
    """How often an address may get a key, or mail about one."""
    return RateLimit("keys_per_email", settings.limits.keys_per_email_per_hour, HOUR_SECONDS)


def email_problems(caller: Caller, email: object) -> dict[str, list[str]]:
    """What is wrong with leaving the address out, or with naming another than the caller's own."""
    if caller.anonymous:
        return {"email": ["is required"]} if email is None else {}
    if isinstance(email, str) and email.strip().lower() != caller.team.email:
        return {"email": ["must be the address of this key's account, or left out"]}
    return {}


def _insert_key(tx: Tx, rt: Runtime, caller: Caller, email: str, name: str) -> NewKey:
    own = None if caller.anonymous else get_current_team(tx, caller)
    team = own or account_rows.find_verified_team(tx.conn, email)
    if team is not None and team.registration_closed:
        raise registration_closed(
            rt,
            "New API keys for this e-mail address are not made through the API. Its owner makes them in the dashboard.",
        )
    if own is None or not own.verified:
        refuse_too_many_unverified(tx, rt, caller, email)
    abilities = caller.key.abilities if caller.key else ALL_ABILITIES
    new = insert_new_key(tx, own or _new_space(tx, email), name, abilities, created_from=caller.address)
    if not new.team.verified:
        mail.queue_verification(tx, email, [new.key.key_id])
    return new


def _new_space(tx: Tx, email: str) -> Team:
    """A space of its own for an unverified key, so that knowing an address opens nothing (decision 6)."""
    return account_rows.insert_team(tx.conn, TeamKind.UNVERIFIED, email, FREE, tx.now)


def insert_new_key(
    tx: Tx,
    team: Team,
    name: str,
    abilities: frozenset[Ability],
    *,
    created_from: str | None,
    session_ends_at: int | None = None,
    secret: str | None = None,
) -> NewKey:
    """Add a key to a team. One with `session_ends_at` is for a session alone: its secret is given to nobody."""
    secret, key_id = secret or ids.new_api_key(), ids.new_key_id()
    account_rows.insert_api_key(
        tx.conn,
        key_id=key_id,
        team_id=team.id,
        secret_sha256=ids.api_key_sha256(secret),
        name=name,
        abilities=abilities,
        created_at=tx.now,
        created_from=created_from,
        session_ends_at=session_ends_at,
    )
    key = ApiKey(key_id, team.id, name, abilities, tx.now, created_from, None, session_ends_at)
    return NewKey(secret, key, team)


def refuse_too_many_unverified(tx: Tx, rt: Runtime, caller: Caller, email: str) -> None:
    """Raise KeyLimitReached when an address that nobody has confirmed has as many keys as it may have (decision 7)."""
    limit = rt.settings.limits.unverified_keys_per_email
    since = tx.now - rt.settings.limits.retention_days * SECONDS_PER_DAY
    if limit and account_rows.count_unverified_keys(tx.conn, email, since) >= limit:
        raise key_limit_reached(tx.conn, rt, caller, email)


def key_limit_reached(conn: sqlite3.Connection, rt: Runtime, caller: Caller, email: str) -> KeyLimitReached:
    """The refusal of one more unverified key for an address."""
    pending = account_rows.list_pending_keys(conn, email)
    action = verify_action(rt, email, caller.key or (pending[0] if pending else None))
    return KeyLimitReached(rt.settings.limits.unverified_keys_per_email, action)


def registration_closed(
    rt: Runtime, message: str = "Registration is closed here. Ask the owner of this server for a key."
) -> RegistrationClosed:
    """The refusal of a new key where none are given out."""
    action = Action("redirect", url=f"{rt.public_url}/dashboard", label="Go to Dashboard")
    return RegistrationClosed(message, action=action)


def retention_days(settings: Settings, team: Team) -> int | None:
    """How long a team's new images are kept; None for good."""
    return None if team.verified else settings.limits.retention_days


# ── the operator's commands: one write transaction each, beside a running server or alone ──


def operator_create_key(
    tx: Tx,
    plans: PlanTable,
    *,
    email: str,
    name: str,
    plan: str | None,
    default_plan: str,
    verified: bool,
    abilities: frozenset[Ability],
    secret: str | None = None,
) -> NewKey:
    """A key for an address: of its verified team, made when there is none, or in a new unverified space.
    `secret` is the key itself where it is not left to chance; no other may have it.

    Raises ValidationFailed for a wrong address or name, OperatorError for an unknown plan or one that differs from
    the plan that the address's team is on.
    """
    fields = parse(KeyFields, {"email": email, "name": name})
    assert fields.email is not None
    if plan is not None:
        refuse_unknown_plan(plans, plan)
    team = account_rows.find_verified_team(tx.conn, fields.email) if verified else None
    if team is not None and plan not in (None, team.plan):
        raise OperatorError(
            f"The team of {fields.email} is on the plan {team.plan!r}; leave out --plan to add a key to it."
        )
    if team is None:
        kind = TeamKind.VERIFIED if verified else TeamKind.UNVERIFIED
        team = account_rows.insert_team(tx.conn, kind, fields.email, plan or default_plan, tx.now)
    return insert_new_key(tx, team, fields.name or DEFAULT_KEY_NAME, abilities, created_from=None, secret=secret)


def refuse_unknown_plan(plans: PlanTable, plan: str) -> None:
    """Raise OperatorError for a plan that no team can be on."""
    if not plans.has(plan):
        known = ", ".join([OWNER, *(known.name for known in plans.plans)])
        raise OperatorError(f"There is no plan {plan!r}. The plans are: {known}.")


def _no_such_key(key_id: str) -> OperatorError:
    return OperatorError(f"There is no key {key_id!r}. `imgpro-lite keys list` shows them.")


def operator_revoke_key(tx: Tx, key_id: str) -> None:
    """End a key at once; its images stay. Raises OperatorError for an unknown or already revoked key."""
    found = account_rows.find_api_key(tx.conn, key_id) if is_text(key_id) else None
    if found is None:
        raise _no_such_key(key_id)
    if not account_rows.revoke_api_key(tx.conn, key_id, tx.now):
        raise OperatorError(f"The key {key_id} was already revoked.")


def operator_verify_key(tx: Tx, key_id: str) -> Team:
    """Confirm a key's address without its mail: the team that the key belongs to now.

    Raises OperatorError for an unknown, revoked or already verified key.
    """
    found = account_rows.find_api_key(tx.conn, key_id) if is_text(key_id) else None
    if found is None:
        raise _no_such_key(key_id)
    key, team = found
    if key.revoked_at is not None:
        raise OperatorError(f"The key {key_id} was revoked, so it cannot be verified.")
    if team.verified:
        raise OperatorError(f"The key {key_id} is verified already.")
    return join_verified_team(tx, team)


def join_verified_team(tx: Tx, space: Team) -> Team:
    """Make an unverified space the verified team of its address, or move its keys and images to that team.

    The images lose their retention, but not a ttl (decision 11); this month's uploads and the storage are added, never
    refused for quota, and an external_id that the team already uses is dropped from the joining image (decision 6).
    """
    assert space.email is not None
    team = account_rows.find_verified_team(tx.conn, space.email)
    if team is None:
        account_rows.update_team_kind(tx.conn, space.id, TeamKind.VERIFIED)
        media_rows.lift_retention(tx.conn, space.id, tx.now)
        return account_rows.get_team(tx.conn, space.id)
    media_rows.lift_retention(tx.conn, space.id, tx.now)
    for joined in (space, team):
        media_rows.release_expired_external_ids(tx.conn, joined.id, tx.now)
    media_rows.move_media(tx.conn, space.id, team.id)
    month = max(space.uploads_month, team.uploads_month)
    account_rows.update_team_uploads(tx.conn, team, month, space.uploads_used_in(month))
    account_rows.update_key_team(tx.conn, space.id, team.id)
    account_rows.delete_team(tx.conn, space.id)
    return account_rows.get_team(tx.conn, team.id)


def list_keys(conn: sqlite3.Connection) -> list[tuple[ApiKey, Team]]:
    """Every key with its team, oldest first."""
    return account_rows.list_api_keys(conn)


def key_limits(settings: Settings, plan: Plan, team: Team) -> dict[str, int | None]:
    """What the answer to a new key says about its limits: uploads a month, megabytes, days. None is no limit."""
    storage = plan.storage_limit_bytes
    return {
        "uploads": plan.uploads_limit,
        "storage_mb": None if storage is None else storage // BYTES_PER_MB,
        "retention_days": retention_days(settings, team),
    }
