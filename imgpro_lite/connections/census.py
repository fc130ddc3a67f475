"""How many connections there are, in all and from each address."""

import logging
import sys
from collections import Counter
from dataclasses import dataclass, field

from imgpro_lite.setting_types import Network
from imgpro_lite.settings import ServerSettings
from imgpro_lite.web.requests import parse_address, rate_subject

log = logging.getLogger("imgpro_lite.server")

# A connection has its socket and, while it uploads or downloads, a file.
DESCRIPTORS_PER_CONNECTION = 2
OTHER_DESCRIPTORS = 200  # the database, workers and their pipes, connections that are turned away

# What one address gets of the connections, where the settings leave it open: it takes more than one to fill them.
SHARE_PER_ADDRESS = 0.25


def open_census(settings: ServerSettings) -> "Census":
    """The census that the settings ask for, or a smaller one where the system allows fewer open files."""
    wanted = OTHER_DESCRIPTORS + DESCRIPTORS_PER_CONNECTION * settings.max_connections
    allowed = _allow_descriptors(wanted)
    connections = settings.max_connections
    if allowed < wanted:
        connections = max(1, (allowed - OTHER_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
        log.warning("at most %d connections at a time, because of the limit of open files: %d", connections, allowed)
    per_address = settings.max_connections_per_address or max(1, int(connections * SHARE_PER_ADDRESS))
    return Census(connections, per_address, settings.trusted_proxies)


def _allow_descriptors(wanted: int) -> int:
    """Raise this process's limit of open files to that many, as far as the system lets it; the limit."""
    if sys.platform == "win32":
        return wanted  # sockets are no files there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return wanted
    raised = wanted if hard == unlimited else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        return soft
    return raised


@dataclass
class Census:
    """Counts connections. One address gets a part of them only, unless it is this machine or a proxy of ours, behind
    which there are many clients. IPv6 counts by /64, as all limits do."""

    max_connections: int
    max_per_address: int
    trusted_proxies: tuple[Network, ...]
    _subjects: Counter[str] = field(default_factory=Counter)
    _connections: int = 0

    def admit(self, address: str) -> bool:
        """Count one more, if there is room for it; then `release` must follow."""
        subject = rate_subject(address)
        if self._connections >= self.max_connections:
            return False
        if self._subjects[subject] >= self.max_per_address and not self._is_exempt(address):
            return False
        self._connections += 1
        self._subjects[subject] += 1
        return True

    def release(self, address: str) -> None:
        """A connection that was admitted has ended."""
        subject = rate_subject(address)
        self._connections -= 1
        self._subjects[subject] -= 1
        if not self._subjects[subject]:
            del self._subjects[subject]

    def _is_exempt(self, address: str) -> bool:
        parsed = parse_address(address)
        if parsed is None:
            return True  # not from the network
        return parsed.is_loopback or any(parsed in network for network in self.trusted_proxies)
