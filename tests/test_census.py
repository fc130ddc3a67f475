"""How many connections one address gets, and that ending one makes room."""

from ipaddress import ip_network

import pytest

from imgpro_lite.connections.census import Census, open_census
from imgpro_lite.settings import ServerSettings


def census(max_connections: int = 10, max_per_address: int = 2) -> Census:
    return Census(max_connections, max_per_address, (ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"),
    ],
)
def test_one_address_gets_a_part(address: str, same: str, other: str) -> None:
    connections = census()
    assert [connections.admit(one) for one in (address, same, address, other)] == [True, True, False, True]
    connections.release(same)
    assert [connections.admit(address), connections.admit(same)] == [True, False]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "10.1.2.3", ""])
def test_this_machine_and_our_proxies_get_all_but_no_more(address: str) -> None:
    connections = census()
    assert [connections.admit(address) for _ in range(11)] == [True] * 10 + [False]
    assert not connections.admit("192.0.2.1")
    connections.release(address)
    assert connections.admit("192.0.2.1")


def test_it_forgets_who_has_gone() -> None:
    connections = census(max_connections=100)
    for number in range(200):
        assert connections.admit(f"192.0.2.{number}")
        connections.release(f"192.0.2.{number}")
    assert connections == census(max_connections=100)


def test_without_a_setting_it_is_a_quarter() -> None:
    assert open_census(ServerSettings(max_connections=40)).max_per_address == 10
    assert open_census(ServerSettings(max_connections=1)).max_per_address == 1
    assert open_census(ServerSettings(max_connections=40, max_connections_per_address=7)).max_per_address == 7
