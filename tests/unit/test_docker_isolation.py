"""From which networks which addresses of containers are tried, and what is told from that."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.errors import NotFound
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import docker_isolation
from pytest_containerpolicy.experiments.docker_isolation import (
    Isolation,
    measure_isolation,
    networks_isolated,
)
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.isolation_doors import Door, doors_of, networks_of
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

BOTH = {"IPAddress": "10.0.0.2", "GlobalIPv6Address": "fd00::2"}
DB = {"back": {"IPAddress": "10.0.1.2"}}
WORKER = {"front": {"IPAddress": "10.0.2.2"}}


def _workload(name: str, *networks: str) -> Workload:
    ports = (SimpleNamespace(number=8080, protocol="TCP"),)
    known = SimpleNamespace(
        name=name,
        ref=f"container {name}",
        kind="container",
        networks=networks,
        host_network=False,
        main_containers=(SimpleNamespace(ports=ports),),
    )
    return cast(Workload, known)


def _container(name: str, networks: dict[str, Any], *ports: str) -> dict[str, Any]:
    return {
        "Name": f"/{name}",
        "Config": {"ExposedPorts": {port: {} for port in ports}},
        "NetworkSettings": {"Networks": networks, "Ports": {}},
    }


def _task(**networks: list[str]) -> dict[str, Any]:
    joined = [
        {"Network": {"Spec": {"Name": name}}, "Addresses": addresses}
        for name, addresses in networks.items()
    ]
    running = {"Status": {"State": "running"}, "DesiredState": "running", "Slot": 1}
    return {**running, "NetworksAttachments": joined}


class _Daemon:
    """A daemon that knows containers, or tasks, by workload, and networks by name."""

    def __init__(
        self,
        members: dict[str, dict[str, Any]],
        platform: str = "docker",
        removed: str = "",
        unknown: Collection[str] = (),
    ) -> None:
        self.members, self.platform, self.removed = members, platform, removed
        self.unknown = set(unknown)
        self.target = SimpleNamespace(covers=lambda _, name: name == "db")
        self.client = SimpleNamespace(api=self)

    def prober(self, _: object, network: str) -> AbstractContextManager[str]:
        """In a network, unless it is one that is removed just then."""
        if network == self.removed:
            self.unknown.add(network)
            raise CannotLook(f"prober container in network {network}: not found")
        return nullcontext(network)

    def containers(self, workload: Workload) -> list[dict[str, Any]]:
        return [self.members[workload.name]]

    def tasks(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        return [self.members[filters["service"]]]

    def inspect_network(self, name: str) -> dict[str, Any]:
        if name in self.unknown:
            raise NotFound(name)
        return {"Name": name}

    def say(self, text: str) -> None:
        pass

    @property
    def lab(self) -> DockerLab:
        return cast(DockerLab, self)


def _measured(daemon: _Daemon, monkeypatch: pytest.MonkeyPatch) -> list[Isolation]:
    """With everything open; each workload of the daemon is in the model, `db` alone is covered."""
    monkeypatch.setattr(docker_isolation, "_prober", daemon.prober)
    monkeypatch.setattr(docker_isolation, "_ask", lambda *args: ["open"] * len(args[-1]))
    workloads = [_workload(name, "some") for name in daemon.members]
    return measure_isolation(cast(Model, SimpleNamespace(all=lambda _: workloads)), daemon.lab)


def test_networks_without_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are asked from though nobody in them has a port, or is named by the URI."""
    members = {"db": _container("db", DB, "5432/tcp"), "worker": _container("worker", WORKER)}

    [found] = _measured(_Daemon(members), monkeypatch)

    assert ("open", ["bridge", "front"]) == (found.own, found.reached_from)


def test_nothing_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a covered port there is nothing to try, from wherever."""
    members = {"db": _container("db", DB), "worker": _container("worker", WORKER, "80/tcp")}

    assert [] == _measured(_Daemon(members), monkeypatch)


def test_network_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a network that is removed while it is tried nobody reaches anything."""
    members = {"db": _container("db", DB, "5432/tcp"), "worker": _container("worker", WORKER)}

    [found] = _measured(_Daemon(members, removed="front"), monkeypatch)

    assert (["bridge"], {}) == (found.reached_from, found.unknown)


