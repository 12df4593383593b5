"""How Kubernetes controllers replace old pods by new ones, in counts of pods.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#update-strategies
https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/
https://argo-rollouts.readthedocs.io/en/stable/features/specification/
"""

from msgspec.structs import replace

from pytest_containerpolicy.model.cluster import Amount, amount_of
from pytest_containerpolicy.model.kubernetes_values import count_of
from pytest_containerpolicy.model.workload import Order, Rollout
from pytest_containerpolicy.targets import kubernetes_workloads as workloads

_PROGRESS_DEADLINE = 600
# maxUnavailable and maxSurge where nobody wrote them.
_DEFAULTS: dict[str, tuple[Amount, Amount]] = {
    "Deployment": ("25%", "25%"),
    "Rollout": ("25%", "25%"),
    "DaemonSet": (1, 0),
    "StatefulSet": (1, 0),
}


def rollout_of(kind: str, spec: workloads.WorkloadSpec, copies: int) -> Rollout | None:
    """How a workload of `copies` pods is rolled out; None for kinds that are not.

    Raises `UsageError`, naming the path, for an amount that the API refuses.
    """
    if kind not in _DEFAULTS:
        return None
    if kind == "Deployment":
        return _deployment(spec, copies)
    if kind == "Rollout":
        return _argo(spec, copies)
    strategy = spec.update_strategy or workloads.Strategy()
    if strategy.type == "OnDelete":
        return _rollout("OnDelete", "manual", 0, 0, spec, "spec.updateStrategy", declared=True)
    return _rolling(kind, strategy.rolling_update, spec, copies, "spec.updateStrategy")


def _deployment(spec: workloads.WorkloadSpec, copies: int) -> Rollout:
    strategy = spec.strategy or workloads.Strategy()
    if strategy.type == "Recreate":
        return _rollout("Recreate", "stop-first", copies, 0, spec, "spec.strategy", declared=True)
    return _rolling("Deployment", strategy.rolling_update, spec, copies, "spec.strategy")


def _argo(spec: workloads.WorkloadSpec, copies: int) -> Rollout:
    strategy = spec.strategy or workloads.Strategy()
    if strategy.blue_green:
        path = "spec.strategy.blueGreen"
        return _rollout("BlueGreen", "start-first", 0, copies, spec, path, declared=True)
    return _rolling("Rollout", strategy.canary, spec, copies, "spec.strategy.canary")


def _rolling(
    kind: str,
    amounts: workloads.RollingUpdate | None,
    spec: workloads.WorkloadSpec,
    copies: int,
    path: str,
) -> Rollout:
    wanted = _amounts(kind, amounts, path)
    unavailable = amount_of(wanted[0], copies, round_up=kind == "DaemonSet")
    surge = amount_of(wanted[1], copies, round_up=True)
    # Nothing could ever move with both at zero: every controller then takes one.
    unavailable = min(copies, unavailable or (0 if surge else 1))
    order: Order = "start-first" if surge else "stop-first"
    name = "Canary" if kind == "Rollout" else "RollingUpdate"
    declared = wanted != _DEFAULTS[kind]
    rollout = _rollout(name, order, unavailable, surge, spec, path, declared=declared)
    # A DaemonSet's copies are as many as its nodes: there is no other count to ask for.
    return rollout if kind == "DaemonSet" else replace(rollout, amounts=wanted)


def _amounts(kind: str, found: workloads.RollingUpdate | None, path: str) -> tuple[Amount, Amount]:
    unavailable, surge = _DEFAULTS[kind]
    prefix = path if kind == "Rollout" else f"{path}.rollingUpdate"
    if found and found.max_unavailable is not None:
        unavailable = count_of(found.max_unavailable, f"{prefix}.maxUnavailable")
    if found and found.max_surge is not None:
        surge = count_of(found.max_surge, f"{prefix}.maxSurge")
    return unavailable, surge


def _rollout(
    strategy: str,
    order: Order,
    unavailable: int,
    surge: int,
    spec: workloads.WorkloadSpec,
    path: str,
    *,
    declared: bool,
) -> Rollout:
    has_deadline = path.startswith("spec.strategy")
    deadline = spec.progress_deadline_seconds or _PROGRESS_DEADLINE
    return Rollout(
        strategy=strategy,
        order=order,
        max_unavailable=unavailable,
        max_surge=surge,
        settle=spec.min_ready_seconds or 0,
        progress_deadline=deadline if has_deadline else None,
        is_declared=declared,
        path=path,
    )
