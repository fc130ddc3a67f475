"""Kinds of values that settings have, with the sentence that says what is wrong with one."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork

Count = Annotated[int, Field(ge=0, le=2**40)]
Quality = Annotated[int, Field(ge=1, le=100)]

# scheme, host (a name or an address; an IPv6 one in brackets), port, path. ASCII only, because it goes into headers.
_BASE_URL = re.compile(r"https?://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~%/-]*)?")
# The machine's own mail server may know names without a dot, such as root@localhost.
_EMAIL_ADDRESS = re.compile(r"[^\s<>@\"(),:;\[\]\\]{1,64}@[^\s<>@\"(),:;\[\]\\]{1,255}")
_MAILBOX = re.compile(rf"(?P<name>[^<>@\"\\]{{0,100}})<(?P<address>{_EMAIL_ADDRESS.pattern})>")
# The same with a query, and with placeholders. It goes into a header, where a host of other characters would end it.
_PAYMENT_URL = re.compile(r"https?://[A-Za-z0-9.{}-]+(?::[0-9]{1,5})?(?:[/?#][!-~]*)?")
PAYMENT_PLACEHOLDERS = ("plan", "team", "email")
_PLAN_NAME = re.compile(r"[a-z0-9-]{1,32}")


def _check_base_url(value: str) -> str:
    """An absolute http(s) address without query or fragment, without its trailing slash. Empty means "not set"."""
    match = _BASE_URL.fullmatch(value)
    if value and (not match or int(match[1] or 1) not in range(1, 65536)):
        raise ValueError("must be an address like https://images.example.com or https://example.com/img")
    return value.rstrip("/")


def _check_network(value: object) -> object:
    """One address, or a network in the form address/prefix."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("must be an address like 192.0.2.1 or a network like 10.0.0.0/8 or fd00::/8") from None


def _check_port(value: object) -> object:
    """A TCP port, also as text."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("must be a port from 1 to 65535")
    return int(text)


def _check_plan_name(value: str) -> str:
    """A name that fits into an address. Plan "owner" is built in: the operator's own, without limits (decision 14)."""
    if not _PLAN_NAME.fullmatch(value):
        raise ValueError("a plan's name is 1 to 32 characters of a-z, 0-9 and -")
    if value == "owner":
        raise ValueError('the plan "owner" is built in and has no limits; choose another name')
    return value


def check_email_address(value: str) -> str:
    """A bare address as an operator may write it. Empty means "not set". Raises ValueError with what is wrong."""
    if value and not (value.isprintable() and _EMAIL_ADDRESS.fullmatch(value)):
        raise ValueError("must be an e-mail address like images@example.com")
    return value


def _check_mailbox(value: str) -> str:
    """An address, with a name before it or not. Empty means "not set"."""
    if value and not (value.isprintable() and (_EMAIL_ADDRESS.fullmatch(value) or _MAILBOX.fullmatch(value))):
        raise ValueError("must be like images@example.com or Our Images <images@example.com>")
    return value


def check_payment_url(value: str) -> None:
    """Raise ValueError for what is no address, or has a placeholder that nothing is known to fill in. Empty passes."""
    if value and not _PAYMENT_URL.fullmatch(value):
        raise ValueError("must be an address like https://pay.example.com/?plan={plan}&team={team}")
    unknown = set(re.findall(r"\{([^}]*)\}", value)) - set(PAYMENT_PLACEHOLDERS)
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in PAYMENT_PLACEHOLDERS)
        raise ValueError(f"has {{{min(unknown)}}}, which nothing fills in; possible are {known}")


def _check_directory(value: object) -> object:
    """A path; a leading ~ is the home directory, as in a shell."""
    if value == "":
        raise ValueError("must not be empty; the current directory is .")
    try:
        return str(Path(value).expanduser()) if isinstance(value, str) else value
    except RuntimeError:  # ~name of somebody who does not exist
        raise ValueError("names a home directory that does not exist") from None


BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
Directory = Annotated[Path, BeforeValidator(_check_directory)]
EmailAddress = Annotated[str, AfterValidator(check_email_address)]
Mailbox = Annotated[str, AfterValidator(_check_mailbox)]
Network = Annotated[IPvAnyNetwork, BeforeValidator(_check_network)]
Port = Annotated[int, BeforeValidator(_check_port)]
PlanName = Annotated[str, AfterValidator(_check_plan_name)]
