"""Checks of whether what is asked for is there: on nodes, in quotas, for autoscalers."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.cluster import Autoscaler, Node, Quota
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_bytes
from pytest_containerpolicy.model.workload import Workload


def knows_nodes(workload: Workload) -> bool:
    """Files know no nodes: there a question about nodes has nothing to judge."""
    return workload.model.is_live or bool(workload.model.all(Node))


@check(applies=lambda workload: knows_nodes(workload) and bool(workload.requests))
def fits_a_node(workload: Workload) -> Iterator[Violation]:
    """One copy of the workload fits on at least one of the nodes it may run on, when empty."""
    nodes = workload.eligible_nodes
    if not nodes or any(_fits(workload, node) for node in nodes):
        return
    memory, cpu = workload.requests.get("memory", 0), workload.requests.get("cpu", 0)
    biggest = max(nodes, key=lambda node: (node.memory, node.cpu))
    yield Violation(
        found=f"a copy needs {_amounts(memory, cpu)}",
        wanted=f"no more than a node has; the biggest of {len(nodes)}, {biggest.name},"
        f" has {_amounts(biggest.memory, biggest.cpu)}",
        path=field_path(workload, "containers"),
    )


@check(
    applies=lambda workload: (
        workload.rollout is not None
        and workload.rollout.max_surge > 0
        and bool(workload.model.within(Quota, workload.namespace))
    )
)
def quota_leaves_room_for_surge(workload: Workload) -> Iterator[Violation]:
    """A rollout that must start a new pod before it stops an old one finds room in the quotas."""
    rollout = workload.rollout
    # With max_unavailable an old pod makes room for the new one: slower, but not stuck.
    if rollout is None or rollout.max_unavailable > 0 or not workload.replicas:
        return
    per_pod = workload.quota_usage
    for quota in workload.model.within(Quota, workload.namespace):
        for name in sorted(set(quota.hard) & set(per_pod)):
            used = workload.model.quota_used(quota, name)
            if used is not None and used + per_pod[name] > quota.hard[name]:
                yield Violation(
                    found=f"quota {quota.ref.name}: {_amount(name, used)} of"
                    f" {_amount(name, quota.hard[name])} {name} used",
                    wanted=f"room for 1 surge pod of {_amount(name, per_pod[name])}",
                    path=field_path(workload, "rollout.max_surge"),
                )


def measures_requests(autoscaler: Autoscaler) -> bool:
    """Whether it scales on utilisation, and what it scales is known (not a custom kind)."""
    return bool(autoscaler.resource_metrics) and autoscaler.workload is not None


@check(applies=measures_requests)
def autoscaler_can_measure(autoscaler: Autoscaler) -> Iterator[Violation]:
    """An autoscaler on utilisation has a request to measure against in every container."""
    workload = autoscaler.workload
    if workload is None:
        return
    for resource, only in autoscaler.resource_metrics:
        without = [
            container.name
            for container in workload.running_containers
            if only in ("", container.name) and not _request(container, resource)
        ]
        if without:
            yield Violation(
                found=f"{resource} utilisation of {workload.ref}: no {resource} request in"
                f" {', '.join(without)}",
                wanted=f"a {resource} request in every container that is measured",
                path="spec.metrics",
            )


def _request(container: object, resource: str) -> float | None:
    amount: float | None = getattr(container, f"{resource}_request", None)
    return amount


def _fits(workload: Workload, node: Node) -> bool:
    requests = workload.requests
    # A node that says nothing of its size can't be judged against.
    return (not node.memory or requests.get("memory", 0) <= node.memory) and (
        not node.cpu or requests.get("cpu", 0) <= node.cpu
    )


def _amounts(memory: float, cpu: float) -> str:
    return f"{human_bytes(memory)} memory and {cpu:g} CPU"


def _amount(name: str, value: float) -> str:
    return human_bytes(value) if "memory" in name or "storage" in name else f"{value:g}"
