"""How clients reach a container or service: a published port, or a network that it is in.

A published port is asked from the host's own network, as a client on that host would; a service of
a Swarm by its name, from a container in its network.
"""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.viewpoint import Choice, Viewpoint
from pytest_containerpolicy.model.workload import Workload

_EVERYWHERE = ("", "0.0.0.0", "::")
_DEFAULT_NETWORKS = ("bridge", "default")
_HOST = "host"
_WAIT = ["python3", "-c", "import time; time.sleep(1800)"]
_START_SECONDS = 30.0


@contextmanager
def viewpoint(workload: Workload, lab: DockerLab, choice: Choice) -> Iterator[Viewpoint]:
    """A container of the prober image where clients of a workload are. Raises `CannotLook`."""
    if choice == "proxy":
        raise CannotLook(f"{workload.ref}: Docker has no proxy to measure through")
    containers = lab.containers(workload)
    text, network, bases = _entrance(workload, lab, containers)
    with ExitStack() as stack:
        if lab.platform == "swarm" and network != _HOST:
            prober = stack.enter_context(_service_prober(lab, network))
        else:
            prober = stack.enter_context(lab.prober(network))
        yield Viewpoint(
            text=text,
            bases=tuple(f"{scheme}://{base}" for base in bases for scheme in ("http", "tcp")),
            stream=lambda: lab.start(prober, ["python3", "-c", source()]),
        )


def _entrance(
    workload: Workload, lab: DockerLab, containers: list[Document]
) -> tuple[str, str, tuple[str, ...]]:
    """In words, in which network to stand, and the addresses there."""
    published = tuple(_published(workload, containers))
    if published:
        return "through its published port on the daemon's host", _HOST, published
    if lab.platform == "swarm":
        network = next(iter(_swarm_networks(workload, lab)), "")
    else:
        network = next(iter(_networks(containers)), "")
    ports = _ports(workload, containers)
    if not network or not ports:
        raise CannotLook(
            f"{workload.ref} publishes no port, and {'no port of it' if network else 'no network'}"
            f" is known to measure through: give --cp-url {workload.name}=URL"
        )
    host = workload.name
    if network in _DEFAULT_NETWORKS:
        # The default bridge knows no names.
        host = str(containers[0]["NetworkSettings"]["Networks"][network]["IPAddress"])
    text = f"by its name {host} from a container in network {_network_name(lab, network)}"
    return text, network, tuple(f"{host}:{port}" for port in ports)


def _network_name(lab: DockerLab, network: str) -> str:
    with daemon_errors(f"network {network}"):
        api: Any = lab.client.api
        return str(api.inspect_network(network)["Name"])


def _published(workload: Workload, containers: list[Document]) -> Iterator[str]:
    for port in workload.published_ports:
        if port.protocol == "TCP" and port.mode == "ingress" and port.number:
            yield f"127.0.0.1:{port.number}"
    for container in containers:
        for inside, bindings in (container["NetworkSettings"].get("Ports") or {}).items():
            for binding in bindings or ():
                if inside.endswith("/tcp") and ":" not in binding["HostIp"]:
                    address = binding["HostIp"]
                    host = "127.0.0.1" if address in _EVERYWHERE else address
                    yield f"{host}:{binding['HostPort']}"


def _networks(containers: list[Document]) -> list[str]:
    return [name for c in containers for name in (c["NetworkSettings"].get("Networks") or {})]


def _ports(workload: Workload, containers: list[Document]) -> list[int]:
    declared = [p.number for c in workload.main_containers for p in c.ports if p.protocol == "TCP"]
    exposed = [
        int(port.partition("/")[0])
        for container in containers
        for port in container["Config"].get("ExposedPorts") or {}
        if port.endswith("/tcp")
    ]
    return list(dict.fromkeys([*declared, *exposed]))


def _swarm_networks(workload: Workload, lab: DockerLab) -> list[str]:
    """The ids of the networks that a service joins."""
    with daemon_errors(f"service {workload.name}"):
        api: Any = lab.client.api
        spec = api.inspect_service(workload.name)["Spec"]
    joined = spec["TaskTemplate"].get("Networks") or spec.get("Networks") or ()
    return [network["Target"] for network in joined]


@contextmanager
def _service_prober(lab: DockerLab, network: str) -> Iterator[str]:
    """A container of a service of our own in a network: few networks let other containers in."""
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
    from docker.errors import NotFound

    def is_gone() -> bool:
        api: Any = lab.client.api
        try:
            service = api.inspect_service(name)
        except NotFound:
            filters = {"label": f"com.docker.swarm.service.name={name}"}
            return not api.containers(filters=filters)
        if (service["Spec"].get("Labels") or {}).get(RUN_LABEL) != run:
            return True
        api.remove_service(name)
        return False

    with daemon_errors(f"removal of service {name}"):
        lab.wait_for(is_gone, _START_SECONDS, f"service {name} to be gone")
