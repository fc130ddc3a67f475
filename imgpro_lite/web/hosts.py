"""Which host serves which part, and where (decision 2)."""

import re
from urllib.parse import urlsplit

from imgpro_lite.ids import MEDIA_ID_CHARS
from imgpro_lite.settings import Settings

HEALTH_PATH = "/healthz"  # every host answers it

# Which addresses leave out. One of http is not told from one of https, as a proxy may speak TLS in front.
_USUAL_PORTS = ("", "80", "443")


class Hosts:
    """The configured addresses of the pages, the API and the image bytes."""

    def __init__(self, settings: Settings) -> None:
        urls = {"pages": settings.public_url, "api": settings.api_url, "src": settings.src_url}
        split = {part: urlsplit(url) for part, url in urls.items()}
        self._parts_of_prefix: dict[str, set[str]] = {}
        for part, parts in split.items():
            if parts.path:
                self._parts_of_prefix.setdefault(parts.path, set()).add(part)
        self._parts_of_host: dict[str, set[str]] = {}  # with a port only if it is not a usual one
        self._parts_of_name: dict[str, set[str]] = {}
        for part, parts in split.items():
            # The dashboard on the pages' host uses the API of its own origin.
            served = {part, "api"} if part == "pages" else {part}
            name, port = _split_host(parts.netloc)
            own = name if port in _USUAL_PORTS else f"{name}:{port}"
            self._parts_of_host.setdefault(own, set()).update(served)
            self._parts_of_name.setdefault(name, set()).update(served)
        if prefix := split["pages"].path:
            self._parts_of_prefix[prefix].add("api")
        # Longest first, so that of /img and /img/api the right one is taken off.
        self._prefixes = sorted(self._parts_of_prefix, key=len, reverse=True)

    def serve(self, host: str, part: str) -> bool:
        """Whether a host serves `pages`, `api` or `src`. One that is not configured, such as an IP, serves all. A
        configured name is that host with whatever port, because proxies pass on what clients wrote there."""
        parts = self._parts_of_host.get(host)  # as nearly all clients spell it
        if parts is None:
            name, port = _split_host(host)
            own = name if port in _USUAL_PORTS else f"{name}:{port}"
            parts = self._parts_of_host.get(own) or self._parts_of_name.get(name)
        return parts is None or part in parts

    def without_prefix(self, path: str) -> str:
        """The path as the routes know it. No prefix hides what another part has there: /api/v1/…, /api/errors."""
        for prefix in self._prefixes:
            rest = path.removeprefix(prefix) or "/"  # the first page has its address with and without a slash
            if f"{path}/".startswith(f"{prefix}/") and (
                part_of(rest) in self._parts_of_prefix[prefix] or rest == HEALTH_PATH
            ):
                return rest
        return path


def _split_host(host: str) -> tuple[str, str]:
    """Name and port, "" without one, of what a Host header or an address has. Names are in lower case, and without
    the dot at the end that means the same."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):  # the colons of an IPv6 address are in brackets
        name, port = host.lower(), ""
    return name.rstrip("."), port


# First parts of paths that are pages for people, so that errors there are pages too (decision 47).
_PAGES = frozenset({"api", "dashboard", "pricing", "upgrade", "verify"})
_MEDIA_ID = re.compile(f"[a-z0-9]{{{MEDIA_ID_CHARS}}}")


def is_page(path: str) -> bool:
    """Whether people see what is at a path in a browser, after any prefix is taken off."""
    first = path.split("/")[1]
    return path == "/" or first in _PAGES or _MEDIA_ID.fullmatch(first) is not None


def part_of(path: str) -> str:
    """The part that a path belongs to, after any prefix is taken off."""
    _, first, *rest = path.split("/")
    if first == "v1":
        return "api"
    return "src" if rest and "." in rest[-1] and len(rest) == 1 and len(first) == 5 else "pages"
