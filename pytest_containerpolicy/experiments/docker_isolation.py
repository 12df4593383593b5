"""Whether Docker's networks keep containers apart that share none, as they promise.

https://docs.docker.com/engine/network/packet-filtering-firewalls/
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, cast

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.addresses import host_and_port
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.docker_ports import covered
from pytest_containerpolicy.experiments.docker_vantage import service_prober
from pytest_containerpolicy.experiments.isolation_doors import (
    INGRESS,
    Door,
    doors_of,
    has_networks,
    networks_of,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.reach import Probe, ask
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

_ICC = "com.docker.network.bridge.enable_icc"
_BRIDGE, _HOST = "bridge", "host"
_OPEN, _GONE = "open", "that network is gone"
_NOBODYS = ("host", "none", INGRESS)
# A node that has just joined an overlay network learns by and by who is where in it.
_OWN_ATTEMPTS = 5


class Isolation(Struct, frozen=True, kw_only=True):
    """What became of asking at one door from the networks that must not reach it.

    `own` is the outcome from where it must be reached, which tells whether anything is there to be
    reached at all, or why nobody could ask there. A network that could not be asked from has the
    reason in `unknown`.
    """

    door: Door
    own: str
    foreign: dict[str, str]
    unknown: dict[str, str]

    @property
    def reached_from(self) -> list[str]:
        """The networks from which it is reached and must not be."""
        return [network for network, outcome in self.foreign.items() if outcome == _OPEN]

    def __str__(self) -> str:
        asked = ", ".join(f"{network} ({found})" for network, found in self.foreign.items())
        return f"{self.door}: from its own {self.own}; from {asked or 'no other network'}"


def has_others(workload: Workload) -> bool:
    """Whether there are networks that it is not in."""
    others = {name for one in workload.model.all(Workload) for name in one.networks}
    return has_networks(workload) and bool((others | {_BRIDGE}) - {*workload.networks, *_NOBODYS})


@experiment("probe", "tries to reach it from networks that it is not in", applies=has_others)
def networks_isolated(workload: Workload, lab: Lab, outside: str = "") -> Iterator[Violation]:
    """A container is not reached from a network that it is not in.

    Nor from its own where the network has `enable_icc=false`. With `outside`, an address HOST:PORT
    beyond the host, a container that is in internal networks only must not reach that.
    """
    beyond = host_and_port(outside, "outside") if outside else None
    key = ("isolation", workload.model.target)
    every = lab.once(key, lambda: measure_isolation(workload.model, lab))
    found = [one for one in every if one.door.workload == workload.name]
    _require_control(workload, found)
    for one in found:
        lab.record(one)
        if one.reached_from:
            yield Violation(
                found=f"{one.door} is reached from network {', '.join(one.reached_from)}",
                wanted="only containers of its own networks reach it",
                why="the host forwards between the networks in spite of the engine's rules",
            )
    if beyond:
        yield from _way_out(cast(DockerLab, lab), found[0].door.networks, *beyond)
    for one in found:
        for network, reason in one.unknown.items():
            raise CannotLook(f"{workload.ref} could not be tried from network {network}: {reason}")
    if not any(one.foreign for one in found):
        raise CannotLook(f"{workload.ref}: no container runs in a network that it is not in")


def measure_isolation(model: Model, lab: Lab) -> list[Isolation]:
    """What becomes of reaching each TCP port of the covered workloads from networks they aren't in.

    The networks are those of all running containers of the model, covered or not, and the default
    bridge: whoever is in one must not get through, whether or not it has ports itself.
    """
    docker = cast(DockerLab, lab)
    doors = [door for workload in covered(model, lab) for door in doors_of(docker, workload)]
    if not doors:
        return []
    networks = _in_use(docker, model)
    names = sorted(networks)
    closed = {name for name in names if (networks[name].get("Options") or {}).get(_ICC) == "false"}
    docker.say(f"trying {len(doors)} ports from {len(names)} networks")
    outcomes, unknown = _tried(docker, doors, [*names, _HOST])
    # Where containers of one network must not reach each other either, the host still does.
    control = {door: _HOST if door.network in closed else door.network for door in doors}
    return [
        Isolation(
            door=door,
            own=outcomes.get((control[door], door)) or unknown.get(control[door], _GONE),
            foreign={
                name: outcomes[name, door]
                for name in names
                if (name, door) in outcomes and _is_foreign(name, door, closed)
            },
            unknown={n: why for n, why in unknown.items() if _is_foreign(n, door, closed)},
        )
        for door in doors
    ]


def _is_foreign(network: str, door: Door, closed: set[str]) -> bool:
    if network == _HOST:
        return False
    return network not in door.networks or (network == door.network and network in closed)


def _tried(
    lab: DockerLab, doors: Sequence[Door], networks: Sequence[str]
) -> tuple[dict[tuple[str, Door], str], dict[str, str]]:
    """The outcome for each network and door, and why some networks can't be asked from.

    From a network that was removed meanwhile nobody reaches anything: it is in neither.
    """
    outcomes: dict[tuple[str, Door], str] = {}
    unknown: dict[str, str] = {}
    for network in networks:
        try:
            with _prober(lab, network) as prober:
                found = _ask(lab, prober, network, doors)
        except CannotLook as gap:
            if _find(lab, network) is not None:
                unknown[network] = str(gap)
            continue
        outcomes |= {(network, door): outcome for door, outcome in zip(doors, found, strict=True)}
    return outcomes, unknown


def _prober(lab: DockerLab, network: str) -> AbstractContextManager[str]:
    """A container in a network; few networks of a Swarm let others in than its services'."""
    if network != _HOST and (found := _inspect(lab, network)).get("Scope") == "swarm":
        return service_prober(lab, found["Id"])
    return lab.prober(network)


