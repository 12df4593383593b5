"""The model of a Swarm: one workload for each service.

Defaults are swarmkit's: https://github.com/moby/swarmkit/blob/master/api/defaults/service.go
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from pytest_containerpolicy.model.cluster import Engine, Node, Swarm
from pytest_containerpolicy.model.from_engine import engine, networks
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network, PublishedPort
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.swarm_placement import node_labels, placement_of, spread_of
from pytest_containerpolicy.model.swarm_services import (
    NANOSECONDS,
    Images,
    build_container,
    driver_of,
)
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Order, Rollout, Workload
from pytest_containerpolicy.targets import swarm_documents as swarm
from pytest_containerpolicy.targets.inventory import Inventory

_SOURCES: dict[type, tuple[str, ...]] = {
    # Global services have as many tasks as there are nodes; networks are attached by id.
    Workload: ("services", "nodes", "networks", "swarm", "images"),
    NamedVolume: ("services",),
    Network: ("networks",),
    Node: ("nodes",),
    Engine: ("info",),
    Swarm: ("swarm",),
}
_GRACE_PERIOD = 10.0
_MONITOR = 5.0
_RESTART = {"": "always", "any": "always", "none": "no"}


def build(inventory: Inventory) -> Model:
    """The model of a Swarm's inventory."""
    model = Model(inventory.header, _SOURCES)
    services: Sequence[swarm.Service] = inventory.documents("services")
    model.fill(
        {
            Workload: _workloads(inventory, services, model),
            NamedVolume: list(_named_volumes(services)),
            Network: [one for one in networks(inventory.documents("networks")) if _is_shared(one)],
            Node: [_node(document) for document in inventory.documents("nodes")],
            Engine: [engine(info) for info in inventory.documents("info")],
            Swarm: [_swarm(document) for document in inventory.documents("swarm")],
        }
    )
    return model


def _is_shared(network: Network) -> bool:
    return network.scope == "swarm"


def _node(document: swarm.Node) -> Node:
    description = document.description or swarm.NodeDescription()
    resources = description.resources or swarm.Limits()
    manager = document.manager_status
    return Node(
        ref=ObjectRef(kind="node", name=description.hostname or document.id),
        labels=node_labels(document),
        ready=document.status is not None and document.status.state == "ready",
        schedulable=document.spec.availability == "active",
        memory=resources.memory_bytes,
        cpu=resources.nano_cpus / NANOSECONDS,
        version=description.engine.engine_version if description.engine else "",
        is_manager=document.spec.role == "manager",
        is_leader=manager is not None and manager.leader,
        reachability=manager.reachability if manager else "",
    )


def _swarm(document: swarm.Swarm) -> Swarm:
    encryption, authority = document.spec.encryption_config, document.spec.ca_config
    return Swarm(
        ref=ObjectRef(kind="swarm", name=document.id),
        autolock=encryption is not None and encryption.auto_lock_managers,
        certificate_expiry=(authority.node_cert_expiry if authority else 0) / NANOSECONDS,
    )


def _named_volumes(services: Sequence[swarm.Service]) -> Iterator[NamedVolume]:
    seen = set()
    for service in services:
        spec = service.spec.task_template.container_spec
        for mount in (spec.mounts if spec else None) or ():
            if mount.type in ("volume", "") and mount.source and mount.source not in seen:
                seen.add(mount.source)
                driver, file_system = driver_of(mount)
                yield NamedVolume(
                    ref=ObjectRef(kind="volume", name=mount.source),
                    driver=driver,
                    driver_options=(f"type={file_system}",) if file_system else (),
                )


def _workloads(
    inventory: Inventory, services: Sequence[swarm.Service], model: Model
) -> list[Workload]:
    nodes: Sequence[swarm.Node] = inventory.documents("nodes")
    names = {network.id: network.name for network in inventory.documents("networks")}
    images, default_log = Images.of(inventory), _default_log(inventory)
    workloads = []
    for service in sorted(services, key=lambda service: service.spec.name):
        # Plugins and network attachments are services too; no container runs for them.
        if service.spec.task_template.container_spec is not None:
            workload = _workload(service, model, nodes, names)
            container = build_container(service, workload, images, default_log)
            workload.containers = (container,)
            workload.volumes = tuple(mount.volume for mount in container.mounts)
            workloads.append(workload)
    return workloads


