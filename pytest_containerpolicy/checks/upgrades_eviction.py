"""Checks of disruption budgets: can a node ever be drained?"""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.checks.storage_lifetime import may_hold_data
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import DisruptionBudget
from pytest_containerpolicy.model.placement import Placement
from pytest_containerpolicy.model.workload import Workload

# Kinds of controllers without the scale subresource.
_WITHOUT_SCALE = ("DaemonSet", "Job", "CronJob")


def is_evictable(workload: Workload) -> bool:
    """Whether a drain evicts its pods: DaemonSets stay, and Jobs come to an end by themselves."""
    stays = workload.one_per_node or workload.runs_to_completion
    return not stays and workload.fewest_replicas != 0


def guards_pods(budget: DisruptionBudget) -> bool:
    """Whether it selects pods that a drain would evict."""
    return any(is_evictable(workload) for workload in budget.workloads)


def can_be_computed(budget: DisruptionBudget) -> bool:
    """Whether it guards pods, and the controller can tell how many there should be."""
    return guards_pods(budget) and not _without_scale(budget)


def has_budget(workload: Workload) -> bool:
    """Whether an eviction of its pods asks a budget first."""
    return is_evictable(workload) and bool(_budgets_of_a_pod(workload))


@check(applies=can_be_computed)
def budget_allows_eviction(budget: DisruptionBudget) -> Iterator[Violation]:
    """With the fewest pods of normal operation, all healthy, one may be evicted."""
    field, rule = _rule(budget)
    pods = sum(_pods(budget, workload) for workload in budget.workloads)
    scale = sum(_scale(workload) for workload in budget.workloads if workload.controlled)
    if not budget.allowed_disruptions(pods, scale):
        yield Violation(
            found=f"{rule} lets 0 of {pods} pods go",
            wanted="at least 1 pod that may be evicted",
            path=f"spec.{field}".rstrip("."),
            why="; ".join(_count(w) for w in budget.workloads if is_evictable(w)),
        )


@check(applies=guards_pods)
def budget_can_be_computed(budget: DisruptionBudget) -> Iterator[Violation]:
    """What is counted from a scale selects no pods whose controller has none.

    https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
    """
    field, rule = _rule(budget)
    if unscaled := _without_scale(budget):
        yield Violation(
            found=f"{rule} over {', '.join(str(w.ref) for w in unscaled)}, without a scale",
            wanted="minAvailable as a number of pods",
            path=f"spec.{field}",
        )


@check(applies=is_evictable)
def has_controller(workload: Workload) -> Iterator[Violation]:
    """A controller replaces its pods when a drain has evicted them.

    https://kubernetes.io/docs/concepts/workloads/pods/#pods-and-controllers
    """
    if not workload.controlled:
        yield Violation(
            found="a pod without controller",
            wanted="a Deployment, a StatefulSet or another controller that replaces it",
        )


def may_move(workload: Workload) -> bool:
    """Whether a drain moves its pods, and no data on a node's disk is to keep them there."""
    if workload.kind == "Pod" or not is_evictable(workload):
        return False
    return not any(
        volume.lifetime == "node" and may_hold_data(volume.host_path)
        for volume in workload.written_volumes
    )


@check(applies=may_move)
def chooses_among_nodes(workload: Workload) -> Iterator[Violation]:
    """Its pods may start on another node while theirs is drained."""
    placement = workload.placement
    if node := placement.only_node:
        yield Violation(
            found=f"only node {node}",
            wanted="a choice of nodes",
            path=f"{workload.pod_path}.{_placed_by(placement)}",
        )


def _placed_by(placement: Placement) -> str:
    if placement.node_name:
        return "nodeName"
    return "affinity.nodeAffinity" if placement.terms else "nodeSelector"


def needs_budget(workload: Workload) -> bool:
    """Whether clients reach it and it has more copies than one to lose."""
    return is_evictable(workload) and workload.is_served and (workload.fewest_replicas or 0) > 1


@check(applies=needs_budget)
def budget_present(workload: Workload) -> Iterator[Violation]:
    """A budget selects its pods, so that a drain asks before it evicts the next one."""
    if not _budgets_of_a_pod(workload):
        yield Violation(found="no disruption budget", wanted="one that selects its pods")


@check(applies=has_budget)
def one_budget_per_pod(workload: Workload) -> Iterator[Violation]:
    """No pod is under two budgets: the eviction API refuses it then, whatever they allow."""
    budgets = sorted(budget.ref.name for budget in _budgets_of_a_pod(workload))
    if len(budgets) > 1:
        yield Violation(
            found=f"{len(budgets)} disruption budgets ({', '.join(budgets)})", wanted="1"
        )


def _without_scale(budget: DisruptionBudget) -> list[Workload]:
    """The workloads that leave nothing to count from: one DaemonSet or Job, or only bare pods."""
    if not budget.follows_scale:
        return []
    unscaled = [workload for workload in budget.workloads if workload.kind in _WITHOUT_SCALE]
    if unscaled or any(workload.controlled for workload in budget.workloads):
        return unscaled
    return list(budget.workloads)


def _scale(workload: Workload) -> int:
    if workload.runs_to_completion:
        return 0
    if workload.fewest_replicas is None:
        raise CannotLook(f"on how many nodes {workload.ref} runs is not known from files")
    return workload.fewest_replicas


def _pods(budget: DisruptionBudget, workload: Workload) -> int:
    """How many of a workload's pods a budget selects: all, or those with a label of their own."""
    if budget.selects(workload.labels):
        return _scale(workload)
    if workload.kind != "StatefulSet":
        raise CannotLook(
            f"how many of the pods of {workload.ref} {budget.ref} selects is not known"
        )
    return sum(budget.selects(labels) for labels in workload.pod_labels)


def _budgets_of_a_pod(workload: Workload) -> tuple[DisruptionBudget, ...]:
    """The budgets of the pod that has most of them; the pods of a workload may differ in labels."""
    budgets = workload.model.within(DisruptionBudget, workload.namespace)
    of_pods = [
        tuple(budget for budget in budgets if budget.selects(labels))
        for labels in workload.label_sets
    ]
    return max(of_pods, key=len)


def _rule(budget: DisruptionBudget) -> tuple[str, str]:
    """The field that decides, and how to call it."""
    if budget.max_unavailable is not None:
        return "maxUnavailable", f"maxUnavailable {budget.max_unavailable}"
    if budget.min_available is not None:
        return "minAvailable", f"minAvailable {budget.min_available}"
    return "", "neither minAvailable nor maxUnavailable"


def _count(workload: Workload) -> str:
    autoscaler = workload.autoscaler
    owner = f", the minimum of {autoscaler.ref}" if autoscaler else ""
    return f"{workload.ref} has {workload.fewest_replicas}{owner}"
