"""Where the bytes of images may be fetched from: the host of the API itself, and otherwise the public internet.

A server names the addresses of its images, so it could name some inside of our network, for us to send on what is
there. Only a server that is inside itself may do so: an operator's own, on this machine or beside it.
"""

from collections.abc import Iterable
from functools import cached_property

import httpcore2

from imgpro_lite.errors import FetchFailed
from imgpro_lite.fetching.addresses import Address, is_own, is_public, parse_address
from imgpro_lite.fetching.resolver import look_up
from imgpro_lite.fetching.urls import host_of, parse_url


def _is_outside(address: Address | None) -> bool:
    return address is not None and is_public(address) and not is_own(address)


class Reach(httpcore2.NetworkBackend):
    """Connections that are checked as they are dialled, so that a name cannot lead elsewhere the second time."""

    def __init__(self, api_server: str) -> None:
        """`api_server` is the address of the API that names the images."""
        self._api_host = host_of(parse_url(api_server))
        self._dialer = httpcore2.SyncBackend()

    @cached_property
    def _is_inside(self) -> bool:
        """Whether the API itself is on this machine or in its network."""
        try:
            found = look_up(self._api_host)
        except OSError:  # known to a proxy of the environment only
            return False
        return not any(_is_outside(parse_address(text)) for text in found)

    def _addresses(self, host: str) -> list[str]:
        try:
            found = list(dict.fromkeys(look_up(host)))
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        if host.rstrip(".") != self._api_host and not self._is_inside:
            for text in found:  # one is enough: an honest name does not mix public addresses with others
                if not _is_outside(parse_address(text)):
                    raise FetchFailed(f"{host} has the address {text}, which is not on the public internet")
        return found

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """A connection to one of the host's addresses. Raises FetchFailed, httpcore2.ConnectError and such."""
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in self._addresses(host):
            try:
                return self._dialer.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
