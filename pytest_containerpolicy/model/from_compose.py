"""The model of a Compose project, from its files.

What `docker compose up` does with them, measured with Docker Compose 2.40.3:

* A changed service is stopped, all copies at once, before its new copies start; anonymous volumes
  are re-attached. `deploy.update_config` and `rollback_config` are for Swarm and do nothing.
* `deploy.restart_policy` replaces `restart`, an empty one with `no`.
* Without `stop_grace_period` and `logging` the engine's defaults apply: 10 s, and its log driver.
* `container_name` with more than one copy is an error.

https://github.com/compose-spec/compose-spec/blob/main/deploy.md
"""

from collections.abc import Iterator

from pytest_containerpolicy.model.compose_networks import (
    network_mode,
    on_default_bridge,
    published_ports,
    shared_ports,
)
from pytest_containerpolicy.model.compose_projects import build_running, recreation
from pytest_containerpolicy.model.compose_services import build_container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.quantities import compose_seconds
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import compose_documents as compose
from pytest_containerpolicy.targets.inventory import Inventory

_SOURCES: dict[type, tuple[str, ...]] = {
    Workload: ("projects",),
    NamedVolume: ("projects",),
    Network: ("projects",),
}
_ENGINE_NETWORKS = {"host": "host", "none": "none", "bridge": "bridge", "default": "bridge"}
_CONDITIONS = {"none": "no", "any": "always", "": "no"}


def build(inventory: Inventory) -> Model:
    """The model of a Compose inventory: of files, or of what runs of a project."""
    if "projects" not in inventory.kinds:
        return build_running(inventory)
    model = Model(inventory.header, _SOURCES)
    projects: list[compose.Project] = list(inventory.documents("projects"))
    model.fill(
        {
            Workload: [workload for project in projects for workload in _workloads(project, model)],
            NamedVolume: [volume for project in projects for volume in _volumes(project)],
            Network: [network for project in projects for network in _networks(project)],
        }
    )
    return model


def _workloads(project: compose.Project, model: Model) -> Iterator[Workload]:
    finishing = _awaited(project, "service_completed_successfully")
    healthy = _awaited(project, "service_healthy")
    for name, service in project.services.items():
        # A provider is a program on the host; no container runs for it.
        if service.provider is None:
            workload = _workload(name, project, model)
            workload.runs_to_completion = name in finishing
            workload.health_awaited = name in healthy
            workload.depends_on = _conditions(service)
            workload.containers = (build_container(name, project, workload),)
            workload.volumes = tuple(mount.volume for mount in workload.containers[0].mounts)
            yield workload


def _awaited(project: compose.Project, condition: str) -> set[str]:
    """The services that another one waits for before it starts."""
    return {
        name
        for service in project.services.values()
        for name, dependency in (service.depends_on or {}).items()
        if dependency.condition == condition
    }


def _conditions(service: compose.Service) -> tuple[tuple[str, str], ...]:
    dependencies = (service.depends_on or {}).items()
    return tuple(sorted((name, dependency.condition) for name, dependency in dependencies))


def _workload(name: str, project: compose.Project, model: Model) -> Workload:
    service, mode = project.services[name], network_mode(project, name)
    declared = service.deploy.replicas if service.deploy else None
    replicas = service.scale if service.scale is not None else declared
    return Workload(
        ref=_ref("service", name, service),
        model=model,
        platform="compose",
        labels={},
        replicas=1 if replicas is None else replicas,
        replicas_declared=replicas is not None,
        rollout=recreation(1 if replicas is None else replicas),
        # Compose hands whole seconds to the engine.
        grace_period=float(int(compose_seconds(service.stop_grace_period or "10s"))),
        grace_period_path=f"services.{name}.stop_grace_period",
        restart=_restart(service),
        restart_attempts=_restart_attempts(service),
        host_network=mode == "host",
        default_bridge=on_default_bridge(project, name),
        shares_network_of=mode.removeprefix("container:") if mode.startswith("container:") else "",
        networks=_networks_of(service),
        published_ports=published_ports(project, name),
        shared_ports=shared_ports(project, name),
        fixed_name=service.container_name,
    )


def _networks_of(service: compose.Service) -> tuple[str, ...]:
    if service.network_mode in _ENGINE_NETWORKS:
        return (_ENGINE_NETWORKS[service.network_mode],)
    return tuple(sorted(service.networks or ()))


def _ref(
    kind: str, name: str, document: compose.Service | compose.Volume | compose.Network
) -> ObjectRef:
    origin = document.origin
    return ObjectRef(
        kind=kind,
        name=name,
        file=origin.file if origin else "",
        line=origin.line if origin else 0,
    )


def _restart(service: compose.Service) -> str:
    policy = service.deploy.restart_policy if service.deploy else None
    if policy is not None:
        return _CONDITIONS.get(policy.condition, policy.condition)
    return service.restart.partition(":")[0] or "no"


def _restart_attempts(service: compose.Service) -> int:
    policy = service.deploy.restart_policy if service.deploy else None
    if policy is not None:
        return policy.max_attempts or 0
    attempts = service.restart.partition(":")[2]
    return int(attempts) if attempts.isdigit() else 0


def _volumes(project: compose.Project) -> Iterator[NamedVolume]:
    for name, volume in project.volumes.items():
        yield NamedVolume(
            ref=_ref("volume", name, volume),
            driver=volume.driver or "local",
            external=volume.external,
            driver_options=(f"type={volume.driver_opts.type}",) if volume.driver_opts.type else (),
        )


def _networks(project: compose.Project) -> Iterator[Network]:
    for name, network in project.networks.items():
        yield Network(
            ref=_ref("network", name, network),
            driver=network.driver or "bridge",
            internal=network.internal,
            encrypted=network.driver_opts.encrypted is not None,
            external=network.external,
        )
