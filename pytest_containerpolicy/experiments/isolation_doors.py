"""What there is to be reached in Docker's networks: the TCP ports of containers and of tasks."""

from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.swarm_watch import is_up, tasks_of
from pytest_containerpolicy.model.workload import Workload

# Every service that publishes a port is in it: it keeps nobody apart.
INGRESS = "ingress"
_ALONE = ("host", "none")


class Door(Struct, frozen=True, kw_only=True):
    """A container's TCP port in one network, and the names of all networks it is in."""

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


def doors_of(lab: DockerLab, workload: Workload) -> Iterator[Door]:
    """The doors of a workload's running containers, of a Swarm service's tasks on whatever node."""
    if not has_networks(workload):
        return
    if lab.platform == "swarm":
        for task in filter(is_up, tasks_of(lab, workload.name)):
            yield from _of_task(workload, task)
    else:
        for container in lab.containers(workload):
            yield from _of_container(workload, container)


def _of_container(workload: Workload, container: Document) -> Iterator[Door]:
    settings = container["NetworkSettings"]
    exposed = (container["Config"].get("ExposedPorts") or {}).keys()
    ports = exposed | (settings.get("Ports") or {}).keys()
    addresses = {n: one["IPAddress"] for n, one in (settings.get("Networks") or {}).items()}
    tcp = {int(port.partition("/")[0]) for port in ports if port.endswith("/tcp")}
    yield from _doors(workload, container["Name"].removeprefix("/"), addresses, tcp)


def _of_task(workload: Workload, task: Document) -> Iterator[Door]:
    name = f"task {workload.name}.{task.get('Slot') or task['NodeID'][:12]}"
    addresses = {
        attachment["Network"]["Spec"]["Name"]: attachment["Addresses"][0].partition("/")[0]
        for attachment in task.get("NetworksAttachments") or ()
        if attachment.get("Addresses")
    }
    ports = {p.number for c in workload.main_containers for p in c.ports if p.protocol == "TCP"}
    yield from _doors(workload, name, addresses, ports)


def _doors(
    workload: Workload, container: str, addresses: dict[str, str], ports: set[int]
) -> Iterator[Door]:
    for network, address in addresses.items():
        for port in sorted(ports):
            if address and network != INGRESS:
                yield Door(
                    workload=workload.name,
                    container=container,
                    network=network,
                    address=address,
                    port=port,
                    networks=tuple(addresses),
                )
