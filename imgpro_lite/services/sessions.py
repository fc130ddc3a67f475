"""Signing in to the pages, and what a session may do: what its key may, for as long as that key lives.

A session is a signed token in a cookie. It names a key, so there is nothing to look after but the keys: who signs in
with a key gets a session of that key, and for who signs in with a mailed link a key is made that nobody ever sees. Only
what ends before its time is stored: links that were used, and sessions that were signed out.
"""

import sqlite3
from dataclasses import dataclass, replace

from imgpro_lite import ids, links
from imgpro_lite.errors import NotFound, Unauthorized
from imgpro_lite.fields import check_email
from imgpro_lite.models import ApiKey, Caller, Team
from imgpro_lite.rate_windows import HOUR_SECONDS, RateLimit, refuse_exceeded
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.services.accounts import ALL_ABILITIES, identify, insert_new_key
from imgpro_lite.settings import SECONDS_PER_DAY
from imgpro_lite.store import account_rows, token_rows
from imgpro_lite.store.sqlite_file import Tx

# Unused for a week, a session ends: a secret that signs no more verifies no longer than that either.
IDLE_SECONDS = links.LINK_SECONDS
# However much it is used: a month is what people expect of "stay signed in", and a stolen cookie ends by itself.
LIFETIME_SECONDS = 30 * SECONDS_PER_DAY

SESSION_KEY_NAME = "Signed in by mail"


@dataclass(frozen=True)
class Session:
    """A browser that was here before. `key_id` is whom it is signed in as; None until it is."""

    id: str
    key_id: str | None
    began_at: int


@dataclass(frozen=True)
class SignIn:
    """What a mailed link is about. `token_id` is used up by signing in."""

    team: Team
    token_id: str
    is_used: bool


@dataclass(frozen=True)
class AskedLink:
    """An answer to who asks for a link to an address, as it is normalised here. `waits_seconds` is how long it is until
    there can be a new one, where one that was mailed before must do; else None."""

    email: str
    waits_seconds: int | None


def begin_visit(rt: Runtime) -> Session:
    """A session of nobody: what the forms of somebody who is still to sign in are bound to."""
    return Session(ids.new_token_id(), None, rt.clock.now())


def write_token(rt: Runtime, session: Session) -> str:
    """The session as its cookie has it. Each time it is written, IDLE_SECONDS begin anew."""
    return rt.links.sign(links.SESSION, {"id": session.id, "key": session.key_id, "at": session.began_at})


def read_token(rt: Runtime, token: str) -> Session | None:
    """The session of a cookie; None when we did not make it, or when it is over."""
    try:
        payload = rt.links.load(links.SESSION, token, IDLE_SECONDS)
    except links.InvalidLink:
        return None
    session = Session(payload["id"], payload["key"], payload["at"])
    return session if rt.clock.now() < session.began_at + LIFETIME_SECONDS else None


def csrf_token(rt: Runtime, session: Session) -> str:
    """What only the pages of this session know: a form or script that sends it was made by us for it."""
    return rt.links.sign(links.CSRF, {"session": session.id})


def is_csrf_token(rt: Runtime, session: Session, token: str) -> bool:
    """Whether a token is of this session."""
    try:
        return bool(rt.links.load(links.CSRF, token, IDLE_SECONDS)["session"] == session.id)
    except links.InvalidLink:
        return False


async def find_caller(rt: Runtime, session: Session, address: str) -> Caller | None:
    """Who is signed in; None when nobody is, the session was signed out, or its key has ended."""
    if session.key_id is None:
        return None
    found = await rt.db.read(_find_key, session, rt.clock.now())
    return Caller(found[1], found[0], address) if found else None


def _find_key(conn: sqlite3.Connection, session: Session, now: int) -> tuple[ApiKey, Team] | None:
    found = account_rows.find_api_key(conn, session.key_id or "")
    if found is None or token_rows.is_spent(conn, session.id):
        return None
    key, _ = found
    is_over = key.revoked_at is not None or (key.session_ends_at is not None and key.session_ends_at <= now)
    return None if is_over else found


async def sign_in_with_key(rt: Runtime, secret: str, address: str) -> Session:
    """A session of a key. Raises Unauthorized, RateLimited.

    Nobody guesses 190 bits; attempts are counted because signing out writes to the database.
    """
    _charge(rt, "sign_ins_per_ip", rt.settings.limits.keys_per_ip_per_hour, address, "attempts to sign in")
    caller = await identify(rt, secret, address)
    assert caller.key is not None
    return replace(begin_visit(rt), key_id=caller.key.key_id)


