"""The model of a Compose project that runs, from its containers.

A service is a workload; its copies are the containers with its label. Volumes and networks go by
the names of the project's files where they have one, so that findings read the same for both.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from pytest_containerpolicy.model.cluster import Engine, Node
from pytest_containerpolicy.model.container import Container, Mount
from pytest_containerpolicy.model.engine_containers import (
    Surroundings,
    build_container,
    container_name,
    grace_period,
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
from pytest_containerpolicy.model.from_engine import SOURCES, engine, host, named_volumes, networks
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Rollout, Workload
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets.inventory import Inventory


def build_running(inventory: Inventory) -> Model:
    """The model of what runs of a project."""
    model = Model(inventory.header, SOURCES)
    renamed = _with_own_volume_names(inventory)
    surroundings = Surroundings.of(renamed)
    model.fill(
        {
            Workload: list(_workloads(renamed.documents("containers"), model, surroundings)),
            NamedVolume: named_volumes(renamed.documents("volumes")),
            Network: networks(
                replace(one, name=_own_name(one)) for one in inventory.documents("networks")
            ),
            Engine: [engine(info) for info in inventory.documents("info")],
            Node: [host(info) for info in inventory.documents("info")],
        }
    )
    return model


def recreation(copies: int) -> Rollout:
    """How `docker compose up` replaces a service: every copy stops, then the new ones start."""
    return Rollout(strategy="recreate", order="stop-first", max_unavailable=copies, max_surge=0)


def _with_own_volume_names(inventory: Inventory) -> Inventory:
    """The inventory with the volumes named as in the project's files."""
    kinds = {kind: inventory.documents(kind) for kind in inventory.kinds}
    names = {volume.name: _own_name(volume) for volume in kinds["volumes"]}
    kinds["volumes"] = [replace(one, name=names[one.name]) for one in kinds["volumes"]]
    kinds["containers"] = [_refer(one, names) for one in kinds["containers"]]
    return Inventory(inventory.header, kinds)


def _own_name(document: docker.Volume | docker.Network) -> str:
    labels = document.labels or docker.NO_LABELS
    return labels.compose_volume or labels.compose_network or document.name


def _refer(container: docker.Container, names: Mapping[str, str]) -> docker.Container:
    mounts = [
        replace(mount, name=names.get(mount.name, mount.name)) for mount in container.mounts or ()
    ]
    return replace(container, mounts=mounts)


def _workloads(
    containers: Iterable[docker.Container], model: Model, surroundings: Surroundings
) -> Iterator[Workload]:
    copies: defaultdict[str, list[docker.Container]] = defaultdict(list)
    for container in containers:
        if container.is_kept and not container.is_one_off:
            copies[container.labels.service or container_name(container)].append(container)
    awaited = _awaited(document for documents in copies.values() for document in documents)
    for service, documents in sorted(copies.items()):
        documents.sort(key=lambda document: int(document.labels.container_number or 0))
        workload = _workload(service, documents, model, surroundings)
        workload.runs_to_completion = (service, "service_completed_successfully") in awaited
        workload.health_awaited = (service, "service_healthy") in awaited
        workload.depends_on = tuple(sorted(_awaited(documents)))
        yield workload


def _awaited(containers: Iterable[docker.Container]) -> set[tuple[str, str]]:
    """Which services others wait for, and for what, from `db:service_healthy:false,...`."""
    entries = {
        entry
        for container in containers
        for entry in (container.labels.depends_on or "").split(",")
    }
    return {
        (name, condition) for name, condition, *_ in (e.split(":") for e in entries if ":" in e)
    }


def _workload(
    service: str, documents: list[docker.Container], model: Model, surroundings: Surroundings
) -> Workload:
    first = documents[0]
    holder = network_holder(first, surroundings)
    workload = Workload(
        ref=ObjectRef(kind="service", name=service),
        model=model,
        platform="compose",
        labels={},
        replicas=len(documents),
        rollout=recreation(len(documents)),
        grace_period=grace_period(first),
        grace_period_path=f"services.{service}.stop_grace_period",
        restart=restart_of(first),
        restart_attempts=restart_attempts_of(first),
        host_network=holder is not None and on_host_network(holder),
        default_bridge=holder is not None and on_default_bridge(holder),
        shares_network_of="" if holder else shared_network(first),
        networks=_own_networks(first, surroundings),
        published_ports=tuple(
            replace(port, path=f"services.{service}.ports")
            for port in published_ports(first, surroundings)
        ),
        shared_ports=shared_ports(first, surroundings),
        fixed_name=_fixed_name(first),
    )
    workload.containers = tuple(_containers(service, documents, workload, surroundings))
    workload.volumes = tuple(
        dict.fromkeys(
            mount.volume for container in workload.containers for mount in container.mounts
        )
    )
    return workload


def _own_networks(document: docker.Container, surroundings: Surroundings) -> tuple[str, ...]:
    # The facts above need the engine's names: a project may call its own network `bridge`.
    known = surroundings.networks
    names = (_own_name(known[name]) if name in known else name for name in networks_of(document))
    return tuple(sorted(names))


def _declared(mount: Mount, service: str) -> Mount:
    """A mount with the place in the project's files that it comes from."""
    key = "tmpfs" if mount.volume.path == "HostConfig.Tmpfs" else "volumes"
    return replace(mount, volume=replace(mount.volume, path=f"services.{service}.{key}"))


def _fixed_name(document: docker.Container) -> str:
    labels, name = document.labels, container_name(document)
    generated = f"{labels.project}-{labels.service}-{labels.container_number}"
    return "" if name == generated else name


def _containers(
    service: str,
    documents: Iterable[docker.Container],
    workload: Workload,
    surroundings: Surroundings,
) -> Iterator[Container]:
    """The service's container, and any copy that was made or changed otherwise, by its own name."""
    seen: list[object] = []
    for document in documents:
        container = build_container(
            document,
            workload,
            surroundings,
            name=container_name(document) if seen else service,
            path=f"services.{service}",
        )
        container.mounts = tuple(_declared(mount, service) for mount in container.mounts)
        values = [getattr(container, field) for field in Container.__struct_fields__[1:]]
        if values not in seen:
            seen.append(values)
            yield container
