"""Where a model value is written on each platform, so that a finding names the user's own field.

    field_path(container, "memory_limit")     HostConfig.Memory, or
                                              spec.template.spec.containers[0].resources.limits.memory
    field_path(container, "readiness.timeout")
    field_path(workload, "rollout.max_unavailable")

One table a platform; `{container}` is `Container.path`, `{pod}` is `Workload.pod_path`,
`{name}` the workload's name, `{strategy}` Kubernetes' strategy field of that kind.
"""

from collections.abc import Mapping

from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.workload import Workload

_KUBERNETES = {
    "image": "{container}.image",
    "memory_limit": "{container}.resources.limits.memory",
    "memory_request": "{container}.resources.requests.memory",
    "cpu_limit": "{container}.resources.limits.cpu",
    "cpu_request": "{container}.resources.requests.cpu",
    "writable_layer_limit": "{container}.resources.limits.ephemeral-storage",
    "readiness": "{container}.readinessProbe",
    "liveness": "{container}.livenessProbe",
    "startup": "{container}.startupProbe",
    "gate": "{container}.readinessProbe",
    "stop_signal": "{container}.lifecycle.stopSignal",
    "pre_stop": "{container}.lifecycle.preStop",
    "mounts": "{container}.volumeMounts",
    "ports": "{container}.ports",
    "privileged": "{container}.securityContext.privileged",
    "read_only_root": "{container}.securityContext.readOnlyRootFilesystem",
    "user": "{container}.securityContext.runAsUser",
    "containers": "{pod}.containers",
    "volumes": "{pod}.volumes",
    "grace_period": "{pod}.terminationGracePeriodSeconds",
    "restart": "{pod}.restartPolicy",
    "placement": "{pod}.affinity.nodeAffinity",
    "spread": "{pod}.topologySpreadConstraints",
    "host_network": "{pod}.hostNetwork",
    "published_ports": "{pod}.containers[*].ports[*].hostPort",
    "priority_class": "{pod}.priorityClassName",
    "replicas": "spec.replicas",
    "service_name": "spec.serviceName",
    "claim_retention": "spec.persistentVolumeClaimRetentionPolicy",
    "rollout": "{strategy}",
    "rollout.strategy": "{strategy}.type",
    "rollout.order": "{strategy}.rollingUpdate",
    "rollout.max_unavailable": "{strategy}.rollingUpdate.maxUnavailable",
    "rollout.max_surge": "{strategy}.rollingUpdate.maxSurge",
    "rollout.settle": "spec.minReadySeconds",
    "rollout.progress_deadline": "spec.progressDeadlineSeconds",
}
_DOCKER = {
    "image": "Config.Image",
    "memory_limit": "HostConfig.Memory",
    "memory_request": "HostConfig.MemoryReservation",
    "cpu_limit": "HostConfig.NanoCpus",
    "pids_limit": "HostConfig.PidsLimit",
    "swap_limit": "HostConfig.MemorySwap",
    "writable_layer_limit": "HostConfig.StorageOpt.size",
    "log_driver": "HostConfig.LogConfig.Type",
    "log_limit": "HostConfig.LogConfig.Config.max-size",
    "health": "Config.Healthcheck",
    "health_disabled": "Config.Healthcheck.Test",
    "gate": "Config.Healthcheck",
    "stop_signal": "Config.StopSignal",
    "grace_period": "Config.StopTimeout",
    "mounts": "Mounts",
    "volumes": "Mounts",
    "ports": "Config.ExposedPorts",
    "privileged": "HostConfig.Privileged",
    "read_only_root": "HostConfig.ReadonlyRootfs",
    "user": "Config.User",
    "restart": "HostConfig.RestartPolicy.Name",
    "host_network": "HostConfig.NetworkMode",
    "default_bridge": "HostConfig.NetworkMode",
    "networks": "NetworkSettings.Networks",
    "published_ports": "HostConfig.PortBindings",
    "fixed_name": "Name",
}
_COMPOSE_SERVICE = {
    "image": "image",
    "memory_limit": "deploy.resources.limits.memory",
    "memory_request": "deploy.resources.reservations.memory",
    "cpu_limit": "deploy.resources.limits.cpus",
    "cpu_request": "deploy.resources.reservations.cpus",
    "pids_limit": "deploy.resources.limits.pids",
    "swap_limit": "memswap_limit",
    "writable_layer_limit": "storage_opt.size",
    "log_driver": "logging.driver",
    "log_limit": "logging.options.max-size",
    "health": "healthcheck",
    "health_disabled": "healthcheck.disable",
    "gate": "healthcheck",
    "stop_signal": "stop_signal",
    "grace_period": "stop_grace_period",
    "pre_stop": "pre_stop",
    "mounts": "volumes",
    "volumes": "volumes",
    "ports": "expose",
    "privileged": "privileged",
    "read_only_root": "read_only",
    "user": "user",
    "restart": "restart",
    "replicas": "deploy.replicas",
    "placement": "deploy.placement.constraints",
    "spread": "deploy.placement.preferences",
    "host_network": "network_mode",
    "default_bridge": "network_mode",
    "networks": "networks",
    "published_ports": "ports",
    "fixed_name": "container_name",
    "rollout": "deploy.update_config",
    "rollout.order": "deploy.update_config.order",
    "rollout.max_unavailable": "deploy.update_config.parallelism",
    "rollout.max_surge": "deploy.update_config.parallelism",
    "rollout.settle": "deploy.update_config.delay",
    "rollout.failure_action": "deploy.update_config.failure_action",
    "rollout.monitor": "deploy.update_config.monitor",
    "rollout.max_failure_ratio": "deploy.update_config.max_failure_ratio",
    "rollout.rollback_configured": "deploy.rollback_config",
}
_COMPOSE = {name: f"services.{{name}}.{path}" for name, path in _COMPOSE_SERVICE.items()}
_TASK = "Spec.TaskTemplate"
_SWARM = {
    "image": f"{_TASK}.ContainerSpec.Image",
    "memory_limit": f"{_TASK}.Resources.Limits.MemoryBytes",
    "memory_request": f"{_TASK}.Resources.Reservations.MemoryBytes",
    "cpu_limit": f"{_TASK}.Resources.Limits.NanoCPUs",
    "cpu_request": f"{_TASK}.Resources.Reservations.NanoCPUs",
    "pids_limit": f"{_TASK}.Resources.Limits.Pids",
    "log_driver": f"{_TASK}.LogDriver.Name",
    "log_limit": f"{_TASK}.LogDriver.Options.max-size",
    "health": f"{_TASK}.ContainerSpec.Healthcheck",
    "health_disabled": f"{_TASK}.ContainerSpec.Healthcheck.Test",
    "gate": f"{_TASK}.ContainerSpec.Healthcheck",
    "stop_signal": f"{_TASK}.ContainerSpec.StopSignal",
    "grace_period": f"{_TASK}.ContainerSpec.StopGracePeriod",
    "mounts": f"{_TASK}.ContainerSpec.Mounts",
    "volumes": f"{_TASK}.ContainerSpec.Mounts",
    "ports": "Spec.EndpointSpec.Ports",
    "read_only_root": f"{_TASK}.ContainerSpec.ReadOnly",
    "user": f"{_TASK}.ContainerSpec.User",
    "restart": f"{_TASK}.RestartPolicy.Condition",
    "replicas": "Spec.Mode.Replicated.Replicas",
    "placement": f"{_TASK}.Placement.Constraints",
    "spread": f"{_TASK}.Placement.MaxReplicas",
    "networks": f"{_TASK}.Networks",
    "published_ports": "Spec.EndpointSpec.Ports",
    "rollout": "Spec.UpdateConfig",
    "rollout.order": "Spec.UpdateConfig.Order",
    "rollout.max_unavailable": "Spec.UpdateConfig.Parallelism",
    "rollout.max_surge": "Spec.UpdateConfig.Parallelism",
    "rollout.settle": "Spec.UpdateConfig.Delay",
    "rollout.failure_action": "Spec.UpdateConfig.FailureAction",
    "rollout.monitor": "Spec.UpdateConfig.Monitor",
    "rollout.max_failure_ratio": "Spec.UpdateConfig.MaxFailureRatio",
    "rollout.rollback_configured": "Spec.RollbackConfig",
}
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": _KUBERNETES,
    "docker": _DOCKER,
    "compose": _COMPOSE,
    "swarm": _SWARM,
}
_KUBERNETES_PROBE = {
    "port": "port",
    "initial_delay": "initialDelaySeconds",
    "period": "periodSeconds",
    "timeout": "timeoutSeconds",
    "failure_threshold": "failureThreshold",
    "success_threshold": "successThreshold",
}
_DOCKER_HEALTHCHECK = {
    "handler": "Test",
    "start_period": "StartPeriod",
    "period": "Interval",
    "timeout": "Timeout",
    "failure_threshold": "Retries",
}
_PROBE_FIELDS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": _KUBERNETES_PROBE,
    "docker": _DOCKER_HEALTHCHECK,
    "swarm": _DOCKER_HEALTHCHECK,
    "compose": {
        "handler": "test",
        "start_period": "start_period",
        "period": "interval",
        "timeout": "timeout",
        "failure_threshold": "retries",
    },
}
_PROBES = ("readiness", "liveness", "startup", "health", "gate")
_KUBERNETES_STRATEGY = {"StatefulSet": "spec.updateStrategy", "DaemonSet": "spec.updateStrategy"}


