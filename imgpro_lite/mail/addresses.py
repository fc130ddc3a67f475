"""E-mail addresses as they go into headers and to a mail server."""

from email.headerregistry import Address
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email


def mail_domain(public_url: str) -> str:
    """The name that this server has in mail. An address of digits would need brackets, and is nobody's name anyway."""
    host = urlsplit(public_url).hostname or ""
    is_name = any(char.isalpha() for char in host) and ":" not in host
    return host if is_name else "localhost"


def sender_address(from_setting: str, public_url: str) -> Address:
    """Who mail is from: `name@example.com` or `Some Name <name@example.com>`, else noreply@ our own host."""
    name, bracket, address = (from_setting or f"noreply@{mail_domain(public_url)}").rpartition("<")
    return header_address(address.rstrip(">"), name.strip() if bracket else "")


def header_address(address: str, name: str = "") -> Address:
    """An address for a header. Raises ValueError for line breaks in it."""
    local_part, _, domain = to_ascii_domain(address).rpartition("@")
    return Address(name, username=local_part, domain=domain)


def to_ascii_domain(address: str) -> str:
    """The address with an international domain in the spelling that every mail server knows (RFC 5891)."""
    if domain_of(address).isascii():
        return address
    try:
        valid = validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return address
    return f"{valid.local_part}@{valid.ascii_domain}"


def domain_of(address: str) -> str:
    """What is behind the @."""
    return address.rpartition("@")[2]
