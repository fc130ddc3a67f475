"""What the system gives the server: memory, open files, connections."""

from collections.abc import Iterator

from imgpro_lite.imaging import sandbox
from imgpro_lite.imaging.capacity import share_out
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.settings import Settings
from imgpro_lite.store.machine import max_open_files, max_pending_connections, swap_mb

# As the server counts them (connections/census.py): a connection has a socket and perhaps a file.
DESCRIPTORS_PER_CONNECTION, OTHER_DESCRIPTORS = 2, 200
# The server itself below strangers' floods: 250 MB at most.
SERVER_MB = 250
# As many connections as the server lets wait to be accepted (server.py).
BACKLOG = 1024


def check_system(settings: Settings) -> list[Finding]:
    """What there is to say of the system."""
    return [_memory(settings), *_open_files(settings), *_pending()]


def _memory(settings: Settings) -> Finding:
    total_mb = sandbox.total_memory_mb()
    count, memory_mb = share_out(settings.imaging, sandbox.count_cores(), total_mb)
    wanted_mb = count * memory_mb + SERVER_MB
    swap = swap_mb()
    has_swap = "swap unknown" if swap is None else f"{swap:,} MB of swap"
    what = f"{count} workers with {memory_mb:,} MB each, and {total_mb:,} MB of memory ({has_swap})."
    if wanted_mb > total_mb:
        return Finding(
            Level.WARNING,
            Area.SYSTEM,
            what,
            "Large pictures in all workers at once are more than there is: the system ends workers then.",
            "Lower [imaging] workers or worker_memory_mb, or leave them 0.",
        )
    return Finding(Level.OK, Area.SYSTEM, what)


def _open_files(settings: Settings) -> Iterator[Finding]:
    most = max_open_files()
    wanted = OTHER_DESCRIPTORS + DESCRIPTORS_PER_CONNECTION * settings.server.max_connections
    if most is not None and most < wanted:
        connections = max(1, (most - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
        yield Finding(
            Level.WARNING,
            Area.SYSTEM,
            f"A process may open {most:,} files, which is enough for {connections:,} connections.",
            f"[server] max_connections is {settings.server.max_connections:,}; the server takes fewer.",
            f"Allow {wanted:,}: LimitNOFILE= of a systemd unit, or `ulimit -Hn`.",
        )
    else:
        shown = "any number of" if most is None else f"{most:,}"
        yield Finding(Level.OK, Area.SYSTEM, f"A process may open {shown} files.")


def _pending() -> Iterator[Finding]:
    most = max_pending_connections()
    if most is not None and most < BACKLOG:
        yield Finding(
            Level.NOTE,
            Area.SYSTEM,
            f"The system lets {most:,} connections wait to be accepted; the server asks for {BACKLOG:,}.",
            "In a burst some are refused.",
            f"sysctl net.core.somaxconn={BACKLOG}",
        )
