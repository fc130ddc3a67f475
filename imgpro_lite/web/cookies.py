"""The session's cookie, and when a request under /v1 counts as sent by the one who is signed in.

A browser sends cookies by itself, whoever makes it send the request; a key never. So a cookie counts for the API only
where our own script has sent the request from our own page, and is nothing at all everywhere else.
"""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from imgpro_lite.errors import Unauthorized
from imgpro_lite.runtime import Runtime
from imgpro_lite.services.sessions import LIFETIME_SECONDS, Session, read_token, write_token
from imgpro_lite.settings import Settings

CSRF_HEADER = "x-csrf-token"
# A token has some 200 characters. What is longer is not looked at.
MAX_TOKEN_CHARS = 1024


def cookie_name(settings: Settings) -> str:
    """The prefixes have browsers refuse what a neighbouring site, or one without TLS, would set in our name
    (RFC 6265bis, 4.1.3). `__Host-` is only possible where the pages have the whole host."""
    url = urlsplit(settings.public_url)
    if url.scheme != "https":
        return "imgpro-session"
    return "__Secure-imgpro-session" if url.path else "__Host-imgpro-session"


def set_cookie(response: Response, rt: Runtime, session: Session) -> None:
    """Have the browser keep a session.

    Lax and not strict: who follows a link from a mail or a chat is signed in here too. Forms and scripts of other
    sites still come without it.
    """
    url = urlsplit(rt.public_url)
    response.set_cookie(
        cookie_name(rt.settings),
        write_token(rt, session),
        max_age=max(0, session.began_at + LIFETIME_SECONDS - rt.clock.now()),
        path=url.path or "/",
        secure=url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def read_session(request: Request, rt: Runtime) -> Session | None:
    """The session that a request's cookie is of, whether or not anybody is signed in."""
    token = request.cookies.get(cookie_name(rt.settings), "")
    return read_token(rt, token) if 0 < len(token) <= MAX_TOKEN_CHARS else None


def says_where_from(request: Request) -> bool:
    """Whether the browser says which site makes it send a request (Fetch Metadata): only over https and on the machine
    itself. Where a page was asked for without, what its scripts send says nothing either."""
    return "sec-fetch-site" in request.headers


def is_of_a_session(request: Request) -> bool:
    """Whether a request to the API wants to count as sent by who is signed in. A key wins, also a wrong one."""
    return CSRF_HEADER in request.headers and "authorization" not in request.headers


def refuse_foreign_script(request: Request, rt: Runtime) -> None:
    """Let a request through that a script on one of our pages has sent. Raises Unauthorized, with what to do.

    No other site can have a browser send what is asked for: Sec-Fetch-Site cannot be set by scripts at all, and the
    token's header only after a preflight that asks for it, which allows no cookies. What fails is never a stranger's
    request instead: our own page may have sent it, and a picture would get into the wrong hands.
    """
    sites = request.headers.getlist("sec-fetch-site")
    if not sites:
        raise Unauthorized(
            "Your browser does not say that a page of this server has sent this, so it does not count as yours. "
            "Open the page over https:// or as http://localhost, or use an API key."
        )
    if sites != ["same-origin"] or not getattr(request.state, "is_on_pages_host", False):
        raise Unauthorized(
            f"A request of another site does not count as yours. Open {rt.public_url}/ instead, or use an API key."
        )
    if not _is_own_origin(request, rt):
        raise Unauthorized(
            "The page that has sent this is at an address that this server does not know as its own, so it does not "
            "count as yours: its operator has to set [server] public_url, or have the proxy pass on the Host header."
        )


def _is_own_origin(request: Request, rt: Runtime) -> bool:
    """Whether the request names no other place as the one that it was made in. Browsers leave it out where they only
    read. A proxy may not pass on the host that they see."""
    origins = request.headers.getlist("origin")
    own = {request.headers.get("host", ""), urlsplit(rt.public_url).netloc}
    return not origins or (len(origins) == 1 and _authority(origins[0]) in own)


def _authority(origin: str) -> str:
    scheme, _, authority = origin.partition("://")
    return authority if scheme in ("http", "https") else "none of ours"
