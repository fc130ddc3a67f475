"""Who may speak to a server in dev mode: programs of this machine, and nobody's web page."""

import base64
import binascii
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from imgpro_lite.dev.mode import DevMode
from imgpro_lite.errors import Forbidden, ImgProError, Unauthorized
from imgpro_lite.web.responses import render_error

CONTROL_PREFIX = "/_dev"

# What reverse proxies and tunnels add, beside X-Forwarded-…. Any of them means that the request may be a stranger's.
FORWARDING_HEADERS = frozenset(
    {
        *("forwarded", "via", "true-client-ip", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-host"),
        *("x-original-forwarded-for", "x-original-url", "x-scheme", "x-envoy-external-address", "cf-connecting-ip"),
        *("cf-ray", "cdn-loop", "fastly-client-ip", "fly-client-ip", "x-appengine-user-ip", "x-vercel-forwarded-for"),
        "tailscale-user-login",
    }
)
SAME_SITE = frozenset({"same-origin", "none"})  # Sec-Fetch-Site: our own pages, and the person's own doing


def is_control(path: str) -> bool:
    """Whether a path, without any prefix of the configured address, is one of the control plane."""
    return f"{path}/".startswith(f"{CONTROL_PREFIX}/")


class Guard:
    """Refuses what cannot come from a program or a person at this machine.

    A name that only resolves to this machine (DNS rebinding) is another Host; a page of another site has an Origin or a
    Sec-Fetch-Site that says so. The API is open to pages of this machine on any port, not of any origin as elsewhere
    (decision 49): its answers carry links here that are for the owner of an address.
    """

    def __init__(self, app: ASGIApp, mode: DevMode) -> None:
        self._app = app
        self._mode = mode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except ImgProError as refusal:
                await (await render_error(Request(scope), refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        forwarded = next((name for name in headers if _says_forwarded(name)), None)
        if forwarded is not None:
            raise Forbidden(
                f"This server runs in dev mode, which takes no request that came through a proxy ({forwarded})."
            )
        if _host_name(headers.get("host", "")) not in self._mode.host_names:
            names = ", ".join(sorted(self._mode.host_names))
            raise Forbidden(f"This server runs in dev mode and is called {names}; --dev-host adds a name.")
        origin = headers.get("origin")
        if origin is not None and not self._is_local(urlsplit(origin).netloc):
            raise Forbidden("This server runs in dev mode, which is not for pages of other sites.")
        if is_control(path):
            self._check_control(headers)

    def _is_local(self, netloc: str) -> bool:
        """Whether a page is of this machine, as browsers see it (Secure Contexts, 3.1)."""
        name = _host_name(netloc)
        return name in self._mode.host_names or name.endswith(".localhost")

    def _check_control(self, headers: Headers) -> None:
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if is_foreign or headers.get("sec-fetch-site", "none") not in SAME_SITE:
            raise Forbidden("Pages of other sites may not use the control plane of dev mode.")
        if self._mode.token is not None and not _has_token(headers, self._mode.token):
            refusal = Unauthorized("The control plane demands the token that the server printed when it started.")
            refusal.headers["WWW-Authenticate"] = 'Basic realm="imgpro-lite dev mode", charset="UTF-8"'
            raise refusal


def _says_forwarded(name: str) -> bool:
    plain = name.replace("_", "-")
    return plain.startswith("x-forwarded") or plain in FORWARDING_HEADERS


def _host_name(host: str) -> str:
    """The name of a Host header, in lower case and without brackets, port or the dot of a full name."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _has_token(headers: Headers, token: str) -> bool:
    """Whether the token is there: as a bearer, or as the password that browsers ask for (RFC 7617)."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    return hmac.compare_digest(given.strip().encode(), token.encode())
