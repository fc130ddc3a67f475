"""Which IP addresses may be dialled for a stranger: those of the public internet that are not this machine's own."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# `ipaddress.is_global` (Python 3.11) calls these global, but nobody's pictures are there.
_NOT_PUBLIC_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "168.63.129.16/32",  # Azure's own services, as seen by every virtual machine
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890); Oracle's metadata service is at 192.0.0.192
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "224.0.0.0/4",  # multicast (RFC 5771)
    )
)
# All that is given out to networks (RFC 4291). Outside of it are loopback, link-local, unique local, multicast, and
# IPv4 addresses in other clothes: ::127.0.0.1, ::ffff:127.0.0.1, and NAT64's 64:ff9b::/96.
_GIVEN_OUT_IPV6 = IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments (RFC 2928): Teredo, which carries IPv4 addresses, among them
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056): carries an IPv4 address
        "3fff::/20",  # documentation (RFC 9637)
    )
)
# Interface identifiers of ISATAP (RFC 5214): the IPv4 address in the last 32 bits is where the packet goes.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

_ANY_PORT = 443


def parse_address(text: str) -> Address | None:
    """An address as the system's resolver writes it; None for what is none, or names a network interface."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_PUBLIC_IPV4)
    return (
        address in _GIVEN_OUT_IPV6
        and address.is_global
        and not any(address in network for network in _NOT_PUBLIC_IPV6)
        and int(address) >> 32 & 0xFFFF_FFFF not in _ISATAP
    )


def is_own(address: Address) -> bool:
    """Whether an address is this machine's, as a public one too. Services that a firewall hides from the world answer
    the machine itself.

    Asked is the routing table: only to an address of its own would the machine write from that address. Connecting a
    datagram socket sends nothing; binding one would do as well, but not where `ip_nonlocal_bind` is set.
    """
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback or plain.is_unspecified:  # it is reached there, but writes from another
        return True
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _ANY_PORT))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:  # there is no way to it
        return False
