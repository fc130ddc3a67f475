"""From a request to what the services understand: the caller, its address, and parsed bodies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from starlette.requests import ClientDisconnect, Request

from imgpro_lite.errors import BadRequest, Overloaded, RequestTimeout, Unauthorized
from imgpro_lite.models import Ability, Caller
from imgpro_lite.runtime import Runtime
from imgpro_lite.services import accounts, sessions
from imgpro_lite.strict_json import parse_json
from imgpro_lite.web.cookies import CSRF_HEADER, is_of_a_session, read_session, refuse_foreign_script

MAX_JSON_BYTES = 1024 * 1024  # decision 47

# Every connection may have so much of a body in memory; ours end there: metadata has 16 KB, written with escapes 96.
# Beyond that a body counts against what all large ones may take together, or 250 slow clients would take 250 MB.
SMALL_BODY_BYTES = 100 * 1024
RETRY_LARGE_BODY_SECONDS = 10  # an honest client has sent 1 MB by then

# A body may be slow, but not so slow that it only holds the connection.
MIN_BODY_BYTES_PER_SECOND = 1024

# One customer gets at least a /64 (RFC 6177), so limits count networks of that size and not single addresses.
IPV6_PREFIX_BITS = 64

# An ASGI extension of our server, whose `close` closes the connection after what was written to it, whatever is
# still to come. Clients see an answer that breaks off, or none.
CLOSE_EXTENSION = "imgpro.close"


def runtime(request: Request) -> Runtime:
    """The server's runtime, as app.py put it there."""
    rt: Runtime = request.app.state.runtime
    return rt


async def identify(request: Request) -> Caller:
    """Who sends this request. A key that is wrong never falls back to anonymous (decision 13), and neither does a
    request that has the token of a session, whatever else is wrong with it. Raises Unauthorized."""
    rt = runtime(request)
    address = rate_subject(client_address(request, rt))
    if is_of_a_session(request):
        return await _signed_in(request, rt, address)
    return await accounts.identify(rt, _bearer(request), address)


async def _signed_in(request: Request, rt: Runtime, address: str) -> Caller:
    refuse_foreign_script(request, rt)
    session = read_session(request, rt)
    if session is not None and sessions.is_csrf_token(rt, session, request.headers[CSRF_HEADER]):
        caller = await sessions.find_caller(rt, session, address)
        if caller is not None:
            return caller
    raise Unauthorized("You are not signed in any more. Reload the page and sign in again.")


async def get_caller(request: Request, ability: Ability, *, anonymous: bool = False) -> Caller:
    """Who sends this request and may do what it asks for.

    Raises Unauthorized, also without a key where `anonymous` is not allowed, RateLimited and Forbidden.
    """
    caller = await identify(request)
    if caller.anonymous and not anonymous:
        raise Unauthorized
    accounts.authorize(runtime(request), caller, ability)
    return caller


def _bearer(request: Request) -> str | None:
    """The key of the Authorization header; None when there is no such header. Raises Unauthorized."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    scheme, _, key = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized
    return key.strip()


def client_address(request: Request, rt: Runtime) -> str:
    """The client's IP address: the socket's, or the right-most in X-Forwarded-For that is no trusted proxy."""
    address = request.client.host if request.client else ""
    hops = [hop for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    while hops and _is_trusted(address, rt):
        forwarded = parse_address(_without_port(hops.pop().strip()))
        if forwarded is None:
            break
        address = str(forwarded)
    return address


def _is_trusted(address: str, rt: Runtime) -> bool:
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in rt.settings.server.trusted_proxies)


def _without_port(hop: str) -> str:
    """The address of an X-Forwarded-For entry; some proxies write `192.0.2.1:1234` or `[2001:db8::1]:1234`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, or None; an IPv4 one that was mapped into IPv6 is IPv4 again."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def rate_subject(address: str) -> str:
    """What rate limits count, and what people are told: an IPv4 address, or the network of an IPv6 one. This machine
    has only one address."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address) and not parsed.is_loopback:
        return str(ip_network((parsed, IPV6_PREFIX_BITS), strict=False))
    return str(parsed) if parsed else address


def query_values(request: Request, names: Iterable[str], *, joined: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The known parameters of the query that are not empty, and what is wrong with some. `joined` may be repeated."""
    values: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for name in names:
        given = [value for value in request.query_params.getlist(name) if value]
        if len(given) > 1 and name != joined:
            repeated[name] = ["was given more than once"]
        elif given:
            values[name] = ",".join(given)
    return values, repeated


async def read_json_object(request: Request, *, empty_ok: bool = False) -> dict[str, Any]:
    """The JSON object of the body. Raises BadRequest for what cannot be parsed (decision 47)."""
    body = await read_body(request, MAX_JSON_BYTES)
    if empty_ok and not body:
        return {}
    try:
        value = parse_json(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRequest("The body is not valid UTF-8.") from None
    except ValueError:
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises BadRequest when it has more bytes, Overloaded when too many are large at the same time."""
    budget = runtime(request).large_bodies
    body, taken_bytes = bytearray(), 0
    try:
        async for chunk in body_chunks(request):
            body += chunk
            if len(body) > max_bytes:
                raise BadRequest(f"The body exceeds the limit of {max_bytes // 1024} KB.")
            if len(body) > SMALL_BODY_BYTES:
                if not budget.take(len(chunk)):
                    raise Overloaded(RETRY_LARGE_BODY_SECONDS)
                taken_bytes += len(chunk)
        return bytes(body)
    finally:
        budget.give_back(taken_bytes)


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises RequestTimeout when it stands still or crawls, ClientDisconnect when the client
    has gone."""
    limits = runtime(request).settings.server
    stream = request.stream()
    window_began_at, window_bytes = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(limits.body_idle_seconds):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = f"No data arrived for {limits.body_idle_seconds:g} seconds, so the request was given up."
            raise RequestTimeout(message) from None
        window_bytes += len(chunk)
        window_seconds = time.monotonic() - window_began_at
        if window_seconds >= limits.body_seconds:
            if window_bytes < MIN_BODY_BYTES_PER_SECOND * window_seconds:
                raise RequestTimeout("The body arrived too slowly, so the request was given up.")
            window_began_at, window_bytes = time.monotonic(), 0
        yield chunk


@contextlib.asynccontextmanager
async def ends_with_client(request: Request) -> AsyncIterator[None]:
    """End the block when the client goes away while it waits. Only after the body was read. Raises ClientDisconnect."""
    scope = asyncio.timeout(None)

    async def watch() -> None:
        if (await request.receive())["type"] == "http.disconnect":
            scope.reschedule(asyncio.get_running_loop().time())

    try:
        async with scope:
            watcher = asyncio.create_task(watch())
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError:
        if scope.expired():
            raise ClientDisconnect from None
        raise
