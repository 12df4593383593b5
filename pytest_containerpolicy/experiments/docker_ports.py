"""Where published ports really answer: on the addresses they are bound to, and on no other.

They are asked on the daemon's host at every address that it has and at those they are bound to,
from a container in another network and, where the daemon is remote, from this machine.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import cast
from urllib.parse import urlsplit

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.host_sockets import HostSockets
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.port_lookalikes import Place, lookalikes
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.prober_streams import LineStream, LocalStream
from pytest_containerpolicy.experiments.published import (
    ABSENT,
    EVERYWHERE,
    Publication,
    Reach,
    is_loopback,
    publications,
)
from pytest_containerpolicy.experiments.reach import Probe, ask
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

_SHOWN = 4
_DESKTOP = "Docker Desktop"
Outcomes = dict[tuple[Publication, str], str]


def publishes(workload: Workload) -> bool:
    """Whether it has ports of the host."""
    return bool(workload.published_ports) and not workload.host_network


@experiment("probe", "opens connections to its published ports", applies=publishes)
def ports_reachable(workload: Workload, lab: Lab, beyond_host: bool = True) -> Iterator[Violation]:
    """A published port leads to its container on the addresses it is bound to, and on no other.

    With `beyond_host` false it may answer on the host's loopback only. A UDP port is judged where
    something answers.
    """
    key = ("published ports", workload.model.target)
    every = lab.once(key, lambda: measure_ports(covered(workload.model, lab), lab))
    found = [reach for reach in every if reach.publication.workload == workload.name]
    _require_answers(workload, found)
    for reach in found:
        lab.record(reach)
        yield from _violations(reach)
        if not beyond_host and reach.beyond_host:
            yield Violation(
                found=f"{reach.publication} answers on {_some(reach.beyond_host)}",
                wanted="it answers on the host's loopback only",
                why="whoever reaches the host reaches the container",
            )
    for reach in found:
        if reach.unclear:
            raise CannotLook(
                f"{workload.ref}: another program of the host listens on {_some(reach.unclear)},"
                f" too, at {reach.publication}, and does not show whether it leads to the"
                " container: look with ss -ltnp"
            )


def covered(model: Model, lab: Lab) -> list[Workload]:
    """The workloads of a model that the target's URI names."""
    return [one for one in model.all(Workload) if lab.target.covers(one.kind, one.name)]


def measure_ports(workloads: Iterable[Workload], lab: Lab) -> list[Reach]:
    """Where each published port of the running containers of some workloads answers.

    Raises `CannotLook` if the prober does not start, or could not stand on the host.
    """
    docker, subjects = cast(DockerLab, lab), [one for one in workloads if publishes(one)]
    found = _published(docker, subjects)
    if not found:
        return []
    _require_on_host(docker)
    docker.say(f"opening connections to {len(found)} published ports")
    with docker.prober("host") as prober:
        sockets = HostSockets.read(docker, prober)
        host = _ask_host(_stream(docker, prober), found, sockets)
        inside = _ask(_stream(docker, prober), _own_places(found), inside=True)
        elsewhere = _beside(docker, found, sockets) | _from_here(docker, found, sockets)
        sockets = sockets.still(HostSockets.read(docker, prober))
        others = _others(docker)
        beside = _listening_beside(found, sockets, others)
        asked = [place for place in beside if place[0].protocol == "tcp"]
        alike, unclear = lookalikes(lambda: _stream(docker, prober), asked)
    theirs = {key for key in host if _is_others(*key, others)} | (set(beside) - alike)
    own = {(one, a): o for (one, a), o in host.items() if (one, a) not in theirs}
    still = set(_published(docker, subjects))
    return [
        Reach(
            publication=one,
            inside=inside.get((one, one.address), ""),
            on_host=_at(one, own, {*sockets.addresses, *one.exact}),
            elsewhere=_at(one, elsewhere),
            unclear=tuple(sorted(address for key, address in unclear if key == one)),
        )
        for one in found
        if one in still
    ]


def _at(
    one: Publication, outcomes: Outcomes, places: Collection[str] | None = None
) -> dict[str, str]:
    """The outcomes for one publication, at some places or at all."""
    return {
        place: outcome
        for (key, place), outcome in outcomes.items()
        if key == one and (places is None or place in places)
    }


def _published(lab: DockerLab, workloads: Iterable[Workload]) -> list[Publication]:
    return [
        publication
        for workload in workloads
        for container in lab.containers(workload)
        for publication in publications(workload.name, container)
    ]


def _require_on_host(lab: DockerLab) -> None:
    """Raise `CannotLook` for an engine whose containers see another network than the host's.

    https://docs.docker.com/engine/security/rootless/
    https://docs.docker.com/desktop/features/networking/
    """
    with daemon_errors("info"):
        info = lab.client.api.info()
    options = info.get("SecurityOptions") or ()
    rootless = any("name=rootless" in option.split(",") for option in options)
    if rootless or info.get("OperatingSystem") == _DESKTOP:
        raise CannotLook(
            f"the engine is {'rootless' if rootless else _DESKTOP}: its containers can't stand in"
            " the host's own network, so the host's ports can't be asked there: ask them from"
            " another machine, or run the containers on a rootful engine of a Linux host"
        )


