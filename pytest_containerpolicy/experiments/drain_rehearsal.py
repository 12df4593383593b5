"""What a drain of each node would come to: evictions asked for by dry run, then places to go to.

rehearse_drains(lab)             {"node-a": DrainRehearsal, ...}
rehearse_drain(lab, "node-a")    just the one
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_placement import Stranded, rehouse
from pytest_containerpolicy.experiments.kubernetes_floor import LiveCluster, is_ours, read_cluster
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
)
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN, NOT_FOUND

BLOCKED = 429
_OF_BUDGET = "DisruptionBudget"
_THREADS = 8
_STILL_PROCESSED = "still being processed"
_PROCESSING_SECONDS = 10.0
_PAUSE_SECONDS = 0.5


class Held(Struct, frozen=True):
    """A pod that the eviction API does not let go, and why."""

    pod: Pod
    why: str


class Unknown(Struct, frozen=True):
    """What could not be looked at, of one pod or (None) of the whole node."""

    text: str
    pod: Pod | None = None


class DrainRehearsal(Struct, frozen=True, kw_only=True):
    """What a drain of one node would come to, for the pods of the target's namespaces.

    `evicted` would go; of these, `held` are not let go now, `stranded` find no place on the other
    nodes, `lost` have nothing that makes them again. `unknown` says what could not be looked at.
    """

    node: str
    evicted: tuple[Pod, ...]
    held: tuple[Held, ...] = ()
    stranded: tuple[Stranded, ...] = ()
    lost: tuple[Pod, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def succeeds(self) -> bool:
        """Whether every pod may go and has a place. Raises `CannotLook` if that is not known."""
        if self.held or self.stranded or self.lost:
            return False
        if self.unknown:
            raise CannotLook(f"drain of {self.node}: {'; '.join(self.gaps)}")
        return True

    @property
    def gaps(self) -> tuple[str, ...]:
        """What could not be looked at, each thing once."""
        return tuple(dict.fromkeys(unknown.text for unknown in self.unknown))

    def of(self, pods: Collection[Pod]) -> "DrainRehearsal":
        """What of it is about some of the pods."""
        uids = {pod.uid for pod in pods}
        return DrainRehearsal(
            node=self.node,
            evicted=tuple(pod for pod in self.evicted if pod.uid in uids),
            held=tuple(held for held in self.held if held.pod.uid in uids),
            stranded=tuple(left for left in self.stranded if left.pod.uid in uids),
            lost=tuple(pod for pod in self.lost if pod.uid in uids),
            unknown=tuple(u for u in self.unknown if u.pod is None or u.pod.uid in uids),
        )

    def __bool__(self) -> bool:
        return self.succeeds

    def __str__(self) -> str:
        lines = [f"drain of {self.node}: {len(self.evicted)} pods to move"]
        lines += [f"pod {held.pod.ref} is held: {held.why}" for held in self.held]
        lines += [f"pod {left.pod.ref} finds no place: {left}" for left in self.stranded]
        lines += [f"pod {pod.ref} is lost: nothing makes it again" for pod in self.lost]
        lines += [f"could not look: {text}" for text in self.gaps]
        for pod in self.evicted:
            lines += left_behind(pod)
        return "\n  ".join(lines)


def rehearse_drains(lab: KubernetesLab) -> dict[str, DrainRehearsal]:
    """What a drain of each node that has pods of the target would come to, now.

    Raises `CannotLook` if nodes or pods can't be listed.
    """
    live = read_cluster(lab)
    lab.say(f"rehearsing the drain of {len(live.floor.nodes)} nodes (dry run)")
    return rehearse(live, live.floor.nodes, lab)


def rehearse_drain(lab: KubernetesLab, node: str) -> DrainRehearsal:
    """What a drain of one node would come to, now. Raises `CannotLook` if there is no such node."""
    live = read_cluster(lab)
    if node not in live.floor.nodes:
        known = ", ".join(sorted(live.floor.nodes)[:5])
        raise CannotLook(f"no node {node!r}: there are {known}")
    return rehearse(live, [node], lab).get(node, DrainRehearsal(node=node, evicted=()))


def rehearse(
    live: LiveCluster, nodes: Iterable[str], lab: KubernetesLab
) -> dict[str, DrainRehearsal]:
    """The rehearsal of some nodes, of those that have pods of the target."""
    leaving: dict[str, list[Pod]] = {name: [] for name in nodes}
    for pod in live.pods:
        if pod.node in leaving and pod.can_be_evicted and not is_ours(pod):
            leaving[pod.node].append(pod)
    busy = {name: pods for name, pods in leaving.items() if pods}
    verdicts = _ask(lab, [pod for pods in busy.values() for pod in pods], live)
    return {name: _rehearsal(name, pods, verdicts, live) for name, pods in busy.items()}


def _rehearsal(
    node: str, pods: Sequence[Pod], verdicts: Mapping[str, "str | CannotLook"], live: LiveCluster
) -> DrainRehearsal:
    held = [Held(pod, why) for pod in pods if (why := verdicts[pod.uid]) and isinstance(why, str)]
    unknown = [
        Unknown(str(gap), pod) for pod in pods if isinstance(gap := verdicts[pod.uid], CannotLook)
    ]
    stranded: list[Stranded] = []
    try:
        stranded = stranded_on(live, node)
        live.require_whole()
    except CannotLook as gap:
        unknown.append(Unknown(str(gap)))
    unknown += [Unknown(f"pod {pod.ref}: {pod.unknown}", pod) for pod in pods if pod.unknown]
    return DrainRehearsal(
        node=node,
        evicted=tuple(pods),
        held=tuple(held),
        stranded=tuple(stranded),
        lost=tuple(pod for pod in pods if pod.controller is None),
        unknown=tuple(unknown),
    )


def stranded_on(live: LiveCluster, node: str) -> list[Stranded]:
    """The target's pods that find no place when all pods of a node are moved together.

    Those of other nodes are among them if they have to make way. Raises `CannotLook` if the volume
    of a claim is not known.
    """
    uids = {pod.uid for pod in live.pods if pod.controller and not is_ours(pod)}
    found = [left for left in rehouse(live.floor, node) if left.pod.uid in uids]
    # A pod that could not be seen may be the one beside which it has to run.
    return [left for left in found if not (live.gaps and left.misses_companions)]


def left_behind(pod: Pod) -> Iterator[str]:
    """What of a pod's data does not move with it."""
    if pod.scratch:
        yield f"pod {pod.ref} loses what is in emptyDir {', '.join(pod.scratch)}"
    if pod.host_paths:
        yield f"pod {pod.ref} leaves hostPath {', '.join(pod.host_paths)} behind"


