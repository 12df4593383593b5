"""Containers of Kubernetes pods: resources as they will be in force, probes, mounts and ports."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.container import (
    Container,
    ContainerPort,
    Mount,
    PreStop,
    Probe,
    Role,
)
from pytest_containerpolicy.model.kubernetes_values import bytes_in, number_in
from pytest_containerpolicy.model.network import PublishedPort
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import kubernetes_pods as pods

# Sidecars that meshes and injectors put among the ordinary containers.
_INJECTED = {
    "istio-proxy",
    "linkerd-proxy",
    "consul-dataplane",
    "kuma-sidecar",
    "daprd",
    "vault-agent",
}


class Defaults(Struct, frozen=True):
    """What a namespace's LimitRanges give containers that declare nothing, as quantities."""

    limits: Mapping[str, pods.Quantity] = {}
    requests: Mapping[str, pods.Quantity] = {}


def containers_of(
    pod: pods.PodSpec, workload: Workload, defaults: Defaults
) -> tuple[Container, ...]:
    """Every container of a pod. Raises `UsageError`, naming the path, for what the API refuses."""
    if not pod.containers:
        raise UsageError(f"{workload.pod_path}.containers: a pod needs at least one container")
    volumes = {volume.name: volume for volume in workload.volumes}
    return tuple(
        _container(found, role, path, pod, workload, volumes, defaults)
        for found, role, path in _roles(pod, workload.pod_path)
    )


def _roles(pod: pods.PodSpec, pod_path: str) -> Iterator[tuple[pods.Container, Role, str]]:
    for index, found in enumerate(pod.init_containers or ()):
        role: Role = "sidecar" if found.restart_policy == "Always" else "init"
        yield found, role, f"{pod_path}.initContainers[{index}]"
    for index, found in enumerate(pod.containers):
        yield found, _main_role(found), f"{pod_path}.containers[{index}]"
    for index, found in enumerate(pod.ephemeral_containers or ()):
        yield found, "ephemeral", f"{pod_path}.ephemeralContainers[{index}]"


def _main_role(found: pods.Container) -> Role:
    return "sidecar" if found.name in _INJECTED else "main"


def _container(
    found: pods.Container,
    role: Role,
    path: str,
    pod: pods.PodSpec,
    workload: Workload,
    volumes: Mapping[str, Volume],
    defaults: Defaults,
) -> Container:
    lifecycle, security = found.lifecycle, found.security_context
    return Container(
        name=found.name,
        path=path,
        workload=workload,
        role=role,
        image=found.image,
        readiness=_probe(found.readiness_probe),
        liveness=_probe(found.liveness_probe),
        startup=_probe(found.startup_probe),
        stop_signal=(lifecycle and lifecycle.stop_signal) or "",
        pre_stop=_pre_stop(lifecycle.pre_stop) if lifecycle and lifecycle.pre_stop else None,
        mounts=_mounts(found, path, volumes),
        ports=tuple(
            ContainerPort(number=p.container_port, name=p.name, protocol=p.protocol or "TCP")
            for p in found.ports or ()
        ),
        privileged=bool(security and security.privileged),
        read_only_root=bool(security and security.read_only_root_filesystem),
        user=_user(found, pod),
        **_resources(found, path, pod, workload.pod_path, defaults),
    )


def _user(found: pods.Container, pod: pods.PodSpec) -> str:
    for security in (found.security_context, pod.security_context):
        if security and security.run_as_user is not None:
            return str(security.run_as_user)
    return ""


def _resources(
    found: pods.Container, path: str, pod: pods.PodSpec, pod_path: str, defaults: Defaults
) -> dict[str, Any]:
    declared = found.resources or pods.ResourceRequirements()
    # The API server first makes requests of limits, when the pod is created; what is still
    # missing then comes from the namespace's LimitRanges.
    limits = {**defaults.limits, **(declared.limits or {})}
    requests = {**defaults.requests, **(declared.limits or {}), **(declared.requests or {})}
    limits_path, requests_path = f"{path}.resources.limits", f"{path}.resources.requests"
    of_pod = _pod_limits(pod, pod_path)
    # A limit of zero is none: it is what the kubelet passes on for "unlimited".
    return {
        "memory_limit": bytes_in(limits, "memory", limits_path) or of_pod["memory"],
        "memory_request": bytes_in(requests, "memory", requests_path),
        "cpu_limit": number_in(limits, "cpu", limits_path) or of_pod["cpu"],
        "cpu_request": number_in(requests, "cpu", requests_path),
        "writable_layer_limit": bytes_in(limits, "ephemeral-storage", limits_path) or None,
    }


def _pod_limits(pod: pods.PodSpec, pod_path: str) -> dict[str, Any]:
    # A limit of the whole pod bounds each of its containers too:
    # https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/
    limits = pod.resources.limits if pod.resources else None
    path = f"{pod_path}.resources.limits"
    return {
        "memory": bytes_in(limits, "memory", path) or None,
        "cpu": number_in(limits, "cpu", path) or None,
    }


def _probe(found: pods.Probe | None) -> Probe | None:
    # Zero and absent are the same to the API: both become the default.
    if found is None:
        return None
    handler, port, http_path = _probe_handler(found)
    return Probe(
        handler=handler,
        port=port,
        http_path=http_path,
        initial_delay=found.initial_delay_seconds or 0,
        period=found.period_seconds or 10,
        timeout=found.timeout_seconds or 1,
        failure_threshold=found.failure_threshold or 3,
        success_threshold=found.success_threshold or 1,
    )


def _probe_handler(found: pods.Probe) -> tuple[Any, int | str | None, str]:
    if found.http_get:
        return "http", found.http_get.port, found.http_get.path or "/"
    if found.tcp_socket:
        return "tcp", found.tcp_socket.port, ""
    if found.grpc:
        return "grpc", found.grpc.port, ""
    return "exec", None, ""


def _pre_stop(found: pods.LifecycleHandler) -> PreStop | None:
    if found.sleep:
        return PreStop("sleep", found.sleep.seconds)
    if found.http_get:
        return PreStop("http")
    return PreStop("exec", found.exec.sleep_seconds) if found.exec else None


def _mounts(found: pods.Container, path: str, volumes: Mapping[str, Volume]) -> tuple[Mount, ...]:
    mounts = []
    for index, mount in enumerate(found.volume_mounts or ()):
        if mount.name not in volumes:
            raise UsageError(f"{path}.volumeMounts[{index}]: the pod has no volume {mount.name!r}")
        mounts.append(
            Mount(
                destination=mount.mount_path,
                volume=volumes[mount.name],
                read_only=bool(mount.read_only),
                sub_path=mount.sub_path or "",
                propagation=mount.mount_propagation or "",
            )
        )
    return tuple(mounts)


def published_ports(pod: pods.PodSpec, pod_path: str) -> tuple[PublishedPort, ...]:
    """The ports of the node that lead to the pod's containers."""
    return tuple(
        PublishedPort(
            container_port=port.container_port,
            number=port.host_port or port.container_port,
            address=port.host_ip or "",
            protocol=port.protocol or "TCP",
            path=f"{path}.ports[{index}].hostPort",
        )
        for found, _, path in _roles(pod, pod_path)
        for index, port in enumerate(found.ports or ())
        # On the host's network every container port is one of the host's.
        if port.host_port or pod.host_network
    )