def test_network_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that containers are in can't be left out because the daemon does not know it."""
    members = {"db": _container("db", DB, "5432/tcp"), "worker": _container("worker", WORKER)}

    with pytest.raises(CannotLook, match="network front is in use, and the daemon does not know"):
        _measured(_Daemon(members, unknown={"front"}), monkeypatch)


def test_networks_of() -> None:
    """Networks that keep nobody apart are none; those without an address count."""
    networks = {**DB, "host": {}, "none": {}, "layer2": {"IPAddress": ""}, "odd": None}
    daemon = _Daemon({"db": _container("db", networks)})

    assert {"back", "layer2", "odd"} == networks_of(daemon.lab, [_workload("db")])


def test_networks_of_tasks() -> None:
    """A task is in a network whether or not it has an address there."""
    daemon = _Daemon({"db": _task(back=[], ingress=["10.0.0.5/24"])}, platform="swarm")

    assert {"back"} == networks_of(daemon.lab, [_workload("db")])


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (BOTH, ["10.0.0.2", "fd00::2"]),
        ({"IPAddress": "10.0.0.2"}, ["10.0.0.2"]),
        ({"IPAddress": "10.0.0.2", "GlobalIPv6Address": ""}, ["10.0.0.2"]),
        ({"IPAddress": "", "GlobalIPv6Address": "fd00::2"}, ["fd00::2"]),
        ({"IPAddress": "", "GlobalIPv6Address": ""}, []),
    ],
)
def test_doors_of_a_container(network: dict[str, str], expected: list[str]) -> None:
    """Each address of each family is a door of its own, for each port."""
    daemon = _Daemon({"db": _container("db", {"back": network}, "80/tcp", "53/udp")})

    doors = list(doors_of(daemon.lab, _workload("db", "back")))

    assert [(address, 80) for address in expected] == [(one.address, one.port) for one in doors]


def test_doors_of_a_task() -> None:
    """Each address of a task is a door, but not those in the ingress network."""
    task = _task(back=["10.0.1.5/24", "fd00::5/64"], ingress=["10.0.0.5/24"])
    daemon = _Daemon({"db": task}, platform="swarm")

    doors = list(doors_of(daemon.lab, _workload("db", "back")))

    assert ["10.0.1.5", "fd00::5"] == [door.address for door in doors]
    assert {("back", "ingress")} == {door.networks for door in doors}


class _Measured:
    """A laboratory that has measured already."""

    def __init__(self, *found: Isolation) -> None:
        self._found = list(found)

    def once(self, *_: object) -> list[Isolation]:
        return self._found

    def record(self, _: object) -> None:
        pass


def _isolation(address: str, own: str, foreign: str) -> Isolation:
    door = Door(
        workload="db",
        container="db",
        network="back",
        address=address,
        port=80,
        networks=("back",),
    )
    return Isolation(door=door, own=own, foreign={"front": foreign}, unknown={})


def _judged(*found: Isolation) -> list[str]:
    workload = _workload("db", "back")
    workload.model = cast(Model, SimpleNamespace(target="engine:test"))
    return [one.found for one in networks_isolated(workload, cast(Lab, _Measured(*found)))]


def test_door_that_is_silent() -> None:
    """A program that listens on one family alone hides no violation there."""
    [found] = _judged(
        _isolation("10.0.0.2", "open", "open"), _isolation("fd00::2", "refused", "timeout")
    )

    assert "port 80 of db at 10.0.0.2 in network back is reached from network front" == found


def test_violation_of_the_other_family() -> None:
    """What is open over IPv6 alone is found."""
    [found] = _judged(
        _isolation("10.0.0.2", "open", "timeout"), _isolation("fd00::2", "open", "open")
    )

    assert "port 80 of db at fd00::2 in network back is reached from network front" == found


def test_nowhere_to_be_tried_from() -> None:
    """What was reached from its own network only is not shown to be apart from any other."""
    alone = replace(_isolation("10.0.0.2", "open", "refused"), foreign={})
    with pytest.raises(CannotLook, match="no container runs in a network that it is not in"):
        _judged(alone)


def test_doors_that_are_all_silent() -> None:
    """What does not answer in its own network either tells nothing."""
    with pytest.raises(CannotLook, match="is not reached from its own network either"):
        _judged(*(_isolation(address, "refused", "timeout") for address in ("10.0.0.2", "fd00::2")))