def _ask_host(stream: LineStream, found: Sequence[Publication], sockets: HostSockets) -> Outcomes:
    """What each answers on the host: at all its addresses and at those that it is bound to."""
    places = [(one, a) for one in found for a in dict.fromkeys([*sockets.addresses, *one.exact])]
    absent = {place for place in places if not sockets.has(place[1])}
    answers = _ask(stream, [place for place in places if place not in absent])
    return {place: answers.get(place, ABSENT) for place in places}


def _own_places(found: Iterable[Publication]) -> list[Place]:
    return [(one, one.address) for one in found if one.address]


def _ask(stream: LineStream, places: Sequence[Place], *, inside: bool = False) -> Outcomes:
    """What answers at each place: at the published port, or at the container's own."""
    probes = [
        Probe(
            id=str(number),
            protocol=one.protocol,  # type: ignore[arg-type]
            host=host,
            port=one.inside if inside else one.port,
        )
        for number, (one, host) in enumerate(places)
    ]
    answers = ask(stream, probes)
    return {place: answer.outcome for place, answer in zip(places, answers, strict=True)}


def _stream(lab: DockerLab, prober: str) -> LineStream:
    return lab.start(prober, ["python3", "-c", source()])


def _beside(lab: DockerLab, found: Sequence[Publication], sockets: HostSockets) -> Outcomes:
    """Where they answer to a container of another network, though they are not bound there."""
    addresses = [address for address in sockets.addresses if not is_loopback(address)]
    with lab.prober("bridge") as prober:
        answers = _ask(_stream(lab, prober), [(one, a) for one in found for a in addresses])
    return {
        (one, f"{address} (from another container)"): outcome
        for (one, address), outcome in answers.items()
        if not one.covers(address) and not sockets.listens(address, one.port)
    }


def _from_here(lab: DockerLab, found: Sequence[Publication], sockets: HostSockets) -> Outcomes:
    """Where those that are meant for the host alone answer to this machine, if that is another."""
    host = urlsplit(lab.endpoint.host).hostname or ""
    if not lab.endpoint.host.startswith(("tcp:", "ssh:")) or host == "localhost":
        return {}
    hidden = [one for one in found if one.on_loopback_only and not is_loopback(host)]
    free = [one for one in hidden if not _listens_outside(sockets, one.port)]
    answers = _ask(LocalStream(), [(one, host) for one in free]) if free else {}
    return {(one, f"{host} (from this machine)"): answers[one, host] for one in free}


def _listens_outside(sockets: HostSockets, port: int) -> bool:
    return any(found == port and not is_loopback(a) for a, found in sockets.listeners)


def _others(lab: DockerLab) -> set[tuple[str, int, str, str]]:
    """What the daemon's containers publish: address, port, protocol and the container's name."""
    with daemon_errors("containers"):
        rows = lab.client.api.containers()
    return {
        (port.get("IP", ""), port["PublicPort"], port["Type"], row["Names"][0].removeprefix("/"))
        for row in rows
        for port in row.get("Ports") or ()
        if "PublicPort" in port
    }


def _listening_beside(
    found: Sequence[Publication], sockets: HostSockets, others: set[tuple[str, int, str, str]]
) -> list[Place]:
    """The addresses where a program of the host listens, though nothing is published there."""
    return [
        (one, address)
        for one in found
        for address in sockets.addresses
        if not one.covers(address)
        and sockets.listens(address, one.port)
        and not _is_others(one, address, others)
    ]


def _is_others(one: Publication, address: str, others: set[tuple[str, int, str, str]]) -> bool:
    """Whether another container is published at an address that it is not bound to itself."""
    return not one.covers(address) and any(
        (port, protocol) == (one.port, one.protocol)
        and name != one.container
        and on in (address, *EVERYWHERE)
        for on, port, protocol, name in others
    )


def _require_answers(workload: Workload, found: Sequence[Reach]) -> None:
    if not found:
        raise CannotLook(f"{workload.ref}: no running container of it publishes a port")
    unknown = [reach for reach in found if reach.is_listening is None]
    if unknown and (
        len(unknown) == len(found) or any(r.publication.protocol == "tcp" for r in unknown)
    ):
        reach = unknown[0]
        raise CannotLook(
            f"{workload.ref}: {reach.publication} leads to {reach.publication.inside} of"
            f" {reach.publication.container}, which can't be asked at its own address"
            f" {reach.publication.address or '(none)'}: {reach.inside or 'it has none'}"
        )


def _violations(reach: Reach) -> Iterator[Violation]:
    one = reach.publication
    if reach.is_listening is False:
        yield Violation(
            found=f"{one} leads to {one.inside}/{one.protocol} of {one.container}, on which"
            " nothing listens",
            wanted="a program in the container listens there, on all its addresses",
        )
    elif reach.is_listening and reach.closed:
        outcomes = ", ".join(sorted(set(reach.closed.values())))
        yield Violation(
            found=f"{one} does not answer on {_some(list(reach.closed))} ({outcomes})",
            wanted=f"it answers where it is bound: {', '.join(one.bound)}",
            why=f"{one.inside}/{one.protocol} of {one.container} does answer",
        )
    if reach.exposed:
        yield Violation(
            found=f"{one} answers on {_some(reach.exposed)}",
            wanted=f"it answers where it is bound only: {', '.join(one.bound)}",
            why="a rule or a forwarder of the host leads there",
        )


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
