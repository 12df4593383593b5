"""A host's own addresses and the ports that programs listen on, from the kernel's tables.

https://docs.kernel.org/networking/proc_net_tcp.html
"""

import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab

_TABLES = ("fib_trie", "if_inet6", "ipv6_route", "tcp", "tcp6")
_Range = IPv4Network | IPv6Network
# Not every host has IPv6. What is asked for is printed as it is, each table after its name.
_READ = """\
import sys
for name in sys.argv[1:]:
    try:
        text = open("/proc/net/" + name).read()
    except OSError:
        text = ""
    print("==", name)
    print(text)
"""
_LISTENS = "0A"
_LINK_LOCAL = "20"
_LEAF = re.compile(r"\|-- ([0-9.]+)")
_LOCAL = re.compile(r"/([0-9]+) host LOCAL")
_SINGLE = 32
# RTF_LOCAL in the kernel's include/uapi/linux/ipv6_route.h
_LOCAL_ROUTE = 0x80000000


class HostSockets(Struct, frozen=True):
    """The addresses that a host has (no link-local ones), and (address, port) of its listeners.

    Of `ranges` it has every address, such as 127.0.0.0/8, too many to list.
    """

    addresses: tuple[str, ...]
    listeners: frozenset[tuple[str, int]]
    ranges: tuple[_Range, ...] = ()

    def has(self, address: str) -> bool:
        """Whether what is sent there stays on the host."""
        found = ip_address(address)
        return address in self.addresses or any(found in one for one in self.ranges)

    def listens(self, address: str, port: int) -> bool:
        """Whether a program listens on this very address, or on all of its family."""
        everywhere = "::" if ":" in address else "0.0.0.0"
        return bool({(address, port), (everywhere, port), ("::", port)} & self.listeners)

    def still(self, later: "HostSockets") -> "HostSockets":
        """What was there then and is now: networks of containers come and go with addresses."""
        kept = tuple(address for address in self.addresses if address in later.addresses)
        return HostSockets(kept, self.listeners | later.listeners, later.ranges)

    @classmethod
    def read(cls, lab: DockerLab, prober: str) -> "HostSockets":
        """Those of the host whose network a prober is in. Raises `CannotLook`."""
        output = lab.execute(prober, ["python3", "-c", _READ, *_TABLES])
        if output.code:
            raise CannotLook(f"the host's addresses can't be read: {output.err.strip()}")
        return cls.parsed(output.out)

    @classmethod
    def parsed(cls, text: str) -> "HostSockets":
        """From the tables, each after a line `== name`. Raises `CannotLook` if there is none."""
        parts = (part.partition("\n") for part in text.split("== ") if part)
        tables = {name.strip(): table for name, _, table in parts}
        local = {*_ipv4(tables.get("fib_trie", ""))}
        single = {one for one in local if one.prefixlen == _SINGLE}
        addresses = {str(one[0]) for one in single} | {*_ipv6(tables.get("if_inet6", ""))}
        ranges = (local - single) | {*_ipv6_ranges(tables.get("ipv6_route", ""))}
        if not addresses:
            raise CannotLook("the host's addresses can't be read: /proc/net/fib_trie is empty")
        lines = (tables.get("tcp", "") + tables.get("tcp6", "")).splitlines()
        found = frozenset(_listener(line) for line in lines if f" {_LISTENS} " in line)
        return cls(tuple(sorted(addresses)), found, tuple(ranges))


def _ipv4(table: str) -> Iterator[IPv4Network]:
    """The leaves of the routing trie that are the host's own, single addresses and ranges."""
    leaf = ""
    for line in table.splitlines():
        if found := _LEAF.search(line):
            leaf = found[1]
        elif found := _LOCAL.search(line):
            yield IPv4Network((leaf, int(found[1])))


def _ipv6(table: str) -> Iterator[str]:
    for digits, _, _, scope, *_ in (line.split() for line in table.splitlines() if line):
        if scope != _LINK_LOCAL:
            yield str(ip_address(bytes.fromhex(digits)))


def _ipv6_ranges(table: str) -> Iterator[IPv6Network]:
    """Whatever is routed to the host itself: each of its addresses, and ranges."""
    for digits, length, *_, flags, _ in (line.split() for line in table.splitlines() if line):
        if int(flags, 16) & _LOCAL_ROUTE:
            yield IPv6Network((bytes.fromhex(digits), int(length, 16)))


def _listener(line: str) -> tuple[str, int]:
    address, _, port = line.split()[1].partition(":")
    # Each group of 32 bits is in the host's own order, which nearly everywhere is the little one.
    groups = (address[start : start + 8] for start in range(0, len(address), 8))
    packed = b"".join(bytes.fromhex(group)[::-1] for group in groups)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed), int(port, 16)
