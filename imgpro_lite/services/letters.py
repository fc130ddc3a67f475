"""What a queued mail says when it is sent: put together then, so that it is still true and no link is ever stored."""

import hashlib
import sqlite3
from collections.abc import Callable

from imgpro_lite.mail.addresses import mail_domain, sender_address
from imgpro_lite.mail.composer import KeyNotice, Letter
from imgpro_lite.mail.envelope import pack
from imgpro_lite.mail.sending import Message
from imgpro_lite.models import ApiKey
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.limits import verify_url
from imgpro_lite.services.sessions import sign_in_url
from imgpro_lite.store import account_rows, media_rows, upgrade_rows
from imgpro_lite.store.mail_rows import MailKind, QueuedMail

# Whoever wanted to sign in has asked again by then, or does not want to any more. Its time begins when it is written.
WAITS_FOR_LINK_SECONDS = 3600


async def write_message(rt: Runtime, mail: QueuedMail) -> Message | None:
    """The mail as it is true now; None when there is nothing left to say."""
    write: dict[MailKind, Callable[[sqlite3.Connection, Runtime, QueuedMail], Letter | None]] = {
        MailKind.VERIFY: _verification,
        MailKind.JOINED: _joined,
        MailKind.UPGRADE_REQUEST: _upgrade_request,
        MailKind.SIGN_IN: _sign_in,
    }
    letter = await rt.db.read(write[mail.kind], rt, mail)
    if letter is None:
        return None
    return pack(
        mail.kind,
        letter,
        sender=sender_address(rt.settings.mail.from_, rt.public_url),
        recipient=mail.recipient,
        at=rt.clock.now(),
        message_id=f"{_fingerprint(mail)}@{mail_domain(rt.public_url)}",
    )


def _fingerprint(mail: QueuedMail) -> str:
    """The same at each attempt, so that mail programs show a mail that was sent twice only once."""
    text = f"{mail.id} {mail.kind} {mail.recipient} {mail.details} {mail.created_at}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _verification(conn: sqlite3.Connection, rt: Runtime, mail: QueuedMail) -> Letter | None:
    """About the keys that still wait: not those that were confirmed or revoked meanwhile."""
    asked = set(mail.details["key_ids"])
    keys = [key for key in account_rows.list_pending_keys(conn, mail.recipient) if key.key_id in asked]
    if not keys:
        return None
    team = account_rows.find_verified_team(conn, mail.recipient)
    return rt.mail.composer.verification(
        [_notice(rt, mail.recipient, key) for key in keys],
        team_images=media_rows.count_live(conn, team.id) if team else None,
        retention_days=rt.settings.limits.retention_days,
    )


def _notice(rt: Runtime, email: str, key: ApiKey) -> KeyNotice:
    return KeyNotice(key.key_id, key.created_at, key.created_from, verify_url(rt, email, key.key_id))


def _joined(conn: sqlite3.Connection, rt: Runtime, mail: QueuedMail) -> Letter | None:
    found = account_rows.find_api_key(conn, mail.details["key_id"])
    if found is None:
        return None
    key, _ = found
    return rt.mail.composer.joined(key.key_id, mail.details["images"], revoked=key.revoked_at is not None)


def _upgrade_request(conn: sqlite3.Connection, rt: Runtime, mail: QueuedMail) -> Letter | None:
    """Unless the operator has settled it meanwhile."""
    team = account_rows.find_team(conn, mail.details["team_id"])
    asked = {(request.team_id, request.plan) for request in upgrade_rows.list_upgrade_requests(conn)}
    if team is None or (team.id, mail.details["plan"]) not in asked:
        return None
    return rt.mail.composer.upgrade_request(team.hash, team.email or "", team.plan, mail.details["plan"])


def _sign_in(conn: sqlite3.Connection, rt: Runtime, mail: QueuedMail) -> Letter | None:
    """For an address with a team, while somebody may still wait for it."""
    team = account_rows.find_verified_team(conn, mail.recipient)
    if team is None or rt.clock.now() > mail.created_at + WAITS_FOR_LINK_SECONDS:
        return None
    return rt.mail.composer.sign_in(sign_in_url(rt, team), mail.details["asked_from"])
