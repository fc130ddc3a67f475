"""Whether and how a server may run in dev mode."""

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from imgpro_lite import ids
from imgpro_lite.errors import OperatorError
from imgpro_lite.settings import ServerSettings, Settings

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - it is what was asked for
TOKEN_BYTES = 16  # 128 bits, which nobody guesses


@dataclass(frozen=True)
class DevMode:
    """What `serve --dev` asked for."""

    host_name: str | None = None
    """The one name, beside those of this machine, under which the server may be called."""
    token: str | None = None
    """What the control plane demands when others than this machine can reach it."""
    seed_folder: Path | None = None
    """What the library has when the server begins to listen, and after a reset."""
    key: str | None = None
    """A key that works then, of a verified team."""

    @property
    def host_names(self) -> frozenset[str]:
        """Every host name that requests may be for, in lower case and without brackets or port."""
        return LOCAL_NAMES | ({self.host_name} if self.host_name else set())


def enter_dev_mode(
    settings: Settings, host_name: str | None, seed_folder: Path | None = None, key: str | None = None
) -> tuple[Settings, DevMode]:
    """The settings that dev mode runs with, and the mode. Raises OperatorError where strangers could reach it.

    Mail goes to the outbox and never to real people, and an upgrade is applied unless it is paid for elsewhere.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES) if host_name else None
    mode = DevMode(host_name.lower().rstrip(".") if host_name else None, token, seed_folder, key)
    if key is not None and not ids.is_api_key(key):
        raise OperatorError(f"--with-key must be {ids.API_KEY_PREFIX} and {ids.API_KEY_CHARS} letters and digits.")
    _refuse_other_addresses(settings, mode)
    server = {}
    if mode.host_name and settings.server.host == ServerSettings().host:
        server["host"] = EVERY_ADDRESS  # which the name leads to, in another container
    changes = {
        "server": settings.server.model_copy(update=server),
        "mail": settings.mail.model_copy(update={"host": ""}),
        "upgrade": settings.upgrade.model_copy(
            update={"mode": "apply" if settings.upgrade.mode == "ask" else settings.upgrade.mode}
        ),
    }
    return settings.model_copy(update=changes), mode


def with_own_address(settings: Settings, mode: DevMode) -> Settings:
    """The settings of a server that is called by a name: its addresses begin with that. The port must be known."""
    if mode.host_name is None or settings.server.public_url:
        return settings
    url = f"http://{mode.host_name}:{settings.server.port}"
    return settings.model_copy(update={"server": settings.server.model_copy(update={"public_url": url})})


def _refuse_other_addresses(settings: Settings, mode: DevMode) -> None:
    if mode.host_name is None and not is_loopback(settings.server.host):
        raise OperatorError(
            f"Dev mode is for this machine only, and [server] host is {settings.server.host}. Leave it out, or name "
            "the one host that a container is called by: --dev-host NAME."
        )
    for name in ("public_url", "api_url", "src_url"):
        url = getattr(settings.server, name)
        host = (urlsplit(url).hostname or "").lower()
        if url and host not in mode.host_names:
            raise OperatorError(
                f"Dev mode is for this machine only, and [server] {name} is {url}. Serve without --dev, or with a "
                "configuration file of its own: --config."
            )
    if mode.host_name is not None and not _is_host_name(mode.host_name):
        raise OperatorError("--dev-host must be one host name or address, without port, such as images.test.")


def _is_host_name(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace(".", "").replace("_", "").isalnum()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