def _charge(rt: Runtime, name: str, per_hour: int, subject: str, what: str) -> None:
    """Count an attempt. Raises RateLimited."""
    now = rt.clock.now()
    window = rt.rate_windows.charge(RateLimit(name, per_hour, HOUR_SECONDS), subject, now)
    refuse_exceeded([window], now, f"{what} from your address")


async def mail_link(rt: Runtime, email: str, address: str) -> AskedLink:
    """Mail a link to sign in to an address, if it has a verified team, and not too many were mailed to it just now.

    Nothing that the one who asks can see or measure depends on whether it has: the mail is written later.
    Raises ValueError for what is no address, RateLimited.
    """
    email, limits = check_email(email), rt.settings.limits
    # Apart from attempts with a key: whoever has mistyped one goes on with a mail.
    _charge(rt, "sign_in_links_per_ip", limits.keys_per_ip_per_hour, address, "sign-in links")
    # Refused by the place that asks and not by the mailbox: strangers could use up an owner's attempts by naming it.
    asked_from = f"{email} {address}"
    _charge(
        rt,
        "sign_in_links_per_email_and_ip",
        limits.keys_per_email_per_hour,
        asked_from,
        "sign-in links for this mailbox",
    )
    now = rt.clock.now()
    window = rt.rate_windows.charge(_links_per_mailbox(limits.keys_per_email_per_hour), email, now)
    if window.exceeded:
        return AskedLink(email, window.resets_at - now)
    await rt.db.write(mail.queue_sign_in, email, address)
    return AskedLink(email, None)


def _links_per_mailbox(per_hour: int) -> RateLimit:
    """How many links strangers can have mailed to somebody, from however many places.

    The window is as long as a link is good, so each link that was mailed in it works until it ends: who is refused has
    one in the mailbox. An hour has four, hence a quarter of what an hour may have, rounded up.
    """
    return RateLimit(
        "sign_in_links_per_email", -(-per_hour * links.SIGN_IN_SECONDS // HOUR_SECONDS), links.SIGN_IN_SECONDS
    )


def sign_in_url(rt: Runtime, team: Team) -> str:
    """The link to mail to a team's address."""
    token = rt.links.sign(links.SIGN_IN, {"team": team.hash, "id": ids.new_token_id()})
    return f"{rt.public_url}/dashboard/sign-in/link?t={token}"


async def get_sign_in(rt: Runtime, token: str) -> SignIn:
    """What a mailed link is about. Raises InvalidLink, ExpiredLink, NotFound."""
    return await rt.db.read(_describe, rt.links.load(links.SIGN_IN, token, links.SIGN_IN_SECONDS))


def _describe(conn: sqlite3.Connection, payload: dict[str, str]) -> SignIn:
    team = account_rows.find_team_by_hash(conn, payload["team"])
    if team is None or not team.verified:
        raise NotFound("The account of this link does not exist any more.")
    return SignIn(team, payload["id"], token_rows.is_spent(conn, payload["id"]))


async def sign_in_with_link(rt: Runtime, token: str, address: str) -> Session:
    """A session of the link's team, with a key of its own. Works once. Raises as above, Unauthorized when used."""
    payload = rt.links.load(links.SIGN_IN, token, links.SIGN_IN_SECONDS)
    return await rt.db.write(_sign_in, payload, begin_visit(rt), address)


def _sign_in(tx: Tx, payload: dict[str, str], visit: Session, address: str) -> Session:
    asked = _describe(tx.conn, payload)
    if not token_rows.insert_spent_token(tx.conn, asked.token_id, tx.now + links.SIGN_IN_SECONDS, tx.now):
        raise Unauthorized("This link has been used already.")
    account_rows.delete_ended_sessions(tx.conn, asked.team.id, tx.now)
    new = insert_new_key(
        tx,
        asked.team,
        SESSION_KEY_NAME,
        ALL_ABILITIES,
        created_from=address,
        session_ends_at=visit.began_at + LIFETIME_SECONDS,
    )
    return replace(visit, key_id=new.key.key_id)


async def sign_out(rt: Runtime, session: Session) -> None:
    """End a session for good: a copy of its cookie is worth nothing either."""
    if session.key_id is not None:
        await rt.db.write(_sign_out, session)


def _sign_out(tx: Tx, session: Session) -> None:
    token_rows.insert_spent_token(tx.conn, session.id, session.began_at + LIFETIME_SECONDS, tx.now)
    found = account_rows.find_api_key(tx.conn, session.key_id or "")
    if found is not None and found[0].session_ends_at is not None:
        account_rows.revoke_api_key(tx.conn, found[0].key_id, tx.now)
