"""Checks of whether what is asked for is there: on nodes, in quotas, for autoscalers."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import Autoscaler, Node, Quota
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_bytes
from pytest_containerpolicy.model.workload import Workload


def asks_for_room(workload: Workload) -> bool:
    """Whether it reserves anything, and there is a node that it may run on.

    Where none suits, how big they are does not matter: other policies look at placement.
    """
    asks = workload.model.has_nodes and bool(workload.requests)
    return asks and bool(workload.suitable_nodes)


@check(applies=asks_for_room)
def fits_a_node(workload: Workload) -> Iterator[Violation]:
    """One copy fits on at least one of the nodes it may run on, when empty and not cordoned."""
    nodes = workload.suitable_nodes
    if any(_fits(workload, node) for node in nodes):
        return
    memory, cpu = workload.requests.get("memory", 0), workload.requests.get("cpu", 0)
    biggest = max(nodes, key=lambda node: (node.memory, node.cpu))
    yield Violation(
        found=f"a copy needs {_amounts(memory, cpu)}",
        wanted=f"no more than a node has; the biggest of {len(nodes)}, {biggest.name},"
        f" has {_amounts(biggest.memory, biggest.cpu)}",
        path=field_path(workload, "containers"),
    )


def starts_under_a_quota(workload: Workload) -> bool:
    """Whether a rollout starts new pods in a namespace whose quotas count them.

    Only what comes to an end has a deadline: scope Terminating counts nothing that is rolled out.
    """
    surges = workload.rollout is not None and workload.rollout.max_surge > 0
    return surges and bool(_quotas(workload))


def _quotas(workload: Workload) -> list[Quota]:
    quotas = workload.model.within(Quota, workload.namespace)
    return [quota for quota in quotas if "Terminating" not in quota.scopes]


@check(applies=starts_under_a_quota)
def quota_leaves_room_for_surge(workload: Workload) -> Iterator[Violation]:
    """A rollout that must start a new pod before it stops an old one finds room in the quotas."""
    rollout = workload.rollout
    # With max_unavailable an old pod makes room for the new one: slower, but not stuck.
    copies = workload.fewest_replicas or 0
    if rollout is None or not copies or rollout.resolved(copies)[0] > 0:
        return
    per_pod = workload.quota_usage
    for quota in _quotas(workload):
        for name in sorted(set(quota.hard) & set(per_pod)):
            used = workload.model.quota_used(quota, name)
            if used + per_pod[name] > quota.hard[name]:
                _require_no_scopes(quota)
                yield Violation(
                    found=f"quota {quota.ref.name}: {_amount(name, used)} of"
                    f" {_amount(name, quota.hard[name])} {name} used",
                    wanted=f"room for 1 surge pod of {_amount(name, per_pod[name])}",
                    path=field_path(workload, "rollout.max_surge"),
                )


def _require_no_scopes(quota: Quota) -> None:
    if quota.scopes:
        raise CannotLook(
            f"whether {quota.ref} counts a pod is not known: scopes {', '.join(quota.scopes)}"
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


def _request(container: Container, resource: str) -> float | None:
    amount: float | None = getattr(container, f"{resource}_request", None)
    if amount is None:
        container.require_limit_ranges()
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