def field_path(subject: Container | Workload, attribute: str) -> str:
    """The field that an attribute of the model comes from, in the platform's own words.

    `attribute` may lead into a probe or the rollout: `readiness.timeout`, `rollout.order`.
    Where the platform has no such field it is the object's own path, which is empty for a whole
    engine container or Swarm service. Raises `KeyError` for an attribute that no platform has.
    """
    workload = subject.workload if isinstance(subject, Container) else subject
    template = _template(workload.platform, attribute)
    if template is None:
        return subject.path if isinstance(subject, Container) else workload.pod_path
    return template.format(
        container=subject.path if isinstance(subject, Container) else "",
        pod=workload.pod_path,
        name=workload.name,
        strategy=_KUBERNETES_STRATEGY.get(workload.kind, "spec.strategy"),
    )


def _template(platform: str, attribute: str) -> str | None:
    probe, _, detail = attribute.partition(".")
    if probe in _PROBES and detail:
        place, name = _template(platform, probe), _lookup(_PROBE_FIELDS, platform, detail)
        return f"{place}.{name}" if place and name else place
    return _lookup(_FIELDS, platform, attribute)


def _lookup(tables: Mapping[str, Mapping[str, str]], platform: str, attribute: str) -> str | None:
    if not any(attribute in table for table in tables.values()):
        raise KeyError(attribute)
    return tables[platform].get(attribute)
