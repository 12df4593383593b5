"""A Swarm of three managers, each a dockerd in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.testbed.engine import Engine, load_images, start_daemon
from tests.testbed.images import WORKLOADS
from tests.testbed.layout import Site
from tests.testbed.lease import leased
from tests.testbed.network import switched
from tests.testbed.processes import running
from tests.testbed.shell import wait_until
from tests.testbed.sweep import sweep

SITE = Site("swarm")
SIZE = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Swarm:
    """A running Swarm.

    The kernel may lack IPVS: use `endpoint_mode="dnsrr"` and publish ports in host mode.
    """

    managers: list[Engine]

    @property
    def leader(self) -> Engine:
        """The manager that leads at this moment."""
        return next(m for m in self.managers if m.answers() and _leads(m))

    @property
    def url(self) -> str:
        """The leader's URL: what goes into DOCKER_HOST."""
        return self.leader.url


@contextmanager
def swarm() -> Iterator[Swarm]:
    """The Swarm, reused when it is up already."""
    with leased(SITE, lambda: swarm_up(SITE), lambda: start_swarm(SITE), lambda: sweep(SITE)):
        yield Swarm(managers_of(SITE))


def managers_of(site: Site) -> list[Engine]:
    """The engines of the managers, running or not."""
    return [
        Engine(
            f"manager{number}",
            site.folder / f"manager{number}",
            f"{site.label}-m{number}",
            site.uplink(10 + number),
        )
        for number in range(1, SIZE + 1)
    ]


def swarm_up(site: Site) -> bool:
    """Whether every manager runs and sees all of them ready."""
    return all(
        running(site, m.name) and m.answers() and _ready_nodes(m) == SIZE for m in managers_of(site)
    )


def start_swarm(site: Site) -> None:
    """Start the engines side by side, then join them."""
    managers = managers_of(site)
    switched(site, {manager.namespace: manager.address for manager in managers})
    with ThreadPoolExecutor(SIZE) as pool:
        list(pool.map(lambda manager: _start(site, manager), managers))
    first, *others = managers
    token = _ask(first, lambda client: _init(client, site, first))
    for manager in others:
        _join(manager, first, token)
    wait_until("all managers are ready", lambda: _ready_nodes(first) == SIZE, 30)


def _start(site: Site, manager: Engine) -> None:
    start_daemon(site, manager, "current", site.subnet(0), process=manager.name)
    load_images(manager, *WORKLOADS)


def _init(client: Any, site: Site, manager: Engine) -> str:
    client.swarm.init(
        advertise_addr=manager.address,
        listen_addr=f"{manager.address}:2377",
        default_addr_pool=[f"{site.subnet(8)}.0/21"],
        subnet_size=26,
    )
    return str(client.swarm.attrs["JoinTokens"]["Manager"])


def _join(manager: Engine, first: Engine, token: str) -> None:
    _ask(
        manager,
        lambda client: client.swarm.join(
            remote_addrs=[f"{first.address}:2377"],
            join_token=token,
            advertise_addr=manager.address,
            listen_addr=f"{manager.address}:2377",
        ),
    )


def _ready_nodes(manager: Engine) -> int:
    nodes = _ask(manager, lambda client: client.api.nodes())
    reachable = [n for n in nodes if n.get("ManagerStatus", {}).get("Reachability") == "reachable"]
    return sum(node["Status"]["State"] == "ready" for node in reachable)


def _leads(manager: Engine) -> bool:
    nodes = _ask(manager, lambda client: client.api.nodes())
    named = {n["Description"]["Hostname"]: n.get("ManagerStatus", {}) for n in nodes}
    return bool(named.get(manager.name, {}).get("Leader"))


def _ask(manager: Engine, question: Callable[[Any], T]) -> T:
    client = manager.client()
    try:
        return question(client)
    finally:
        client.close()
