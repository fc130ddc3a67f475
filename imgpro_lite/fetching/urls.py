"""URLs of strangers. One parser, httpx2's, makes the object that is checked, dialled and sent in the request."""

import re
from urllib.parse import unquote

import httpx2

from imgpro_lite.errors import FetchFailed

# Signed links of object stores have 2 KB at most; servers commonly refuse more than 8 KB.
MAX_URL_CHARS = 8192

DEFAULT_PORTS = {"http": 80, "https": 443}

# A name or an address as it goes to the resolver. Nothing that another parser might read differently, such as % and @.
_HOST = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,252}|[0-9a-f:.]{2,45}")

# Who is asked, as it is written. Python's `int`, by which httpx2 reads a port, takes more than ASCII digits.
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#]*)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]{0,5})?")


def parse_url(text: str) -> httpx2.URL:
    """An absolute http or https URL with a host and without credentials. Raises FetchFailed."""
    _refuse_odd_text(text)
    try:
        return _checked(httpx2.URL(text), text)
    except httpx2.InvalidURL:  # its text may quote a password
        raise FetchFailed("the URL is not valid") from None


def redirect_target(url: httpx2.URL, location: bytes) -> httpx2.URL:
    """Where a redirect from `url` goes: the same demands, and never from https back to http. Raises FetchFailed."""
    try:
        text = location.decode("utf-8")
    except UnicodeDecodeError:
        raise FetchFailed("the redirect is not UTF-8") from None
    _refuse_odd_text(text)
    try:
        target = httpx2.URL(text)
        # With a scheme it stands by itself: joined, http:/x and http:///x would be paths of this host.
        target = _checked(target if target.scheme else url.join(target), text)
    except (httpx2.InvalidURL, ValueError):  # ValueError is urllib's
        raise FetchFailed("the redirect is not valid") from None
    if url.scheme == "https" and target.scheme == "http":
        raise FetchFailed("the redirect leads from https to http")
    return target


def host_of(url: httpx2.URL) -> str:
    """The host, in ASCII and without the dot that a full domain name may end with."""
    return url.raw_host.decode("ascii").rstrip(".")


def port_of(url: httpx2.URL) -> int:
    """The port, also where the URL leaves it to the scheme."""
    return url.port if url.port is not None else DEFAULT_PORTS[url.scheme]


def file_name(text: str) -> str:
    """The last segment of a URL's path, decoded: the name of the image where the caller gives none. May be empty."""
    return unquote(text.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2].rpartition("/")[2])


def _refuse_odd_text(text: str) -> None:
    """What browsers drop or turn around, and what would forge a line of the request or of the log."""
    if len(text) > MAX_URL_CHARS:
        raise FetchFailed(f"the URL has more than {MAX_URL_CHARS} characters")
    if not text.isprintable() or " " in text or "\\" in text:
        raise FetchFailed("the URL has spaces, backslashes or control characters")


def _checked(url: httpx2.URL, text: str) -> httpx2.URL:
    """The URL that was made of a text, if it is one that may be asked."""
    if url.scheme not in DEFAULT_PORTS:
        raise FetchFailed("the URL is not http or https")
    if url.userinfo:
        raise FetchFailed("the URL has a user name or password")
    if not _HOST.fullmatch(url.raw_host.decode("ascii")):
        raise FetchFailed("the URL has no valid host")
    if (authority := _AUTHORITY.match(text)) and not _HOST_AND_PORT.fullmatch(authority[1]):
        raise FetchFailed("the URL's port is not a number")
    return url