def _default_log(inventory: Inventory) -> swarm.LogDriver | None:
    for document in inventory.documents("swarm"):
        defaults: swarm.TaskDefaults | None = document.spec.task_defaults
        return defaults.log_driver if defaults else None
    return None


def _workload(
    service: swarm.Service, model: Model, nodes: Sequence[swarm.Node], names: dict[str, str]
) -> Workload:
    spec, task = service.spec, service.spec.task_template
    mode = spec.mode or swarm.Mode()
    container = task.container_spec or swarm.ContainerSpec()
    grace = container.stop_grace_period
    placement = placement_of(task.placement, nodes)
    one_per_node = mode.global_ is not None or mode.global_job is not None
    matching = sum(_node(node).admits(placement) for node in nodes) if nodes else None
    replicas = matching if one_per_node else _replicas(mode)
    is_job = mode.replicated_job is not None or mode.global_job is not None
    attached = [one.target for one in task.networks or spec.networks or ()]
    joined = tuple(sorted(names.get(target, target) for target in attached))
    return Workload(
        ref=ObjectRef(kind="service", name=spec.name),
        model=model,
        platform="swarm",
        labels={},
        replicas=replicas,
        one_per_node=one_per_node,
        runs_to_completion=is_job,
        rollout=None if is_job else rollout_of(spec, replicas),
        grace_period=_GRACE_PERIOD if grace is None else grace / NANOSECONDS,
        grace_period_path="Spec.TaskTemplate.ContainerSpec.StopGracePeriod",
        restart=_restart(task.restart_policy),
        placement=placement,
        spread=tuple(spread_of(task.placement)),
        host_network="host" in joined,
        networks=joined,
        published_ports=tuple(_published_ports(spec)),
    )


def _replicas(mode: swarm.Mode) -> int:
    if mode.replicated_job:
        wanted = mode.replicated_job.max_concurrent
    else:
        wanted = mode.replicated.replicas if mode.replicated else None
    return 1 if wanted is None else wanted


def _restart(policy: swarm.RestartPolicy | None) -> str:
    condition = policy.condition if policy else ""
    return _RESTART.get(condition, condition)


def rollout_of(spec: swarm.ServiceSpec, replicas: int | None) -> Rollout:
    """How the service is updated, and how that is taken back; counts are resolved to its replicas.

    Without `UpdateConfig` one task is replaced at a time; a `Parallelism` of 0 is all at once.
    https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Service/operation/ServiceCreate
    """
    return replace(
        _rollout(spec.update_config, replicas, "Spec.UpdateConfig"),
        rollback_configured=spec.rollback_config is not None,
        rollback=_rollout(spec.rollback_config, replicas, "Spec.RollbackConfig"),
    )


def _rollout(config: swarm.UpdateConfig | None, replicas: int | None, path: str) -> Rollout:
    update = config or swarm.UpdateConfig(parallelism=1)
    together = _together(update.parallelism, replicas)
    order: Order = "start-first" if update.order == "start-first" else "stop-first"
    return Rollout(
        strategy="rolling update",
        order=order,
        max_unavailable=0 if order == "start-first" else together,
        max_surge=together if order == "start-first" else 0,
        settle=update.delay / NANOSECONDS,
        failure_action=update.failure_action or "pause",
        max_failure_ratio=update.max_failure_ratio,
        monitor=update.monitor / NANOSECONDS or _MONITOR,
        is_declared=config is not None,
        path=path,
    )


def _together(parallelism: int, replicas: int | None) -> int:
    if replicas is None:
        return parallelism
    return min(parallelism or replicas, replicas)


def _published_ports(spec: swarm.ServiceSpec) -> Iterator[PublishedPort]:
    ports = (spec.endpoint_spec.ports if spec.endpoint_spec else None) or ()
    for position, port in enumerate(ports):
        yield PublishedPort(
            container_port=port.target_port,
            number=port.published_port or None,
            protocol=(port.protocol or "tcp").upper(),
            mode=port.publish_mode or "ingress",
            path=f"Spec.EndpointSpec.Ports[{position}]",
        )
