"""Networks of a real engine whose members have no ports, are not named, or have two families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.live.docker_asking import IMAGE, PREFIX, ask, open_to_all
from tests.testbed import Engine

STORE, IDLE = f"{PREFIX}store", f"{PREFIX}idle"
NO_PORTS = "testbed/pause:1"
SUBNETS = {STORE: "fd00:77:1::/64", IDLE: "fd00:77:2::/64"}


@pytest.fixture(scope="module")
def store(testbed_engine: Engine) -> Iterator[Engine]:
    """A container with a port, and one without, each in a network of both families."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(testbed_engine.client()))
        for name, subnet in SUBNETS.items():
            pools = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
            made = client.networks.create(name, enable_ipv6=True, ipam=pools)
            undo.callback(made.remove)
        for network, image in ((STORE, IMAGE), (IDLE, NO_PORTS)):
            made = client.containers.run(image, name=network, detach=True, network=network)
            undo.callback(made.remove, force=True)
        yield testbed_engine


def _address(engine: Engine, family: str) -> str:
    with closing(engine.client()) as client:
        settings = client.api.inspect_container(STORE)["NetworkSettings"]
    return str(settings["Networks"][STORE][family])


def test_both_families_apart(store: Engine, tmp_path: Path) -> None:
    """What nobody opened passes, and was asked at both addresses from the network without ports."""
    found = ask(store, "networks_isolated", ("store",), tmp_path)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    for family in ("IPAddress", "GlobalIPv6Address"):
        assert (
            f"at {_address(store, family)} in network {STORE}: from its own open" in found.figures
        )
    assert 2 == found.figures.count(f"{IDLE} (")


@pytest.mark.parametrize("family", ["IPAddress", "GlobalIPv6Address"])
def test_one_family_open(store: Engine, family: str, tmp_path: Path) -> None:
    """A way from a network without ports, which the URI does not name, is found in each family."""
    address = _address(store, family)
    with open_to_all(store, address):
        found = ask(store, "networks_isolated", ("store",), tmp_path)
    [line] = found.found.splitlines()
    assert line.startswith(f"port 8080 of {STORE} at {address} in network {STORE} is reached from")
    assert IDLE in line
