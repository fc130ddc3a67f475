"""What the owner of a team does with it on the pages: its keys, and whether it takes new ones through the API."""

import sqlite3

from imgpro_lite.errors import Forbidden, NotFound, ValidationFailed
from imgpro_lite.fields import check_name
from imgpro_lite.models import Ability, ApiKey, Caller
from imgpro_lite.rate_windows import refuse_exceeded
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.services.accounts import (
    DEFAULT_KEY_NAME,
    NewKey,
    charge_key_attempt,
    get_current_team,
    insert_new_key,
    keys_per_email,
    refuse_too_many_unverified,
)
from imgpro_lite.services.sessions import LIFETIME_SECONDS
from imgpro_lite.store import account_rows, team_rows, token_rows
from imgpro_lite.store.sqlite_file import Tx


async def list_keys(rt: Runtime, caller: Caller) -> list[ApiKey]:
    """The keys in force of the caller's team, oldest first, sessions that began with a mailed link among them."""
    return await rt.db.read(account_rows.list_team_keys, caller.team.id, rt.clock.now())


async def create_key_once(
    rt: Runtime, caller: Caller, form_id: str, name: str, abilities: frozenset[Ability]
) -> NewKey | None:
    """The same for one form, however often a browser sends it (a page that is loaded anew): None but for the first."""
    spent = f"{caller.team.hash} {form_id}"  # nobody can use up what is another's
    if await rt.db.read(token_rows.is_spent, spent):
        return None
    return await _create_key(rt, caller, name, abilities, spent)


async def create_key(rt: Runtime, caller: Caller, name: str, abilities: frozenset[Ability]) -> NewKey:
    """One more key of the caller's team, also where registration is closed: its owner is the one who asks.

    Raises ValidationFailed without an ability, Forbidden for one that the caller lacks itself, RateLimited,
    KeyLimitReached.
    """
    new = await _create_key(rt, caller, name, abilities, None)
    assert new is not None
    return new


async def _create_key(
    rt: Runtime, caller: Caller, name: str, abilities: frozenset[Ability], spent: str | None
) -> NewKey | None:
    if not abilities:
        raise ValidationFailed({"abilities": ["choose at least one"]})
    if caller.key is None or not abilities <= caller.key.abilities:
        raise Forbidden
    charge_key_attempt(rt, caller)
    now = rt.clock.now()
    # The same window as for keys through the API, or this would be a way around it.
    subject = f"team {caller.team.hash}" if caller.team.verified else caller.team.email or ""
    window = rt.rate_windows.charge(keys_per_email(rt.settings), subject, now)
    refuse_exceeded([window], now, "new keys for this account")
    return await rt.db.write(_insert_key, rt, caller, check_name(name) or DEFAULT_KEY_NAME, abilities, spent)


def _insert_key(
    tx: Tx, rt: Runtime, caller: Caller, name: str, abilities: frozenset[Ability], spent: str | None
) -> NewKey | None:
    if spent and not token_rows.insert_spent_token(tx.conn, spent, tx.now + LIFETIME_SECONDS, tx.now):
        return None
    team = get_current_team(tx, caller)
    assert team.email is not None
    if not team.verified:
        refuse_too_many_unverified(tx, rt, caller, team.email)
    new = insert_new_key(tx, team, name, abilities, created_from=caller.address)
    if not team.verified:
        mail.queue_verification(tx, team.email, [new.key.key_id])
    return new


async def revoke_key(rt: Runtime, caller: Caller, key_id: str) -> ApiKey:
    """End a key of the caller's team at once, and every session of it: the key. Raises NotFound."""
    return await rt.db.write(_revoke_key, caller, key_id)


def _revoke_key(tx: Tx, caller: Caller, key_id: str) -> ApiKey:
    found = _find_key(tx.conn, get_current_team(tx, caller).id, key_id)
    if found is None or not account_rows.revoke_api_key(tx.conn, key_id, tx.now):
        raise NotFound("Your account has no such key. It may have been revoked already.")
    return found


def _find_key(conn: sqlite3.Connection, team_id: int, key_id: str) -> ApiKey | None:
    found = account_rows.find_api_key(conn, key_id)
    return found[0] if found and found[1].id == team_id else None


async def set_registration(rt: Runtime, caller: Caller, *, closed: bool) -> None:
    """Let the caller's team have new keys through the API, or not."""
    await rt.db.write(lambda tx: team_rows.update_registration(tx.conn, get_current_team(tx, caller).id, closed=closed))
