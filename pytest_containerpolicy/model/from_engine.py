"""The model of a Docker engine: one workload for each plain container that is kept."""

from collections.abc import Iterable

from pytest_containerpolicy.model.cluster import Engine, Node
from pytest_containerpolicy.model.engine_containers import (
    Surroundings,
    build_container,
    container_name,
    grace_period,
    is_generated,
    restart_attempts_of,
    restart_of,
)
from pytest_containerpolicy.model.engine_networks import (
    network_holder,
    networks_of,
    on_default_bridge,
    on_host_network,
    published_ports,
    shared_network,
    shared_ports,
)
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Rollout, Workload
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets.inventory import Inventory

SOURCES: dict[type, tuple[str, ...]] = {
    # Volumes decide where a container's data lives, networks where its ports are bound.
    Workload: ("containers", "volumes", "networks", "images"),
    NamedVolume: ("volumes",),
    Network: ("networks",),
    Engine: ("info",),
    Node: ("info",),
}
_ROLLOUT = Rollout(strategy="recreate", order="stop-first", max_unavailable=1, max_surge=0)


def build(inventory: Inventory) -> Model:
    """The model of a Docker engine's inventory."""
    model = Model(inventory.header, SOURCES)
    surroundings = Surroundings.of(inventory)
    model.fill(
        {
            Workload: [
                _workload(container, model, surroundings)
                for container in sorted(inventory.documents("containers"), key=container_name)
                if container.is_plain and container.is_kept
            ],
            NamedVolume: named_volumes(inventory.documents("volumes")),
            Network: networks(inventory.documents("networks")),
            Engine: [engine(info) for info in inventory.documents("info")],
            Node: [host(info) for info in inventory.documents("info")],
        }
    )
    return model


def named_volumes(documents: Iterable[docker.Volume]) -> list[NamedVolume]:
    """The volumes that have a name of their own."""
    return [
        NamedVolume(
            ref=ObjectRef(kind="volume", name=volume.name),
            driver=volume.driver,
            driver_options=_options(volume),
        )
        for volume in documents
        if not is_generated(volume.name)
    ]


def networks(documents: Iterable[docker.Network]) -> list[Network]:
    """The networks; an overlay is encrypted when the option is there, whatever its value."""
    return [
        Network(
            ref=ObjectRef(kind="network", name=network.name),
            driver=network.driver,
            scope=network.scope,
            internal=network.internal,
            encrypted=network.options is not None and network.options.encrypted is not None,
        )
        for network in documents
    ]


def engine(info: docker.Info) -> Engine:
    """The daemon."""
    return Engine(
        ref=ObjectRef(kind="engine", name=info.name),
        version=info.server_version,
        api_version=info.api_version,
        cgroup_version=info.cgroup_version,
        logging_driver=info.logging_driver,
        live_restore=info.live_restore_enabled,
        storage_driver=info.driver,
        swarm_state=info.swarm.local_node_state if info.swarm else "inactive",
    )


def host(info: docker.Info) -> Node:
    """The daemon's machine."""
    return Node(
        ref=ObjectRef(kind="host", name=info.name),
        labels={},
        memory=info.mem_total,
        cpu=info.ncpu,
        version=info.server_version,
    )


def _workload(document: docker.Container, model: Model, surroundings: Surroundings) -> Workload:
    holder = network_holder(document, surroundings)
    workload = Workload(
        ref=ObjectRef(kind="container", name=container_name(document)),
        model=model,
        platform="docker",
        labels={},
        controlled=False,
        rollout=_ROLLOUT,
        grace_period=grace_period(document),
        grace_period_path="Config.StopTimeout",
        restart=restart_of(document),
        restart_attempts=restart_attempts_of(document),
        host_network=holder is not None and on_host_network(holder),
        default_bridge=holder is not None and on_default_bridge(holder),
        shares_network_of="" if holder else shared_network(document),
        networks=networks_of(document),
        published_ports=published_ports(document, surroundings),
        shared_ports=shared_ports(document, surroundings),
    )
    workload.containers = (build_container(document, workload, surroundings),)
    workload.volumes = tuple(mount.volume for mount in workload.containers[0].mounts)
    return workload


def _options(volume: docker.Volume) -> tuple[str, ...]:
    file_system = volume.options.type if volume.options else None
    return (f"type={file_system}",) if file_system else ()
