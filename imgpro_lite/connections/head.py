"""What a request's head must be like, beyond what the parser checks.

llhttp (under httptools) is strict by default and refuses by itself: two or odd Content-Lengths, one beside a
Transfer-Encoding, bare CR or LF, NUL, folded lines, space before the colon, and every fault of a chunk's framing. What
it lets pass, and where a proxy in front might read something else than we do, is refused here.
"""

import re
from collections.abc import Sequence

from imgpro_lite.errors import BadRequest, HeaderTooLarge, UriTooLong

# Our longest address, a signed link with a prefix, has 600 bytes; a batch by `?ids=` 1,600. As nginx's default.
MAX_TARGET_BYTES = 8 * 1024

# All of a head: as nginx's default. Browsers with many cookies send 4 KB.
MAX_HEAD_BYTES = 32 * 1024

MAX_HEADERS = 100  # as Apache's default; browsers send 20

_LINE_BYTES = len(b": \r\n")

# A name, an IPv4 address or an IPv6 one in brackets, and a port (RFC 3986, 3.2.2). Underscores are in the names of
# containers. Nobody registers names with percent signs or sub-delims.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")

# A target that names a host too, as for a proxy; every server must take it (RFC 9112, 3.2.2).
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)/.*", re.IGNORECASE)

Headers = Sequence[tuple[bytes, bytes]]


def check_head(http_version: str, target: bytes, headers: Headers, received_bytes: int) -> None:
    """Raise UriTooLong, HeaderTooLarge or BadRequest for a head that is not served; header names are in lower case.

    `received_bytes` is at least the length of the head, so that it is added up only where it may be too much, or 0.
    """
    if received_bytes > MAX_HEAD_BYTES or not received_bytes:
        received_bytes = len(target) + sum(len(name) + len(value) + _LINE_BYTES for name, value in headers)
    check_size(len(target), len(headers), received_bytes)
    if http_version not in ("1.1", "1.0"):
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    fields = dict(headers)
    host = fields.get(b"host")
    if host is None:
        if http_version == "1.1":
            raise BadRequest("The request has no Host header.")
    elif not _HOST.fullmatch(host):
        raise BadRequest("The Host header is not valid.")
    if len(fields) != len(headers):
        _check_single(headers)
    # Any other coding would reach the application still coded, and HTTP/1.0 knows none (RFC 9112, 6.1).
    coding = fields.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or http_version == "1.0"):
        raise BadRequest("The only Transfer-Encoding that is understood is chunked, with HTTP/1.1.")
    if not target.startswith(b"/"):
        _check_other_target(target, host)


def _check_single(headers: Headers) -> None:
    """Of two that say where the request goes or where its body ends, a proxy in front might believe the other one."""
    names = [name for name, _ in headers]
    for name in (b"host", b"transfer-encoding"):  # Content-Length is seen to by the parser
        if names.count(name) > 1:
            raise BadRequest(f"The request has more than one {name.decode().title()} header.")


def check_size(target_bytes: int, headers: int, head_bytes: int) -> None:
    """Raise UriTooLong or HeaderTooLarge for a head of such a size, also one that has not ended yet."""
    if target_bytes > MAX_TARGET_BYTES:
        raise UriTooLong(f"The address exceeds the limit of {MAX_TARGET_BYTES // 1024} KB.")
    if headers > MAX_HEADERS:
        raise HeaderTooLarge(f"The request has more than {MAX_HEADERS} headers.")
    if head_bytes > MAX_HEAD_BYTES:
        raise HeaderTooLarge(f"The headers exceed the limit of {MAX_HEAD_BYTES // 1024} KB.")


def _check_other_target(target: bytes, host: bytes | None) -> None:
    """Whatever is no path: `*`, or a whole URL of the same host."""
    if target == b"*":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or (host is not None and absolute[1].lower() != host.lower()):
        raise BadRequest("The address must be a path that begins with /.")


def announces_body(headers: Headers) -> bool:
    """Whether a body follows the head."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t")) for name, value in headers
    )
