"""Can every node be drained, and what do clients notice of it?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.checks.upgrades_eviction import is_evictable
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_placement import Stranded
from pytest_containerpolicy.experiments.drain_rehearsal import (
    DrainRehearsal,
    left_behind,
    rehearse,
)
from pytest_containerpolicy.experiments.kubernetes_floor import LiveCluster, is_ours, read_cluster
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.node_autoscaler import nodes_may_be_added
from pytest_containerpolicy.experiments.quotas import exceeded, quotas_of
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.workload import Workload

_FEW = 3


def has_evictable_pods(workload: Workload) -> bool:
    """Whether a drain would evict pods of it: jobs too, while they run."""
    of_job = workload.runs_to_completion and bool(workload.pod_labels)
    return is_evictable(workload) or of_job or workload.kind == "Pod"


@experiment("probe", "asks by dry run whether its pods may be evicted", applies=has_evictable_pods)
def can_be_drained(workload: Workload, lab: Lab) -> Iterator[Violation]:
    """Each of its pods may be evicted now, comes again, and finds a place on another node.

    Every node is looked at on its own, with all of its pods moved to the other nodes together.
    """
    live, rehearsals = _rehearsed(lab)
    pods = [p for p in live.pods_of(workload) if p.can_be_evicted and p.node and not is_ours(p)]
    if not pods and workload.replicas and not workload.runs_to_completion:
        _require_pods(live, workload)
    of_nodes = (rehearsals[node].of(pods) for node in sorted(rehearsals))
    own = [rehearsal for rehearsal in of_nodes if rehearsal.evicted or rehearsal.stranded]
    stranded, unknown = _sorted_out(own, lab)
    found = [*_held(own), *_lost(own), *_stranded(workload, stranded)]
    try:
        found += _refused_again(lab, pods)
    except CannotLook as gap:
        unknown.append(str(gap))
    yield from found
    unknown += [text for rehearsal in own for text in rehearsal.gaps]
    if unknown and not found:
        raise CannotLook(f"{workload.ref}: {'; '.join(dict.fromkeys(unknown))}")


def _rehearsed(lab: Lab) -> tuple[LiveCluster, dict[str, DrainRehearsal]]:
    def look() -> tuple[LiveCluster, dict[str, DrainRehearsal]]:
        if not isinstance(lab, KubernetesLab):
            raise CannotLook(f"a drain can't be rehearsed on {lab.platform}")
        live = read_cluster(lab)
        rehearsals = rehearse(live, live.floor.nodes, lab)
        lab.record(_summary(rehearsals))
        return live, rehearsals

    return lab.once("rehearsed drains", look)


def _summary(rehearsals: Mapping[str, DrainRehearsal]) -> str:
    pods = [pod for rehearsal in rehearsals.values() for pod in rehearsal.evicted]
    behind = [text for pod in pods for text in left_behind(pod)]
    text = f"rehearsed the drain of {len(rehearsals)} nodes with {len(pods)} pods"
    more = [f"and {len(behind) - _FEW} more"] if len(behind) > _FEW else []
    return "; ".join([text, *behind[:_FEW], *more])


def _require_pods(live: LiveCluster, workload: Workload) -> None:
    if not any(pod.stays or pod.ended for pod in live.pods_of(workload)):
        raise CannotLook(f"{workload.ref}: none of its pods runs on a node: nothing to evict")


def _held(rehearsals: Sequence[DrainRehearsal]) -> Iterator[Violation]:
    by_reason: defaultdict[str, list[Pod]] = defaultdict(list)
    for rehearsal in rehearsals:
        for held in rehearsal.held:
            by_reason[held.why].append(held.pod)
    for why, pods in by_reason.items():
        yield Violation(
            found=f"{_places(pods)}: eviction of pod {_names(pods)} refused: {why}",
            wanted="an eviction API that lets each pod go",
            why="a drain asks again and again, and the node is never emptied",
        )


def _lost(rehearsals: Sequence[DrainRehearsal]) -> Iterator[Violation]:
    pods = [pod for rehearsal in rehearsals for pod in rehearsal.lost]
    if pods:
        yield Violation(
            found=f"{_places(pods)}: nothing makes pod {_names(pods)} again",
            wanted="a controller such as a Deployment",
            path="metadata.ownerReferences",
            why="a drain refuses to go on, or deletes the pod for good when it is forced",
        )


def _sorted_out(rehearsals: Sequence[DrainRehearsal], lab: Lab) -> tuple[list[Stranded], list[str]]:
    """The pods that find no place, and what may yet make one for the others of them."""
    lasting: list[Stranded] = []
    unknown: list[str] = []
    for rehearsal in rehearsals:
        for left in rehearsal.stranded:
            help_text = help_for(left, lab)
            if help_text:
                unknown.append(help_text)
            else:
                lasting.append(left)
    return lasting, unknown


def help_for(left: Stranded, lab: Lab) -> str:
    """What may yet make room for a pod that finds no place, in words; empty if nothing does."""
    if not left.needs_a_node or not isinstance(lab, KubernetesLab):
        return ""
    try:
        adds = nodes_may_be_added(lab)
    except CannotLook as gap:
        return f"pod {left.pod.ref} finds no place now, {gap}"
    return f"pod {left.pod.ref} needs a node that {adds} may add ({left})" if adds else ""


def _stranded(workload: Workload, found: Sequence[Stranded]) -> Iterator[Violation]:
    alike: defaultdict[object, dict[str, Stranded]] = defaultdict(dict)
    for left in found:
        alike[left.causes, left.displaced].setdefault(left.pod.uid, left)
    for several in alike.values():
        pods, first = [left.pod for left in several.values()], next(iter(several.values()))
        moved = " when a drain moves pods of higher priority there" if first.displaced else ""
        yield Violation(
            found=f"{_places(pods)}: no other node takes pod {_names(pods)}{moved}: {first}",
            wanted="a place on the other nodes for each pod of a node",
            path=".".join(filter(None, (workload.pod_path, first.rule))),
            why="the pod stays Pending until a node is back",
        )


def _refused_again(lab: Lab, pods: Sequence[Pod]) -> list[Violation]:
    """Whether the quotas would let the next pod in. Raises `CannotLook` if that is not known."""
    made_again = [pod for pod in pods if pod.controller]
    if not made_again or not isinstance(lab, KubernetesLab):
        return []
    pod = made_again[0]
    quotas = lab.once(("quotas", pod.namespace), lambda: quotas_of(lab, pod.namespace))
    reasons = (exceeded(quota, pod) for quota in quotas)
    return [
        Violation(
            found=f"{reason}: a pod that is evicted is not made again",
            wanted="a quota that holds what runs",
            why="its controller is refused until something else in the namespace goes",
        )
        for reason in reasons
        if reason
    ]


def _places(pods: Sequence[Pod]) -> str:
    return _some(sorted({pod.node for pod in pods}), "nodes")


def _names(pods: Sequence[Pod]) -> str:
    return _some([pod.name for pod in pods], "pods")


def _some(names: Sequence[str], what: str) -> str:
    more = f" and {len(names) - _FEW} more {what}" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
