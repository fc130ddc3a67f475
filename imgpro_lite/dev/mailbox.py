"""The mail of dev mode: delivered, read back, waited for and removed."""

import asyncio
import time

from starlette.requests import Request

from imgpro_lite.dev.control import Control, control
from imgpro_lite.dev.mails import SUFFIX, Mail, MailFilter, parse_mail
from imgpro_lite.mail.outbox import Outbox
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.delivery import deliver_due
from imgpro_lite.web.requests import runtime


class Mailbox:
    """All mail of a server in dev mode. What is queued is delivered before anybody looks, so nobody has to wait for
    the mail of a request that was answered."""

    def __init__(self, rt: Runtime, control: Control) -> None:
        assert isinstance(rt.mail.sender, Outbox)  # no server in dev mode has another
        self._rt = rt
        self._control = control
        self._outbox = rt.mail.sender

    async def list_mails(self) -> list[Mail]:
        """All of it, the newest last. Waits while the library is put back."""
        async with self._control.traffic.request():
            await deliver_due(self._rt)
            return await asyncio.to_thread(self._read_all)

    def _read_all(self) -> list[Mail]:
        return self._control.mails.read(self._outbox.list_names(), self._outbox.read)

    async def wait_for(self, wanted: MailFilter, seconds: float) -> tuple[list[Mail], list[Mail]]:
        """Return as soon as some mail is meant, or when so many seconds of real time are over: what is meant, and all
        that is there."""
        ends_at = time.monotonic() + seconds
        while True:
            arrival = self._outbox.next_arrival
            mails = await self.list_mails()
            found = wanted.select(mails)
            left_seconds = ends_at - time.monotonic()
            if found or left_seconds <= 0:
                return found, mails
            try:
                async with asyncio.timeout(left_seconds):
                    await arrival.wait()
            except TimeoutError:
                continue  # and look once more

    async def find_raw(self, mail_id: str) -> bytes | None:
        """A mail as it was sent; None when there is none of that id."""
        async with self._control.traffic.request():
            await deliver_due(self._rt)
            return await asyncio.to_thread(self._outbox.read, mail_id + SUFFIX)

    async def find_mail(self, mail_id: str) -> Mail | None:
        """One mail; None when there is none of that id."""
        content = await self.find_raw(mail_id)
        return None if content is None else parse_mail(mail_id + SUFFIX, content)

    async def remove_all(self) -> None:
        """Empty it, of what is still queued too. Inside of a request that is counted."""
        await deliver_due(self._rt)
        await asyncio.to_thread(lambda: self._outbox.remove(self._outbox.list_names()))

    async def remove(self, mail_id: str) -> bool:
        """Remove one. False when there is none of that id. Inside of a request that is counted."""
        name = mail_id + SUFFIX
        if await asyncio.to_thread(self._outbox.read, name) is None:
            return False
        await asyncio.to_thread(self._outbox.remove, [name])
        return True


def mailbox(request: Request) -> Mailbox:
    """The mail of the server that a request is for."""
    return Mailbox(runtime(request), control(request))
