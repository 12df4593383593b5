"""A Compose service as the model's container, as its files declare it.

Measured with Docker Compose 2.40.3: `deploy.resources.limits` (cpus, memory, pids) are in force
after `up`, as is `reservations.memory`; `reservations.cpus` does nothing outside of a Swarm.
`pre_stop` hooks run on `stop` and `down` and not when `up` recreates a container: left out.
https://github.com/compose-spec/compose-spec/blob/main/deploy.md#resources
"""

from collections.abc import Iterator

from pytest_containerpolicy.model.compose_volumes import mounts_of
from pytest_containerpolicy.model.container import Container, ContainerPort, Probe
from pytest_containerpolicy.model.logs import log_limit
from pytest_containerpolicy.model.quantities import compose_bytes, compose_seconds
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import compose_documents as compose

_CPU_PERIOD = 100_000


def build_container(name: str, project: compose.Project, workload: Workload) -> Container:
    """The container of each copy of a service."""
    service = project.services[name]
    limits, reservations = _resources(service)
    logging = service.logging
    return Container(
        name=name,
        path=f"services.{name}",
        workload=workload,
        image=service.image,
        memory_limit=_bytes(limits.memory) or _bytes(service.mem_limit),
        memory_request=_bytes(reservations.memory) or _bytes(service.mem_reservation),
        cpu_limit=_cpu_limit(service, limits),
        pids_limit=_pids_limit(service, limits),
        swap_limit=_bytes(service.memswap_limit),
        writable_layer_limit=_bytes(service.storage_opt.size if service.storage_opt else None),
        log_driver=logging.driver if logging else "",
        log_limit=_log_limit(service),
        health=_health(service.healthcheck),
        health_disabled=_health_disabled(service.healthcheck),
        stop_signal=service.stop_signal,
        mounts=mounts_of(project, name),
        ports=tuple(_ports(service)),
        privileged=service.privileged,
        read_only_root=service.read_only,
        user=service.user,
    )


def _resources(service: compose.Service) -> tuple[compose.Limits, compose.Limits]:
    resources = service.deploy.resources if service.deploy else None
    if resources is None:
        return compose.Limits(), compose.Limits()
    return resources.limits or compose.Limits(), resources.reservations or compose.Limits()


def _bytes(size: compose.Size | float | None) -> int | None:
    # The engine takes 0 for "not limited".
    return (compose_bytes(size) or None) if size is not None else None


def _cpu_limit(service: compose.Service, limits: compose.Limits) -> float | None:
    cores = float(limits.cpus or 0) or float(service.cpus or 0)
    quota = float(service.cpu_quota or 0)
    if not cores and quota > 0:
        cores = quota / (float(service.cpu_period or 0) or _CPU_PERIOD)
    return cores or None


def _pids_limit(service: compose.Service, limits: compose.Limits) -> int | None:
    number = limits.pids or service.pids_limit or 0
    return number if number > 0 else None


def _log_limit(service: compose.Service) -> int | None:
    logging = service.logging
    if logging is None:
        return None
    options = {"max-size": logging.options.max_size, "max-file": logging.options.max_file}
    return log_limit(logging.driver, {name: value for name, value in options.items() if value})


def _health(check: compose.Healthcheck | None) -> Probe | None:
    """The health check with the engine's defaults: https://docs.docker.com/reference/dockerfile/#healthcheck"""
    if check is None or not check.test or _health_disabled(check):
        return None
    return Probe(
        handler="exec",
        start_period=compose_seconds(check.start_period or "0s"),
        period=compose_seconds(check.interval or "30s") or 30,
        timeout=compose_seconds(check.timeout or "30s") or 30,
        failure_threshold=check.retries or 3,
    )


def _health_disabled(check: compose.Healthcheck | None) -> bool:
    return check is not None and (check.disable or (check.test or [""])[0] == "NONE")


def _ports(service: compose.Service) -> Iterator[ContainerPort]:
    numbers = {(port.target, port.protocol.upper()) for port in service.ports}
    for text in service.expose:
        port, _, protocol = str(text).partition("/")
        first, _, last = port.partition("-")
        numbers |= {
            (number, protocol.upper() or "TCP")
            for number in range(int(first), int(last or first) + 1)
        }
    for number, protocol in sorted(numbers):
        yield ContainerPort(number=number, protocol=protocol)
