"""Confirming an e-mail address: what the page behind a mailed link says, and what its buttons do.

Who knows only an address gets nothing here: everything needs a token that was mailed to it. The token of a resend page,
which an API answer gives to anybody who uses up an address's keys, can only have that address mailed once more.
"""

import sqlite3
from dataclasses import dataclass

from imgpro_lite import links
from imgpro_lite.errors import NotFound
from imgpro_lite.models import Ability, ApiKey, Team
from imgpro_lite.rate_windows import HOUR_SECONDS, RateLimit, refuse_exceeded
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import mail
from imgpro_lite.services.accounts import join_verified_team, keys_per_email
from imgpro_lite.store import account_rows, media_rows
from imgpro_lite.store.sqlite_file import Tx


@dataclass(frozen=True)
class Verification:
    """A key that its address is asked about. `confirmed` and `revoked` say that the question is answered."""

    key: ApiKey
    email: str
    confirmed: bool
    revoked: bool
    images: int
    """Live images of the space that the key is in, which stay for good once it is confirmed."""
    team_images: int | None
    """Live images of the address's team, which the key could read, change and delete; None when there is no team."""
    together: tuple[ApiKey, ...]
    """Other keys of the same space: they are confirmed, or revoked, with this one."""
    others: tuple[ApiKey, ...]
    """Keys of other spaces that wait for the same address."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What can be done with the key, and those that are confirmed with it."""
        return frozenset[Ability]().union(*(key.abilities for key in (self.key, *self.together)))


async def get_verification(rt: Runtime, token: str) -> Verification:
    """What a mailed link is about. Raises InvalidLink, ExpiredLink with the address in its payload, and NotFound."""
    payload = rt.links.load(links.VERIFY, token)
    return await rt.db.read(_describe, payload["key"], payload["email"])


async def confirm(rt: Runtime, token: str) -> Verification:
    """Take the key and its images into the address's team. Doing it again changes nothing. Raises as above."""
    payload = rt.links.load(links.VERIFY, token)
    return await rt.db.write(_confirm, payload["key"], payload["email"])


async def disown(rt: Runtime, token: str) -> Verification:
    """End a key that its address did not ask for; one that was confirmed stays. Raises as above."""
    payload = rt.links.load(links.VERIFY, token)
    return await rt.db.write(_disown, payload["key"], payload["email"])


def mailbox_resend_token(rt: Runtime, email: str) -> str:
    """A token of a resend page for somebody who has shown, with a mailed link, to read the mail of an address."""
    return rt.links.sign(links.VERIFY_RESEND, {"email": email, "mailbox": True})


def get_resend_email(rt: Runtime, token: str) -> str:
    """The address that a resend page would mail. Raises InvalidLink, ExpiredLink."""
    email: str = rt.links.load(links.VERIFY_RESEND, token)["email"]
    return email


async def resend(rt: Runtime, token: str) -> str:
    """Mail an address the links of all keys that wait for it, if any: the address.

    Raises InvalidLink, ExpiredLink, RateLimited.
    """
    payload = rt.links.load(links.VERIFY_RESEND, token)
    email: str = payload["email"]
    limit = keys_per_email(rt.settings)
    if payload.get("mailbox"):  # counted apart, or strangers could use up the attempts of the one who reads the mail
        limit = RateLimit("mails_per_mailbox", limit.limit, HOUR_SECONDS)
    now = rt.clock.now()
    refuse_exceeded([rt.rate_windows.charge(limit, email, now)], now, "new keys and mails for this e-mail address")
    await rt.db.write(_queue_resend, email)
    return email


def _describe(conn: sqlite3.Connection, key_id: str, email: str) -> Verification:
    found = account_rows.find_api_key(conn, key_id)
    if found is None or found[1].email != email:
        raise NotFound("There is no such key any more.")
    key, space = found
    team = account_rows.find_verified_team(conn, email)
    revoked = key.revoked_at is not None
    pending = [other for other in account_rows.list_pending_keys(conn, email) if other.key_id != key_id]
    together = () if revoked else tuple(other for other in pending if other.team_id == space.id)
    return Verification(
        key=key,
        email=email,
        confirmed=space.verified,
        revoked=revoked,
        images=media_rows.count_live(conn, space.id),
        team_images=media_rows.count_live(conn, team.id) if team else None,
        together=together,
        others=tuple(other for other in pending if other not in together),
    )


def _confirm(tx: Tx, key_id: str, email: str) -> Verification:
    asked = _describe(tx.conn, key_id, email)
    if asked.confirmed or asked.revoked:
        return asked
    join_announced(tx, account_rows.get_team(tx.conn, asked.key.team_id), key_id)
    return _describe(tx.conn, key_id, email)


def join_announced(tx: Tx, space: Team, key_id: str) -> Team:
    """Take an unverified space into its address's team, which is told so when there was one: the team."""
    assert space.email is not None
    images = media_rows.count_live(tx.conn, space.id)
    team = join_verified_team(tx, space)
    if team.id != space.id:
        mail.queue_joined(tx, space.email, key_id, images)
    return team


def _disown(tx: Tx, key_id: str, email: str) -> Verification:
    asked = _describe(tx.conn, key_id, email)
    if not asked.confirmed:
        # The key's space is nobody's but its maker's, and so are all keys in it.
        account_rows.revoke_keys_of_team(tx.conn, asked.key.team_id, tx.now)
    return _describe(tx.conn, key_id, email)


def _queue_resend(tx: Tx, email: str) -> None:
    pending = account_rows.list_pending_keys(tx.conn, email)
    if pending:
        mail.queue_verification(tx, email, [key.key_id for key in pending])
