"""Checks of what is reachable from outside, and of which network a workload is on."""

from collections.abc import Iterable, Iterator

from pytest_containerpolicy.checks.images import is_database
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.network import PublishedPort, Service, ServicePort
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

_SHOWN_PORTS = 5


def publishes_ports(workload: Workload) -> bool:
    """Whether ports of the host lead to it, one by one; the host's network is another matter."""
    return bool(workload.published_ports) and not workload.host_network


def runs_database(container: Container) -> bool:
    """A well-known database, cache, search engine or queue that runs for the workload's life.

    The cluster's own etcd answers nobody without a certificate of the cluster.
    """
    if container.workload.namespace == SYSTEM_NAMESPACE:
        return False
    return container.role in ("main", "sidecar") and is_database(container.image)


@check(applies=publishes_ports)
def ports_bound_to_an_address(
    workload: Workload, allow: tuple[int, ...] = ()
) -> Iterator[Violation]:
    """No port of the host is open on all its interfaces, save for the host's ports in `allow`."""
    wide = [
        port
        for port in workload.published_ports
        if port.on_all_interfaces and port.number not in allow
    ]
    if wide:
        yield Violation(
            found=f"{port_text(wide)} on all interfaces",
            wanted="one address of the host, such as 127.0.0.1",
            path=_ports_path(workload, wide),
        )


@check()
def no_host_network(workload: Workload) -> Iterator[Violation]:
    """The workload has a network of its own."""
    _require_known_network(workload)
    if workload.host_network:
        yield Violation(
            found="the host's network",
            wanted="a network of its own",
            path=field_path(workload, "host_network"),
        )


@check()
def no_default_bridge(workload: Workload) -> Iterator[Violation]:
    """The workload is not on the engine's default bridge network."""
    _require_known_network(workload)
    if workload.default_bridge:
        yield Violation(
            found="the default bridge network",
            wanted="a user-defined network",
            path=field_path(workload, "default_bridge"),
        )


@check(applies=runs_database)
def database_not_exposed(container: Container) -> Iterator[Violation]:
    """Nothing outside the host or cluster can open a connection to a database."""
    workload = container.workload
    _require_known_network(workload)
    if workload.host_network:
        yield _exposure("every port it opens is the host's", field_path(workload, "host_network"))
    elif published := [port for port in workload.published_ports if _leads_to(container, port)]:
        text = f"{port_text(published)} published{_address_text(published)}"
        yield _exposure(text, _ports_path(workload, published))
    elif shared := [port for port in workload.shared_ports if not port.on_loopback]:
        yield from _neighbours_exposure(container, shared)
    for service in workload.services:
        ports = [port for port in service.ports if serves(container, port)]
        if service.is_external and ports:
            yield _exposure(f"{_service_text(service)} leads to it")


def port_text(ports: Iterable[PublishedPort]) -> str:
    """Ports of the host for people: `port 5432`, `ports 53/udp, 80`, `port picked for 80`."""
    by_number = sorted(ports, key=lambda port: port.number or port.container_port)
    names = list(dict.fromkeys(_port_name(port) for port in by_number))
    shown = ", ".join(names[:_SHOWN_PORTS])
    rest = len(names) - _SHOWN_PORTS
    if rest > 0:
        return f"ports {shown} and {rest} more"
    return f"{'port' if len(names) == 1 else 'ports'} {shown}"


def serves(container: Container, port: ServicePort) -> bool:
    """Whether a service's port leads to this container and not to another one of its pod.

    A port that no container declares may be anybody's.
    """
    declaring = [
        other
        for other in container.workload.running_containers
        if any(port.target in (declared.number, declared.name) for declared in other.ports)
    ]
    return not declaring or container in declaring


def _neighbours_exposure(container: Container, shared: list[PublishedPort]) -> Iterator[Violation]:
    """What is published for the container whose network it shares leads to its own port, too."""
    if not container.ports:
        raise CannotLook(
            f"whether {port_text(shared)}, published for the container whose network"
            f" {container.workload.ref} shares, leads to it is not known: it declares no port"
        )
    own = {port.number for port in container.ports}
    exposed = [port for port in shared if port.container_port in own]
    if exposed:
        text = f"{port_text(exposed)} published{_address_text(exposed)}, by way of a shared network"
        yield _exposure(text, field_path(container.workload, "networks"))


def _leads_to(container: Container, port: PublishedPort) -> bool:
    if port.on_loopback:
        return False
    return serves(container, ServicePort(number=port.container_port, target=port.container_port))


def _port_name(port: PublishedPort) -> str:
    name = str(port.number) if port.number else f"picked for {port.container_port}"
    return name if port.protocol == "TCP" else f"{name}/{port.protocol.lower()}"


def _address_text(ports: Iterable[PublishedPort]) -> str:
    if any(port.on_all_interfaces for port in ports):
        return " on all interfaces"
    return f" on {', '.join(dict.fromkeys(port.address for port in ports))}"


def _ports_path(workload: Workload, ports: list[PublishedPort]) -> str:
    paths = {port.path for port in ports}
    return paths.pop() if len(paths) == 1 else field_path(workload, "published_ports")


def _service_text(service: Service) -> str:
    kind = service.type if service.type != "ClusterIP" else "externalIPs of"
    return f"{kind} service {service.ref.qualified_name}"


def _exposure(found: str, path: str = "") -> Violation:
    return Violation(found=found, wanted="no way in from outside", path=path)


def _require_known_network(workload: Workload) -> None:
    if workload.shares_network_of:
        raise CannotLook(
            f"{workload.ref} shares the network of container {workload.shares_network_of},"
            f" which is not in {workload.model.target}"
        )