def _ask(lab: DockerLab, prober: str, network: str, doors: Sequence[Door]) -> list[str]:
    probes = [
        Probe(
            id=str(number),
            protocol="tcp",
            host=door.address,
            port=door.port,
            attempts=_OWN_ATTEMPTS if door.network == network else 1,
        )
        for number, door in enumerate(doors)
    ]
    stream = lab.start(prober, ["python3", "-c", source()])
    return [found.outcome for found in ask(stream, probes)]


def _in_use(lab: DockerLab, model: Model) -> dict[str, Document]:
    """The networks of all running containers, and the default bridge, which not every daemon has.

    One that was removed meanwhile is left out. Raises `CannotLook` for one that can't be found
    though containers are in it.
    """
    used = networks_of(lab, model.all(Workload))
    documents = {name: _find(lab, name) for name in used | {_BRIDGE}}
    found = {name: document for name, document in documents.items() if document is not None}
    lost = used - found.keys()
    if lost and (lost := lost & networks_of(lab, model.all(Workload))):
        raise CannotLook(f"network {min(lost)} is in use, and the daemon does not know it")
    return found


def _inspect(lab: DockerLab, network: str) -> Document:
    document = _find(lab, network)
    if document is None:
        raise CannotLook(f"network {network} is gone: somebody removed it")
    return document


def _find(lab: DockerLab, network: str) -> Document | None:
    """A network by name, None if it is gone."""
    from docker.errors import NotFound

    with daemon_errors(f"network {network}"):
        api: Any = lab.client.api
        try:
            document: Document = api.inspect_network(network)
        except NotFound:
            return None
    return document


def _require_control(workload: Workload, found: Sequence[Isolation]) -> None:
    if not found:
        raise CannotLook(
            f"{workload.ref}: no running container of it is known to have a TCP port to be tried"
        )
    silent = [one for one in found if one.own != _OPEN]
    if len(silent) == len(found):
        raise CannotLook(
            f"{silent[0].door} is not reached from its own network either"
            f" ({silent[0].own}): nothing can be told"
        )


def _way_out(lab: DockerLab, networks: Sequence[str], host: str, port: int) -> Iterator[Violation]:
    """What internal networks let through to an address beyond the host."""
    if not all(_inspect(lab, name).get("Internal") for name in networks):
        return
    probe = Probe(id="outside", protocol="tcp", host=host, port=port)
    with ExitStack() as stack:
        places = [_HOST, *networks]
        probers = [stack.enter_context(_prober(lab, name)) for name in places]
        found = {
            name: ask(lab.start(prober, ["python3", "-c", source()]), [probe])[0].outcome
            for name, prober in zip(places, probers, strict=True)
        }
    if found.pop(_HOST) != _OPEN:
        raise CannotLook(f"{host}:{port} is not reached from the host either: nothing can be told")
    for name, outcome in found.items():
        if outcome == _OPEN:
            yield Violation(
                found=f"internal network {name} lets it reach {host}:{port}",
                wanted="no way out of an internal network",
            )
