"""Network namespaces: each environment has its own interfaces, routes and iptables rules.

A second dockerd in the machine's own namespace would rewrite the first one's rules; in a
namespace of its own it can't touch anybody's, and deleting the namespace leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.testbed.layout import Site
from tests.testbed.shell import in_namespace, run, succeeds


def create_namespace(name: str) -> None:
    """An empty network namespace that forwards packets."""
    run("ip", "netns", "add", name)
    ip(name, "link set lo up")
    run(*in_namespace(name, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))


def ip(namespace: str, command: str) -> None:
    """One `ip` command inside a namespace."""
    run("ip", "-n", namespace, *command.split())


def isolated(site: Site) -> None:
    """A namespace with the environment's label, wired to the machine and to nothing beyond it.

    Without a default route an attempt to pull an image fails at once, instead of after a timeout.
    """
    create_namespace(site.label)
    _wire_to_host(site)
    ip(site.label, f"address add {site.address}/24 dev up0")


def switched(site: Site, members: Mapping[str, str]) -> None:
    """A namespace that is only a switch, with a further namespace per member and address."""
    create_namespace(site.label)
    ip(site.label, "link add lan type bridge")
    ip(site.label, "link set lan up")
    _wire_to_host(site)
    ip(site.label, "link set up0 master lan")
    for number, (namespace, address) in enumerate(members.items(), 1):
        create_namespace(namespace)
        ip(site.label, f"link add port{number} type veth peer name up0 netns {namespace}")
        ip(site.label, f"link set port{number} master lan up")
        ip(namespace, f"address add {address}/24 dev up0")
        ip(namespace, "link set up0 up")


def _wire_to_host(site: Site) -> None:
    peer = ["peer", "name", "up0", "netns", site.label]
    run("ip", "link", "add", site.label, "type", "veth", *peer)
    run("ip", "address", "add", f"{site.host_address}/24", "dev", site.label)
    run("ip", "link", "set", site.label, "up")
    ip(site.label, "link set up0 up")


def sweep_network(site: Site) -> None:
    """Remove the environment's interfaces and namespaces, whatever state they are in."""
    for link in Path("/sys/class/net").glob(f"{site.label}*"):
        succeeds("ip", "link", "delete", link.name)
    for namespace in Path("/run/netns").glob(f"{site.label}*"):
        succeeds("ip", "netns", "delete", namespace.name)


def sweep_mounts(site: Site) -> None:
    """Unmount everything below the environment's folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in reversed([p for p in points if p.startswith(f"{site.folder}/")]):
        succeeds("umount", "-l", point)


def sweep_cgroups(folders: list[Path]) -> None:
    """Remove empty cgroups, children before parents."""
    for top in folders:
        below = [path for path in top.rglob("*") if path.is_dir()]
        for folder in [*sorted(below, key=lambda path: -len(path.parts)), top]:
            with suppress(OSError):
                folder.rmdir()