def _ask(
    lab: KubernetesLab, pods: Sequence[Pod], live: LiveCluster
) -> dict[str, "str | CannotLook"]:
    """For each pod by uid: why it is held, empty if it may go, or why that is not known."""
    with ThreadPoolExecutor(_THREADS) as threads:
        answers = threads.map(lambda pod: _ask_one(lab, pod, live), pods)
        return {pod.uid: answer for pod, answer in zip(pods, answers, strict=True)}


def _ask_one(lab: KubernetesLab, pod: Pod, live: LiveCluster) -> "str | CannotLook":
    deadline = time.monotonic() + _PROCESSING_SECONDS
    while True:
        try:
            evict(lab, pod, dry_run=True)
            return ""
        except Refused as refusal:
            if not is_passing(refusal) or time.monotonic() > deadline:
                return why_held(refusal, pod, live)
            time.sleep(_PAUSE_SECONDS)


def is_passing(refusal: Refused) -> bool:
    """Whether an eviction was refused for the moment only, whatever the pod."""
    of_budget = _of_budget(refusal)
    busy = not of_budget or any(_STILL_PROCESSED in text for text in of_budget)
    return refusal.status == BLOCKED and busy


def _of_budget(refusal: Refused) -> list[str]:
    return [text for kind, text in refusal.causes if kind == _OF_BUDGET]


def evict(lab: KubernetesLab, pod: Pod, *, dry_run: bool = False) -> None:
    """Ask for the eviction of just this pod; one that is gone is fine. Raises `Refused`.

    https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
    """
    options: Document = {"preconditions": {"uid": pod.uid}}
    options |= {"dryRun": ["All"]} if dry_run else {}
    document = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": options,
    }
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
    try:
        lab.create(path, document, dry_run=dry_run)
    except Refused as refusal:
        if refusal.status != NOT_FOUND:
            raise


def why_held(refusal: Refused, pod: Pod, live: LiveCluster) -> "str | CannotLook":
    """What an eviction was refused for; a `CannotLook` where that says nothing of the pod."""
    if refusal.status == BLOCKED and not is_passing(refusal):
        return _of_budget(refusal)[0].replace("The disruption budget", "PodDisruptionBudget")
    if "more than one PodDisruptionBudget" in refusal.message:
        return f"it has more than one PodDisruptionBudget{_names(pod, live)}"
    if "admission webhook" in refusal.message and "denied" in refusal.message:
        return refusal.message
    if refusal.status == FORBIDDEN:
        return CannotLook(
            f"evictions in namespace {pod.namespace} could not be asked for (403):"
            " needs create on pods/eviction"
        )
    return refusal


def _names(pod: Pod, live: LiveCluster) -> str:
    names = sorted(budget.name for budget in live.budgets_of(pod))
    return f" ({', '.join(names)})" if names else ""
