"""A host's addresses and listeners, from tables of a real kernel."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.host_sockets import HostSockets

TABLES = """\
== fib_trie
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.200.0.0/24 2 0 2
        |-- 10.200.0.0
           /24 link UNICAST
        |-- 10.200.0.2
           /32 host LOCAL
        |-- 10.200.0.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL

== if_inet6
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000042c6fffe3c1234 03 40 20 80  docker0
20010db8000000000000000000000002 02 40 00 80     eth0

== ipv6_route
00000000000000000000000000000001 80 0 00 0 00000000 00000004 00000000 80200001       lo
fd000099000000000000000000000000 40 0 00 0 00000400 00000001 00000000 80000001       lo
fd000088000000000000000000000000 40 0 00 0 00000100 00000001 00000000 00000001     eth0

== tcp
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0200C80A:0016 0100C80A:D431 01 00000000:00000000 00:00000000 00000000     0

== tcp6
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000
   1: B80D0120000000000000000002000000:01BB 00000000000000000000000000000000:0000 0A 00000000
"""


def test_addresses() -> None:
    """Single addresses that are the host's own count, link-local ones of IPv6 do not."""
    expected = ("10.200.0.2", "127.0.0.1", "2001:db8::2", "::1")
    assert expected == HostSockets.parsed(TABLES).addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.200.0.2", True),
        ("10.200.0.3", False),
        ("127.0.0.2", True),
        ("::1", True),
        ("2001:db8::2", True),
        ("fd00:99::7", True),
        ("fd00:88::7", False),
    ],
)
def test_has(address: str, expected: bool) -> None:
    """A host has each address of a range that is routed to itself, such as 127.0.0.0/8."""
    assert expected is HostSockets.parsed(TABLES).has(address)


def test_listeners() -> None:
    """Listening sockets count with address and port, connected ones do not."""
    expected = {("127.0.0.1", 8080), ("::", 80), ("2001:db8::2", 443)}
    assert expected == HostSockets.parsed(TABLES).listeners


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("127.0.0.1", 8080, True),
        ("10.200.0.2", 8080, False),
        ("10.200.0.2", 80, True),
        ("2001:db8::2", 80, True),
        ("2001:db8::3", 443, False),
    ],
)
def test_listens(address: str, port: int, expected: bool) -> None:
    """A listener on all addresses of IPv6 takes connections over IPv4 as well."""
    assert expected == HostSockets.parsed(TABLES).listens(address, port)


def test_still() -> None:
    """An address that has gone meanwhile is left out."""
    later = HostSockets(("127.0.0.1",), frozenset())
    assert ("127.0.0.1",) == HostSockets.parsed(TABLES).still(later).addresses


def test_no_tables() -> None:
    """A host that shows no addresses can't be judged."""
    with pytest.raises(CannotLook, match="fib_trie is empty"):
        HostSockets.parsed("== fib_trie\n\n== tcp\n")
