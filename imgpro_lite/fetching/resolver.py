"""The system's resolver. It cannot be told to stop, so whoever asks may go, but what was asked goes on and counts."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

from imgpro_lite.errors import Overloaded
from imgpro_lite.fetching.slots import RETRY_AFTER_SECONDS, Slot, Slots

# A name server that does not answer holds a thread for half a minute (5 seconds, twice, for each of three servers).
# Four callers who ask for nothing else still leave nobody without addresses.
MAX_LOOK_UPS = 20
MAX_LOOK_UPS_PER_CALLER = 4

# The addresses of a name as text, best first; it may take long. Raises OSError.
LookUp = Callable[[str], list[str]]


def look_up(host: str) -> list[str]:
    """The addresses that the system has for a name, best first. Raises OSError."""
    try:
        # As bytes: text would go through Python's own, older IDNA once more.
        answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except ValueError as error:
        raise OSError(f"{error}") from None
    return [str(answer[4][0]) for answer in answers]


class Resolver:
    """Asks the system in threads, of which there are a few at most, and fewer for each caller.

    They are no pool's: nothing waits for them at the end of the server, and they hold none that write files.
    """

    def __init__(self, look_up: LookUp, wait_seconds: float) -> None:
        self._look_up = look_up
        self._slots = Slots(MAX_LOOK_UPS, MAX_LOOK_UPS_PER_CALLER, MAX_LOOK_UPS, wait_seconds)

    async def resolve(self, host: str, caller: str, timeout_seconds: float) -> list[str]:
        """The addresses of a name, best first. Raises OSError, TimeoutError when the answer takes too long, and
        Overloaded when too many are asked for already."""
        slot = await self._slots.acquire(caller, host)
        found = self._start(host, slot)
        async with asyncio.timeout(timeout_seconds):
            return await found

    def _start(self, host: str, slot: Slot) -> asyncio.Future[list[str]]:
        """Ask in a thread, which gives back the slot when it ends, however early the future is cancelled."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str], error: Exception | None) -> None:
            self._slots.release(slot)
            if not found.done():
                found.set_exception(error) if error else found.set_result(addresses)

        def run() -> None:
            addresses, problem = [], None
            try:
                addresses = self._look_up(host)
            except Exception as error:
                problem = error
            with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(settle, addresses, problem)

        try:
            threading.Thread(target=run, name="resolver", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self._slots.release(slot)
            raise Overloaded(RETRY_AFTER_SECONDS) from None
        return found
