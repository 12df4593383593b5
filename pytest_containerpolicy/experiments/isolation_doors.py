"""What there is to be reached in Docker's networks: the TCP ports of containers and of tasks."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.swarm_watch import is_up, task_name, tasks_of
from pytest_containerpolicy.model.workload import Workload

# Every service that publishes a port is in it: it keeps nobody apart.
INGRESS = "ingress"
_ALONE = ("host", "none")
# The addresses of a container or task in each network that it is in.
_Joined = dict[str, list[str]]


class Door(Struct, frozen=True, kw_only=True):
    """A container's TCP port at one address, and the names of all networks it is in."""

    workload: str
    container: str
    network: str
    address: str
    port: int
    networks: tuple[str, ...]

    def __str__(self) -> str:
        return f"port {self.port} of {self.container} at {self.address} in network {self.network}"


def has_networks(workload: Workload) -> bool:
    """Whether it is in networks of its own, and not in its host's or another container's."""
    return bool(set(workload.networks) - set(_ALONE)) and not workload.host_network


def networks_of(lab: DockerLab, workloads: Iterable[Workload]) -> set[str]:
    """The networks that running containers of some workloads are in, by the engine's names.

    Those that keep nobody apart are left out. A container counts whatever its ports are.
    """
    members = (member for workload in workloads for member in _members(lab, workload))
    return {network for member in members for network in _joined(member)} - {INGRESS, *_ALONE}


def doors_of(lab: DockerLab, workload: Workload) -> Iterator[Door]:
    """The doors of a workload's running containers, of a Swarm service's tasks on whatever node."""
    if not has_networks(workload):
        return
    for member in _members(lab, workload):
        if lab.platform == "swarm":
            yield from _of_task(workload, member)
        else:
            yield from _of_container(workload, member)


def _members(lab: DockerLab, workload: Workload) -> list[Document]:
    """The running containers of a workload; of a Swarm service the tasks."""
    if lab.platform == "swarm":
        return [task for task in tasks_of(lab, workload.name) if is_up(task)]
    return lab.containers(workload)


def _joined(member: Document) -> _Joined:
    if "NetworkSettings" in member:
        networks = (member["NetworkSettings"].get("Networks") or {}).items()
        return {name: _addresses(found or {}) for name, found in networks}
    return {
        attachment["Network"]["Spec"]["Name"]: [
            address.partition("/")[0] for address in attachment.get("Addresses") or ()
        ]
        for attachment in member.get("NetworksAttachments") or ()
    }


def _addresses(network: Document) -> list[str]:
    # Each family has filter rules of its own: one may be open where the other is not.
    found = (network.get(key) for key in ("IPAddress", "GlobalIPv6Address"))
    return [address for address in found if address]


def _of_container(workload: Workload, container: Document) -> Iterator[Door]:
    exposed = (container["Config"].get("ExposedPorts") or {}).keys()
    ports = exposed | (container["NetworkSettings"].get("Ports") or {}).keys()
    tcp = {int(port.partition("/")[0]) for port in ports if port.endswith("/tcp")}
    yield from _doors(workload, container["Name"].removeprefix("/"), _joined(container), tcp)


def _of_task(workload: Workload, task: Document) -> Iterator[Door]:
    name = f"task {task_name(workload.name, task)}"
    ports = {p.number for c in workload.main_containers for p in c.ports if p.protocol == "TCP"}
    yield from _doors(workload, name, _joined(task), ports)


def _doors(workload: Workload, container: str, joined: _Joined, ports: set[int]) -> Iterator[Door]:
    places = [(network, address) for network, found in joined.items() for address in found]
    for network, address in places:
        for port in sorted(ports):
            if network != INGRESS:
                yield Door(
                    workload=workload.name,
                    container=container,
                    network=network,
                    address=address,
                    port=port,
                    networks=tuple(joined),
                )
