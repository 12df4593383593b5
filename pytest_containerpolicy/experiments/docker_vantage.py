"""How clients reach a container or service: a published port, or a network that it is in.

A published port is asked from the host's own network, as a client on that host would; a service of
a Swarm by its name, from a container in its network.
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.swarm_watch import (
    find_service,
    is_up,
    service_of,
    tasks_of,
)
from pytest_containerpolicy.experiments.viewpoint import Choice, Viewpoint
from pytest_containerpolicy.model.workload import Workload

_EVERYWHERE = ("", "0.0.0.0", "::")
_DEFAULT_NETWORKS = ("bridge", "default")
_HOST = "host"
_NO_NETWORKS = ("host", "none", "ingress")
_SCHEMES = ("http", "tcp")
_RESOLVE = (
    "import socket, sys; print(len({i[4] for i in socket.getaddrinfo(sys.argv[1], 1, type=1)}))"
)
_WAIT = ["python3", "-c", "import time; time.sleep(1800)"]
_START_SECONDS = 30.0


class _Entrance(Struct, frozen=True):
    """In words, in which network (or network mode) to stand, and the addresses there."""

    text: str
    network: str
    addresses: tuple[str, ...]


@contextmanager
def viewpoint(workload: Workload, lab: DockerLab, choice: Choice) -> Iterator[Viewpoint]:
    """A container of the prober image where clients of a workload are. Raises `CannotLook`."""
    if choice == "proxy":
        raise CannotLook(f"{workload.ref}: Docker has no proxy to measure through")
    containers = lab.containers(workload)
    entrance = _published(workload, containers) or _named(workload, lab, containers)
    with ExitStack() as stack:
        if lab.platform == "swarm" and entrance.network != _HOST:
            prober = stack.enter_context(service_prober(lab, entrance.network))
            _require_names(workload, lab, prober)
        else:
            prober = stack.enter_context(lab.prober(entrance.network))
        yield Viewpoint(
            text=entrance.text,
            bases=tuple(f"{scheme}://{a}" for a in entrance.addresses for scheme in _SCHEMES),
            stream=lambda: lab.start(prober, ["python3", "-c", source()]),
        )


def _published(workload: Workload, containers: list[Document]) -> _Entrance | None:
    """The ports of the daemon's host that lead to any copy; None if there are none."""
    ports = [
        f"127.0.0.1:{port.number}"
        for port in workload.published_ports
        if port.protocol == "TCP" and port.mode == "ingress" and port.number
    ]
    # A port of one node leads to the copy there alone, which clients of others do without.
    if workload.platform != "swarm" or workload.replicas == 1:
        ports += [port for container in containers for port in _bound(container)]
    if not ports:
        return None
    return _Entrance("through its published port on the daemon's host", _HOST, _unique(ports))


def _bound(container: Document) -> Iterator[str]:
    for inside, bindings in (container["NetworkSettings"].get("Ports") or {}).items():
        for binding in bindings or ():
            if inside.endswith("/tcp") and ":" not in binding["HostIp"]:
                address = binding["HostIp"]
                host = "127.0.0.1" if address in _EVERYWHERE else address
                yield f"{host}:{binding['HostPort']}"


def _named(workload: Workload, lab: DockerLab, containers: list[Document]) -> _Entrance:
    """The name that others in its network call it by."""
    ports = [p.number for c in workload.main_containers for p in c.ports if p.protocol == "TCP"]
    network = next(_networks(workload, lab, containers), "")
    if not network or not ports:
        raise CannotLook(
            f"{workload.ref} has no published port that leads to all of it, and no"
            f" {'port' if network else 'network'} is known to ask it by name: give --cp-url"
            f" {workload.name}=URL"
        )
    host = workload.name
    if network in _DEFAULT_NETWORKS:
        # The default bridge knows no names.
        host = str(containers[0]["NetworkSettings"]["Networks"][network]["IPAddress"])
    text = f"by its name {host} from a container in network {_network_name(lab, network)}"
    return _Entrance(text, network, _unique(f"{host}:{port}" for port in ports))


