"""A node drained of one workload's pods as `kubectl drain` does it: cordoned, then evictions.

https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_placement import Stranded
from pytest_containerpolicy.experiments.drain_rehearsal import (
    evict,
    is_passing,
    stranded_on,
    why_held,
)
from pytest_containerpolicy.experiments.headway import Headway
from pytest_containerpolicy.experiments.kubernetes_cordon import cordoned
from pytest_containerpolicy.experiments.kubernetes_floor import LiveCluster, read_cluster
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    workload_path,
)
from pytest_containerpolicy.experiments.kubernetes_reasons import reasons_of
from pytest_containerpolicy.experiments.kubernetes_revisions import (
    progress_of,
    require_rest,
    require_unchanged,
)
from pytest_containerpolicy.experiments.kubernetes_watch import PodWatch
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.workload import Workload

_BACK_SECONDS = 300.0
_POLL = 0.2
# kubectl waits five seconds before it asks again for an eviction that was refused.
_ASK_AGAIN_SECONDS = 1.0


class DrainPlan(Struct, frozen=True, kw_only=True):
    """The node to drain and the workload's pods on it, as they are now.

    `stranded` are those of them that no other node takes.
    """

    node: str
    pods: tuple[Pod, ...]
    document: Document
    live: LiveCluster
    stranded: tuple[Stranded, ...]


def plan_drain(lab: KubernetesLab, workload: Workload, node: str = "") -> DrainPlan:
    """Choose the node with most of a workload's pods, unless it is named; nothing is touched.

    Raises `CannotLook` if the workload is not at rest, or has no pod there.
    """
    document = require_rest(lab, workload)
    live = read_cluster(lab)
    pods = [pod for pod in live.pods_of(workload) if pod.can_be_evicted and pod.node]
    nodes = Counter(pod.node for pod in pods)
    if not nodes or (node and node not in nodes):
        raise CannotLook(f"{workload.ref} has no pod on {node or 'any node'}: nothing to drain")
    chosen = node or max(nodes, key=lambda name: (nodes[name], name))
    own = tuple(pod for pod in pods if pod.node == chosen)
    return DrainPlan(
        node=chosen,
        pods=own,
        document=document,
        live=live,
        stranded=tuple(left for left in stranded_on(live, chosen) if left.pod in own),
    )


def drain(
    lab: KubernetesLab,
    workload: Workload,
    plan: DrainPlan,
    mark: Callable[[str], None],
    patience: float,
    ready_within: float,
) -> Replacement:
    """Evict a workload's pods from a node, wait for those that replace them, and give it back.

    It ends, not completed, when evictions are refused and nothing moves for `patience` seconds, or
    when nothing moves for `ready_within` seconds after the last, or when each pod could have taken
    that long. Raises `CannotLook` if somebody else cordoned the node, or interferes.
    """
    with (
        PodWatch(lab, lab.of_any_revision(workload)) as watch,
        restored(lab, workload, plan),
        cordoned(lab, plan.node, alone=True),
    ):
        mark(f"drain {plan.node}")
        course = _Course(lab, workload, plan, watch, mark)
        replacement = course.follow(patience, ready_within)
        mark("moved" if replacement.completed else "gave up")
    return replacement


@contextmanager
def restored(lab: KubernetesLab, workload: Workload, plan: DrainPlan) -> Iterator[None]:
    """After the block all pods of the workload are ready, come what may."""
    path, uid = workload_path(workload), plan.document["metadata"]["uid"]
    what = f"pods of {workload.ref} were evicted and may not be back"
    with lab.undoing(evicted_are_back, what, path=path, uid=uid):
        yield


@undo
def evicted_are_back(lab: KubernetesLab, path: str, uid: str) -> None:
    """Wait until all pods of a workload are ready; one that was deleted is left alone."""

    def is_back() -> bool:
        document = lab.find(path)
        if document is None or document["metadata"]["uid"] != uid:
            return True
        return progress_of(document).is_well

    lab.wait_for(is_back, _BACK_SECONDS, f"all pods of {path} to be ready again")


class _Course:
    """One drain under way."""

    def __init__(
        self,
        lab: KubernetesLab,
        workload: Workload,
        plan: DrainPlan,
        watch: PodWatch,
        mark: Callable[[str], None],
    ) -> None:
        self._lab, self._workload, self._plan = lab, workload, plan
        self._watch, self._mark = watch, mark
        self._wanted = progress_of(plan.document).wanted
        self._waiting = list(plan.pods)
        self._refusals: dict[str, str] = {}
        self._asked = 0.0

    def follow(self, patience: float, ready_within: float) -> Replacement:
        begun, seen = time.monotonic(), ""
        headway = Headway((patience + ready_within) * len(self._plan.pods))
        while True:
            self._ask()
            document = require_unchanged(self._lab, self._workload, self._plan.document)
            self._watch.require_sight()
            if str(self) != seen:
                seen = str(self)
                self._lab.say(f"drain of {self._plan.node}: {seen}")
            is_stuck = headway.stands_still(
                self._reached, patience if self._waiting else ready_within
            )
            if is_stuck or self._is_over(document):
                return self._replacement(document, time.monotonic() - begun)
            time.sleep(_POLL)

    @property
    def _reached(self) -> tuple[int, int, int]:
        """How many pods were evicted, how many are gone, and how many are ready."""
        planned = len(self._plan.pods)
        return planned - len(self._waiting), planned - len(self._left), self._watch.ready

    def __str__(self) -> str:
        evicted, _, ready = self._reached
        return (
            f"{evicted} of {len(self._plan.pods)} pods evicted, {len(self._left)} not gone yet,"
            f" {ready} of {self._wanted} ready"
        )

    @property
    def _left(self) -> list[str]:
        uids = {pod.uid for pod in self._plan.pods}
        lives = self._watch.lives
        return [life.name for life in lives if life.uid in uids and life.gone is None]

    def _is_over(self, document: Document) -> bool:
        return not self._left and progress_of(document).is_well

    def _ask(self) -> None:
        if time.monotonic() - self._asked < _ASK_AGAIN_SECONDS:
            return
        self._asked = time.monotonic()
        for pod in tuple(self._waiting):
            try:
                evict(self._lab, pod)
            except Refused as refusal:
                self._refuse(pod, refusal)
            else:
                self._waiting.remove(pod)
                self._refusals.pop(pod.name, None)
                self._mark(f"evicted {pod.name}")

    def _refuse(self, pod: Pod, refusal: Refused) -> None:
        if is_passing(refusal):
            return
        why = why_held(refusal, pod, self._plan.live)
        if isinstance(why, CannotLook):
            raise why
        self._refusals[pod.name] = why

    def _replacement(self, document: Document, seconds: float) -> Replacement:
        old = {pod.uid for pod in self._plan.pods}
        stops = (life.stop for life in self._watch.lives if life.uid in old)
        completed = self._is_over(document)
        return Replacement(
            seconds=seconds,
            copies=len(old) - len(self._left),
            completed=completed,
            stops=tuple(stop for stop in stops if stop),
            fewest_ready=self._watch.fewest_ready,
            without_ready=self._watch.seconds_without_ready(),
            reasons=() if completed else self._reasons(document, old),
        )

    def _reasons(self, document: Document, old: set[str]) -> tuple[str, ...]:
        if self._refusals:
            return tuple(
                f"eviction of pod {name} refused: {why}" for name, why in self._refusals.items()
            )
        return reasons_of(self._lab, document, self._watch.lives, old)
