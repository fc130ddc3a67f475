"""Sends what is queued, in the background: no request ever waits for a mail server.

A mail leaves the queue when a server has taken it, so a crash can at worst have it sent twice. The next attempt is
noted before each one: what goes wrong in between can not have a mail sent again and again.
"""

import asyncio
import contextlib
import itertools
import logging
import sqlite3
import traceback
from collections.abc import Coroutine
from typing import Any

from imgpro_lite.errors import ImgProError
from imgpro_lite.mail.addresses import domain_of
from imgpro_lite.mail.sending import MailFailed, RecipientRefused, ServerUnusable
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.letters import write_message
from imgpro_lite.settings import SECONDS_PER_DAY
from imgpro_lite.store import mail_rows
from imgpro_lite.store.failpoints import reached
from imgpro_lite.store.mail_rows import QueuedMail
from imgpro_lite.store.sqlite_file import Tx

log = logging.getLogger("imgpro_lite.mail")

# After the first attempt, the second, …; the last one is for all that follow. Servers that put off unknown senders
# (greylisting) let them in after 1 to 15 minutes; an hour is what RFC 5321, 4.5.4.1 has in mind for the rest (30 min).
PAUSES_SECONDS = (60, 5 * 60, 15 * 60, 60 * 60)
GIVE_UP_SECONDS = 3 * SECONDS_PER_DAY  # somebody who waits for a link has asked for another one long before
# New mail is sent at once; this is for attempts whose time has come.
POLL_SECONDS = 2
TIDY_EVERY_ROUNDS = 30
# For a mail that is being sent when the server stops. Most take less than a second; the others are sent again.
STOP_SECONDS = 5
RETRY_DATABASE_SECONDS = 1
STEP_MAILS = 500  # in one transaction, which then takes some milliseconds


async def deliver_forever(rt: Runtime) -> None:
    """Run until cancelled. Whatever fails is logged and tried again."""
    for rounds in itertools.count():
        rt.mail.queued.clear()
        try:
            if rounds == 0:  # a start may bring new settings, so nothing waits for the end of a pause
                await rt.db.write(lambda tx: mail_rows.make_all_mail_due(tx.conn, tx.now))
            await deliver_due(rt)
            if rounds % TIDY_EVERY_ROUNDS == 0:
                await rt.mail.sender.keep_tidy()
        except Exception:
            log.exception("looking after the mail failed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await rt.mail.queued.wait()


async def deliver_due(rt: Runtime) -> None:
    """Send all mail whose time has come, one after the other."""
    async with rt.mail.turn:
        while mail := await rt.db.read(mail_rows.find_due_mail, rt.clock.now(), PAUSES_SECONDS[-1]):
            await _finish(_deliver(rt, mail))


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Let work that has begun come to its end when the server stops, but not for long."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOP_SECONDS)
        task.cancel()
        await asyncio.wait([task])
        raise


async def _deliver(rt: Runtime, mail: QueuedMail) -> None:
    """One attempt. Raises only for a database that takes no writes, and then has sent nothing."""
    await rt.db.write(_put_off, [mail])
    reached("mail.noted")
    extra = {"kind": mail.kind, "domain": domain_of(mail.recipient)}
    try:
        message = await write_message(rt, mail)
        result = await rt.mail.sender.send(message) if message else "dropped: there is nothing left to say"
    except RecipientRefused as error:
        log.error("mail given up: the recipient is refused", extra={**extra, "reason": error.reason})
    except MailFailed as error:
        reason = {"reason": error.reason} | ({"advice": error.advice} if error.advice else {})
        await _note_failure(rt, mail, extra | reason, is_for_all=isinstance(error, ServerUnusable))
        return
    except Exception as error:
        await _note_failure(rt, mail, extra | _unexpected(error))
        return
    else:
        log.info("mail %s", result, extra=extra)
    reached("mail.sent")
    await _forget(rt, mail)


def _put_off(tx: Tx, mails: list[QueuedMail]) -> None:
    """Note an attempt at each mail, and when the next one is due."""
    last = len(PAUSES_SECONDS) - 1
    mail_rows.update_mail_attempts(
        tx.conn, [(tx.now + PAUSES_SECONDS[min(mail.attempts, last)], mail.id) for mail in mails]
    )


def _unexpected(error: Exception) -> dict[str, Any]:
    """What the log says of any other error: where it happened, not its text, which may have the address in it."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    return {"reason": reason, "where": f"{where.filename}:{where.lineno}"}


async def _note_failure(rt: Runtime, mail: QueuedMail, extra: dict[str, Any], *, is_for_all: bool = False) -> None:
    """Log it. What failed for all is not tried with the others now. What is hopeless is given up."""
    failed = [mail]
    if is_for_all:
        while others := await rt.db.write(_put_off_due):
            failed += others
        log.warning("the mail server cannot be used; mail waits", extra={**extra, "mails_waiting": len(failed)})
    else:
        log.warning("mail not sent", extra=extra)
    for one in failed:
        if _is_hopeless(one, rt.clock.now()):
            about = {"kind": one.kind, "domain": domain_of(one.recipient)}
            log.error("mail given up after %d attempts", one.attempts + 1, extra=extra | about)
            await _forget(rt, one)


def _put_off_due(tx: Tx) -> list[QueuedMail]:
    """Put off some of what is due."""
    mails = mail_rows.list_due_mail(tx.conn, tx.now, PAUSES_SECONDS[-1], STEP_MAILS)
    _put_off(tx, mails)
    return mails


def _is_hopeless(mail: QueuedMail, now: int) -> bool:
    """Old, and tried often enough: after a clock was set forward, age alone would say little."""
    return now - mail.created_at >= GIVE_UP_SECONDS and mail.attempts >= len(PAUSES_SECONDS)


async def _forget(rt: Runtime, mail: QueuedMail) -> None:
    """Take it out of the queue, however long that takes: while it is there it could be sent again."""
    while True:
        try:
            return await rt.db.write(lambda tx: mail_rows.delete_mail(tx.conn, mail.id))
        except (ImgProError, sqlite3.Error):
            log.warning("a mail that is done with cannot be taken out of the queue yet", exc_info=True)
            await asyncio.sleep(RETRY_DATABASE_SECONDS)
