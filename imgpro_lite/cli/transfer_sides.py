"""The two servers of a transfer, and their keys, from the command line and the environment."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from imgpro_lite.cli.options import load
from imgpro_lite.cli.targets import check_server
from imgpro_lite.dev.mode import is_loopback
from imgpro_lite.errors import OperatorError

NEAR_KEY = "IMGPRO_KEY"
FAR_KEY = "IMGPRO_FAR_KEY"


@dataclass(frozen=True)
class Place:
    """A server and a key of it."""

    server: str
    key: str

    @property
    def is_overheard(self) -> bool:
        """Whether the key goes over a network without encryption."""
        parts = urlsplit(self.server)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def near_place(server: str | None, key: str | None) -> Place:
    """Our own server: of --server, else of IMGPRO_URL, else the local one. Raises OperatorError, ConfigError.

    IMGPRO_KEY belongs to IMGPRO_URL: it is never sent to another server that was named.
    """
    home = os.environ.get("IMGPRO_URL")
    address = check_server(server or home or load(None, {}).settings.api_url)
    is_elsewhere = server is not None and bool(home) and address != str(home).rstrip("/")
    found = key or (None if is_elsewhere else os.environ.get(NEAR_KEY))
    return Place(address, _check_key(found, f"--server-key or {NEAR_KEY}", address))


def far_place(server: str, key: str | None) -> Place:
    """The other server. Raises OperatorError."""
    address = check_server(server)
    return Place(address, _check_key(key or os.environ.get(FAR_KEY), f"--key or {FAR_KEY}", address))


def _check_key(key: str | None, where: str, address: str) -> str:
    if not key:
        raise OperatorError(f"There is no API key for {address}. Give it with {where}.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise OperatorError(f"The API key of {where} has characters that no key has. Copy it once more.")
    return key
