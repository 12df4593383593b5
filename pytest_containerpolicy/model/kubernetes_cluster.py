"""What surrounds the workloads of a Kubernetes cluster, with the API's defaults."""

from typing import Any

from pytest_containerpolicy.model.cluster import (
    Autoscaler,
    DisruptionBudget,
    LimitRange,
    Namespace,
    Node,
    Quota,
)
from pytest_containerpolicy.model.kubernetes_values import (
    bytes_in,
    count_of,
    number_in,
    numbers,
    ref_of,
    selector_of,
)
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.placement import Taint
from pytest_containerpolicy.targets import kubernetes_cluster as cluster
from pytest_containerpolicy.targets import kubernetes_workloads as workloads

# What the API server scales by where an autoscaler names no metric.
_DEFAULT_METRICS = (("cpu", ""),)

_SCALED_GROUPS = ("apps", "argoproj.io")


def disruption_budget(found: workloads.PodDisruptionBudget, model: Model) -> DisruptionBudget:
    """A PodDisruptionBudget (policy/v1)."""
    spec = found.spec
    return DisruptionBudget(
        ref=ref_of("PodDisruptionBudget", found),
        model=model,
        selector=selector_of(spec.selector),
        min_available=_amount(spec.min_available, "spec.minAvailable"),
        max_unavailable=_amount(spec.max_unavailable, "spec.maxUnavailable"),
        unhealthy_pod_eviction=spec.unhealthy_pod_eviction_policy or "IfHealthyBudget",
        disruptions_allowed=found.status.disruptions_allowed if found.status else None,
    )


def _amount(value: int | str | None, path: str) -> int | str | None:
    return None if value is None else count_of(value, path)


def autoscaler(found: workloads.HorizontalPodAutoscaler, model: Model) -> Autoscaler:
    """A HorizontalPodAutoscaler (autoscaling/v2, and the older v1's one metric)."""
    spec, target = found.spec, found.spec.scale_target_ref
    return Autoscaler(
        ref=ref_of("HorizontalPodAutoscaler", found),
        model=model,
        target_kind=_scaled_kind(target),
        target_name=target.name,
        min_replicas=1 if spec.min_replicas is None else spec.min_replicas,
        max_replicas=spec.max_replicas,
        resource_metrics=_resource_metrics(spec) if spec.metrics else _DEFAULT_METRICS,
    )


def _scaled_kind(target: workloads.WorkloadReference) -> str:
    """The kind, with the API group where that is not the group of the kinds read here.

    The controller looks for the target by group and kind, whatever the version: a missing
    apiVersion, or the core group's, leads to no Deployment.
    """
    group = target.api_version.rpartition("/")[0]
    return target.kind if group in _SCALED_GROUPS else f"{target.kind}.{group}"


def _resource_metrics(spec: workloads.AutoscalerSpec) -> tuple[tuple[str, str], ...]:
    metrics = (metric.resource or metric.container_resource for metric in spec.metrics or ())
    return tuple(
        (metric.name, metric.container or "")
        for metric in metrics
        if metric and metric.target.type == "Utilization"
    )


def quota(found: cluster.ResourceQuota) -> Quota:
    """A ResourceQuota; `used` from its status, where there is one."""
    spec, status = found.spec, found.status
    selector = spec.scope_selector
    selected = (
        [scope.scope_name for scope in (selector.match_expressions or ())] if selector else []
    )
    return Quota(
        ref=ref_of("ResourceQuota", found),
        hard=numbers(spec.hard, "spec.hard"),
        used=numbers(status.used, "status.used") if status and status.used else None,
        scopes=(*(spec.scopes or ()), *selected),
    )


def limit_range(found: cluster.LimitRange) -> LimitRange:
    """What a LimitRange gives containers, with the API's own fallbacks.

    A missing default limit is the maximum, a missing default request the default limit, else
    the minimum: https://kubernetes.io/docs/concepts/policy/limit-range/
    """
    limits: dict[str, float] = {}
    requests: dict[str, float] = {}
    for index, item in enumerate(found.spec.limits):
        if item.type == "Container":
            of_item = numbers({**(item.max or {}), **(item.default or {})}, _path(index, "default"))
            limits = {**of_item, **limits}
            wanted: dict[str, Any] = {**(item.min or {}), **of_item, **(item.default_request or {})}
            requests = {**numbers(wanted, _path(index, "defaultRequest")), **requests}
    return LimitRange(
        ref=ref_of("LimitRange", found), default_limits=limits, default_requests=requests
    )


def _path(index: int, name: str) -> str:
    return f"spec.limits[{index}].{name}"


def node(found: cluster.Node) -> Node:
    """A node with what it can allocate."""
    spec, status = found.spec, found.status or cluster.NodeStatus()
    amounts, path = status.allocatable or status.capacity, "status.allocatable"
    pods = number_in(amounts, "pods", path)
    return Node(
        ref=ref_of("Node", found),
        labels=found.metadata.labels or {},
        ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
        schedulable=not spec.unschedulable,
        taints=tuple(Taint(t.key, t.effect, t.value) for t in spec.taints or ()),
        memory=bytes_in(amounts, "memory", path) or 0,
        cpu=number_in(amounts, "cpu", path) or 0,
        pods=None if pods is None else int(pods),
        allocatable=numbers(amounts, path),
        version=status.node_info.kubelet_version,
    )


def namespace(found: cluster.Namespace) -> Namespace:
    """A namespace; the API server labels each with its own name."""
    name = {"kubernetes.io/metadata.name": found.metadata.name}
    return Namespace(
        ref=ref_of("Namespace", found), labels={**(found.metadata.labels or {}), **name}
    )