def _networks(workload: Workload, lab: DockerLab, containers: list[Document]) -> Iterator[str]:
    """Names of the networks that it is in; of a Swarm service ids."""
    if lab.platform == "swarm":
        spec = service_of(lab, workload)["Spec"]
        joined = spec["TaskTemplate"].get("Networks") or spec.get("Networks") or ()
        yield from (network["Target"] for network in joined)
    for container in containers:
        names = container["NetworkSettings"].get("Networks") or {}
        yield from (name for name in names if name not in _NO_NETWORKS)


def _network_name(lab: DockerLab, network: str) -> str:
    with daemon_errors(f"network {network}"):
        api: Any = lab.client.api
        return str(api.inspect_network(network)["Name"])


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _require_names(workload: Workload, lab: DockerLab, prober: str) -> None:
    """Wait until a node that has just joined a network knows the service's addresses there.

    Until then a lookup fails, or leads to some tasks only.
    """
    endpoint = service_of(lab, workload)["Spec"].get("EndpointSpec") or {}
    tasks = sum(is_up(task) for task in tasks_of(lab, workload.name))
    wanted = tasks if endpoint.get("Mode") == "dnsrr" else 1

    def are_known() -> bool:
        found = lab.execute(prober, ["python3", "-c", _RESOLVE, workload.name])
        return found.out.strip().isdigit() and int(found.out) >= wanted

    what = f"the {wanted} addresses of {workload.name} to be known where the prober is"
    lab.wait_for(are_known, _START_SECONDS, what)


@contextmanager
def service_prober(lab: DockerLab, network: str) -> Iterator[str]:
    """A container of a service of our own in a network: few networks let other containers in.

    It is on the manager that is asked. Raises `CannotLook` if it does not start.
    """
    name = f"containerpolicy-{secrets.token_hex(4)}"
    with daemon_errors("info"):
        node = lab.client.api.info()["Swarm"]["NodeID"]
    spec = {
        "Name": name,
        "Labels": {RUN_LABEL: lab.run},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": lab.options.prober_image,
                "Command": _WAIT,
                "Init": True,
                "StopGracePeriod": 0,
                "Labels": {RUN_LABEL: lab.run},
            },
            "Placement": {"Constraints": [f"node.id=={node}"]},
            "RestartPolicy": {"Condition": "none"},
            "Networks": [{"Target": network}],
        },
        "EndpointSpec": {"Mode": "dnsrr"},
    }
    what = f"prober service {name} is left"
    with lab.undoing(remove_service, what, name=name, run=lab.run):
        with daemon_errors(f"prober service in network {network}"):
            api: Any = lab.client.api
            api.post_document("/services/create", spec)
        yield lab.wait_for(lambda: _container_of(lab, name), _START_SECONDS, what[:-8])


def _container_of(lab: DockerLab, service: str) -> str:
    """The id of the running container of a service of ours; empty while there is none."""
    with daemon_errors(f"prober service {service}"):
        api: Any = lab.client.api
        for task in api.tasks({"service": service}):
            status = task["Status"]
            if status["State"] in ("rejected", "failed", "complete"):
                raise CannotLook(
                    f"prober image {lab.options.prober_image} did not start:"
                    f" {status.get('Err', status['State'])}: give one with python3 that the"
                    " manager has with --cp-prober-image"
                )
        filters = {"label": f"com.docker.swarm.service.name={service}"}
        rows = api.containers(filters=filters)
    return str(rows[0]["Id"]) if rows else ""


@undo
def remove_service(lab: DockerLab, name: str, run: str) -> None:
    """Remove a service that a run created, and only that; wait until its containers are gone."""

    def is_gone() -> bool:
        service = find_service(lab, name)
        if service is None:
            filters = {"label": f"com.docker.swarm.service.name={name}"}
            return not api.containers(filters=filters)
        if (service["Spec"].get("Labels") or {}).get(RUN_LABEL) != run:
            return True
        api.remove_service(name)
        return False

    with daemon_errors(f"removal of service {name}"):
        api: Any = lab.client.api
        lab.wait_for(is_gone, _START_SECONDS, f"service {name} to be gone")
