"""Settings that load, but together do not do what was probably meant."""

import errno
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from urllib.parse import urlsplit

from imgpro_lite.mail.addresses import domain_of, sender_address
from imgpro_lite.services.diagnosis.finding import Area, Finding, Level
from imgpro_lite.settings import Settings
from imgpro_lite.store.data_dir import is_running

# Proxies are a few machines; a network as large as this has strangers in it. By version of the protocol.
WIDE_PREFIX_BITS = {4: 8, 6: 16}


def check_configuration(settings: Settings) -> list[Finding]:
    """What there is to say of the settings; one finding when there is nothing."""
    checks = (_addresses, _proxies, _mail, _anonymous, _plans, _metrics, _ports)
    found = [finding for check in checks for finding in check(settings)]
    return found or [Finding(Level.OK, Area.CONFIGURATION, "The settings fit together.")]


def _warning(what: str, why: str, todo: str) -> Finding:
    return Finding(Level.WARNING, Area.CONFIGURATION, what, why, todo)


def _note(what: str, why: str, todo: str) -> Finding:
    return Finding(Level.NOTE, Area.CONFIGURATION, what, why, todo)


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine, as it calls itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _addresses(settings: Settings) -> Iterator[Finding]:
    public = urlsplit(settings.public_url)
    is_public = not is_local(public.hostname or "")
    if public.scheme == "http" and is_public:
        yield _warning(
            f"[server] public_url is {settings.public_url}, without TLS.",
            "Keys and pictures can be read on the way, and browsers keep no session: signing in and uploading as a "
            "team do not work there.",
            "Put a proxy with TLS in front, and write https:// (see README, Behind a reverse proxy).",
        )
    if not is_local(settings.server.host) and not is_public:
        yield _warning(
            f"The server listens on {settings.server.host}, but its links begin with {settings.public_url}.",
            "Nobody on another machine can open the links that it gives out.",
            "Set [server] public_url to its real address, or listen on 127.0.0.1.",
        )
    for name, url in (("src_url", settings.src_url), ("api_url", settings.api_url)):
        if public.scheme == "https" and urlsplit(url).scheme == "http":
            yield _warning(
                f"[server] {name} is {url}, without TLS, while public_url has it.",
                "Browsers load nothing without TLS into pages with it.",
                "Write https://, and let the proxy answer so for that host too.",
            )


def _proxies(settings: Settings) -> Iterator[Finding]:
    proxies = settings.server.trusted_proxies
    if urlsplit(settings.public_url).scheme == "https" and is_local(settings.server.host) and not proxies:
        yield _warning(
            "There is a proxy (public_url is https), but [server] trusted_proxies is empty.",
            "All callers have the proxy's address: they share one rate limit, and who fills it locks out all.",
            'Set trusted_proxies = ["127.0.0.1", "::1"], or what the proxy\'s address is.',
        )
    for network in proxies:
        if network.prefixlen < WIDE_PREFIX_BITS[network.version]:
            yield _warning(
                f"[server] trusted_proxies has {network}, which is far more than proxies.",
                "Anybody in it can claim any address, and so has no rate limits.",
                "Name the addresses of the proxies only.",
            )


def _mail(settings: Settings) -> Iterator[Finding]:
    own = urlsplit(settings.public_url).hostname or ""
    if not settings.mail.host:
        yield _note(
            "[mail] host is empty: mail is written to outbox/ in the data directory.",
            "Nobody can confirm an address or sign in by mail.",
            "Set a mail server, or confirm keys with `imgpro-lite keys verify`.",
        )
    elif settings.mail.from_:
        sender = domain_of(_address(settings))
        if not (own == sender or own.endswith(f".{sender}") or sender.endswith(f".{own}")):
            yield _note(
                f"Mail is from {sender}, while the server is at {own}.",
                "Mail servers take a sender for spam that the domain's SPF record does not have.",
                f"See to it that the SPF and DKIM records of {sender} allow {settings.mail.host}.",
            )
    elif is_local(own):
        yield _warning(
            f"Mail is from noreply@{own}, because [mail] from is empty.",
            "No mail server takes it, and its links lead to this machine.",
            "Set [mail] from, and [server] public_url to an address that others reach.",
        )
    if (
        settings.mail.host
        and settings.mail.tls == "none"
        and settings.mail.password
        and not is_local(settings.mail.host)
    ):
        yield _warning(
            f"[mail] tls is none, and the password goes to {settings.mail.host} as it is.",
            "Whoever sees the network on the way can read it, and the mails with their links.",
            'Set [mail] tls = "starttls", or "tls" with port = 465.',
        )
    if not settings.server.contact:
        yield _note(
            "[server] contact is empty.",
            "Pages cannot say whom to ask, and requests for larger plans reach nobody.",
            "Set an e-mail address.",
        )


def _address(settings: Settings) -> str:
    try:
        return sender_address(settings.mail.from_, settings.public_url).addr_spec
    except ValueError:
        return settings.mail.from_


def _anonymous(settings: Settings) -> Iterator[Finding]:
    limits = settings.limits
    no_limits = not (limits.anonymous_uploads_per_hour or limits.anonymous_uploads_per_day)
    if settings.anonymous.enabled and no_limits and _is_reached(settings):
        yield _warning(
            "Uploads without a key have no rate limits.",
            "One stranger can fill the space for anonymous images in minutes.",
            "Set [limits] anonymous_uploads_per_hour and anonymous_uploads_per_day, or [anonymous] enabled = false.",
        )


def _is_reached(settings: Settings) -> bool:
    return not is_local(settings.server.host) or not is_local(urlsplit(settings.public_url).hostname or "")


def _plans(settings: Settings) -> Iterator[Finding]:
    if "free" not in settings.plans:
        yield _warning(
            "There is no plan `free`.",
            "New teams are on it; they get the limits of the smallest plan there is.",
            "Add [plans.free].",
        )
    priced = sorted(settings.plans.items(), key=lambda item: item[1].uploads_per_month or float("inf"))
    for (name, plan), (larger_name, larger) in pairwise(priced):
        if larger.offered and plan.offered and larger.price_usd_per_month < plan.price_usd_per_month:
            yield _note(
                f"Plan {larger_name} has more uploads than {name}, and costs less.",
                "Nobody would take the smaller one.",
                "Look at the prices in [plans].",
            )


def _metrics(settings: Settings) -> Iterator[Finding]:
    metrics = settings.metrics
    if metrics.port and not is_local(metrics.host) and not metrics.token:
        yield _warning(
            f"/metrics on {metrics.host} port {metrics.port} answers everybody who reaches it.",
            "It tells how much the server is used, and by how many teams.",
            "Set [metrics] token, or let a firewall keep others out.",
        )


def _ports(settings: Settings) -> Iterator[Finding]:
    """A port that another program has. While a server of ours runs here, it is that."""
    try:
        runs = is_running(settings.data_dir)
    except OSError:  # not for this user
        return
    if runs or not settings.server.port:
        return
    wanted = [("[server] port", settings.server.host, settings.server.port)]
    if settings.metrics.port:
        wanted.append(("[metrics] port", settings.metrics.host, settings.metrics.port))
    for name, host, port in wanted:
        if _is_taken(host, port):
            yield _warning(
                f"Another program has {name} {port} of {host}.",
                "The server cannot start.",
                "Stop that program, or choose another port.",
            )


def _is_taken(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
