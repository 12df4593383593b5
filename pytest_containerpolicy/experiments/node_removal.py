"""What would keep Cluster Autoscaler from removing a node, by the rules that it documents.

With its default settings. https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md#what-types-of-pods-can-prevent-ca-from-removing-a-node
"""

from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_placement import rehouse
from pytest_containerpolicy.experiments.kubernetes_floor import LiveCluster, is_ours, read_cluster
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE, Node
from pytest_containerpolicy.model.scheduling import Pod

_KNOWN_CONTROLLERS = ("ReplicaSet", "StatefulSet", "Job", "ReplicationController")
# Pods of a priority below are expendable: they never keep a node.
_EXPENDABLE = -10
_FEW = 3
_SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"


class Keeper(Struct, frozen=True):
    """A rule by which a pod keeps its node, and what would make an exception of it."""

    rule: str
    wanted: str
    detail: str = ""


@experiment("probe", "reads what runs on each node")
def node_can_be_removed(node: Node, lab: Lab) -> Iterator[Violation]:
    """Nothing on the node keeps Cluster Autoscaler from emptying and removing it."""
    if not isinstance(lab, KubernetesLab):
        raise CannotLook(f"no autoscaler removes nodes of {lab.platform}")
    live = lab.once("what keeps nodes", lambda: read_cluster(lab))
    found = list(_violations(node, live))
    yield from found
    if not found:
        live.require_whole()


def _violations(node: Node, live: LiveCluster) -> Iterator[Violation]:
    if node.name in live.kept:
        yield Violation(
            found="annotation scale-down-disabled is true",
            wanted="a node that may be removed when nobody needs it",
            path="metadata.annotations",
        )
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for pod, keeper in keepers(node.name, live):
        alike[keeper.rule, keeper.wanted].append(f"{pod.ref}{keeper.detail}")
    for (rule, wanted), pods in alike.items():
        names = ", ".join(pods[:_FEW])
        more = f" and {len(pods) - _FEW} more" if len(pods) > _FEW else ""
        yield Violation(found=f"{rule}: {names}{more}", wanted=wanted)


def keepers(node: str, live: LiveCluster) -> Iterator[tuple[Pod, Keeper]]:
    """The pods that keep a node, each with the first rule by which it does.

    Raises `CannotLook` if the volume of a claim is not known.
    """
    stranded = {left.pod.uid: left for left in rehouse(live.floor, node)}
    for pod in live.floor.pods_on[node]:
        if not pod.can_be_evicted or pod.priority < _EXPENDABLE or is_ours(pod):
            continue
        keeper = _keeper(pod, live)
        if keeper is None and pod.uid in stranded:
            detail = f" ({stranded[pod.uid]})"
            keeper = Keeper("pods without another place", "room on the other nodes", detail)
        if keeper:
            yield pod, keeper


def _keeper(pod: Pod, live: LiveCluster) -> Keeper | None:
    if pod.safe_to_evict == "false":
        return Keeper(f"pods with {_SAFE}: false", "pods that may be moved")
    budgets = live.budgets_of(pod)
    tight = [budget.name for budget in budgets if budget.allows < 1]
    if tight:
        text = f" ({', '.join(tight)})"
        return Keeper("pods under a budget that allows no eviction", "a budget that allows 1", text)
    if pod.safe_to_evict == "true":
        return None
    if pod.namespace == SYSTEM_NAMESPACE and not budgets:
        return Keeper("pods of kube-system without a budget", "a PodDisruptionBudget for them")
    return _uncontrolled(pod) or _local(pod)


def _uncontrolled(pod: Pod) -> Keeper | None:
    if pod.controller is None:
        return Keeper("pods without a controller", f"a controller, or {_SAFE}: true")
    kind = pod.controller[0]
    if kind in _KNOWN_CONTROLLERS:
        return None
    return Keeper("pods of a controller that it does not know", f"{_SAFE}: true", f" ({kind})")


def _local(pod: Pod) -> Keeper | None:
    volumes = [v for v in (*pod.scratch, *pod.host_paths) if v not in pod.safe_volumes]
    if not volumes:
        return None
    wanted = f"{_SAFE}: true, or {_SAFE}-local-volumes with their names"
    return Keeper("pods with local storage", wanted, f" ({', '.join(volumes)})")
