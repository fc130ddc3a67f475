"""What the service manager is told: that the server is ready, that it stops, and that it is alive (sd_notify(3)).

systemd names a socket in the environment of a service of `Type=notify`. Without one, nothing is sent.
"""

import asyncio
import contextlib
import logging
import os
import socket

log = logging.getLogger("imgpro_lite.server")

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"

# How often a watchdog's time is fed within it, as sd_watchdog_enabled(3) advises.
FED_PER_TIMEOUT = 2


def notify(state: str) -> None:
    """Tell the service manager a state, if there is one. What it does not hear is only logged."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(address)
            sock.send(state.encode("ascii"))
    except OSError as error:
        log.warning("the service manager was not told %s: %s", state, error.strerror)


def watchdog_seconds() -> float:
    """How long this process may be silent before the service manager restarts it; 0 for ever."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0  # meant for another process
    with contextlib.suppress(ValueError):
        return max(0.0, int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000)
    return 0.0


async def feed_watchdog_forever() -> None:
    """Say that the event loop goes round, as long as it does; nothing where nobody wants to know."""
    while seconds := watchdog_seconds():
        notify(ALIVE)
        await asyncio.sleep(seconds / FED_PER_TIMEOUT)
