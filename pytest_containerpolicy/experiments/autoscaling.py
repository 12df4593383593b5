"""Does a HorizontalPodAutoscaler work now, and could it scale to its maximum?

foresee_scaling(autoscaler, lab)        a ScalingOutlook
"""

from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.autoscaler_state import AutoscalerState, settled_state
from pytest_containerpolicy.experiments.kubernetes_floor import LiveCluster, read_cluster
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    workload_path,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.node_autoscaler import nodes_may_be_added
from pytest_containerpolicy.experiments.quotas import quotas_of
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.scaling_admission import refused_pod, refused_scale
from pytest_containerpolicy.experiments.scaling_room import (
    Growth,
    Limit,
    for_claims,
    in_quota,
    on_nodes,
)
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.model.workload import Workload

_VOLUMES = "/api/v1/persistentvolumes"


class ScalingOutlook(Struct, frozen=True, kw_only=True):
    """What an autoscaler does now, and what would keep it from its maximum.

    `current` is how many pods its target has, `maximum` how many it may have. `limits` are what
    ends the growth before that, `unknown` what could not be looked at.
    """

    autoscaler: str
    state: AutoscalerState
    current: int
    maximum: int
    limits: tuple[Limit, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def reaches(self) -> int:
        """How many pods there could be."""
        return min((self.current + limit.more for limit in self.limits), default=self.maximum)

    def __str__(self) -> str:
        lines = [f"{self.autoscaler}: {self.current} of at most {self.maximum} pods; {self.state}"]
        if not self.limits and not self.unknown:
            lines.append(f"there is room for {self.maximum}")
        lines += [f"ends at {self.current + limit.more}: {limit.by}" for limit in self.limits]
        return "\n  ".join([*lines, *(f"could not look: {text}" for text in self.unknown)])


def is_switched_on(autoscaler: Autoscaler) -> bool:
    """Whether its target is not scaled to 0 by somebody: that switches an autoscaler off.

    https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation
    """
    workload = autoscaler.workload
    return workload is None or workload.replicas != 0 or not autoscaler.min_replicas


@experiment("probe", "asks by dry run for as many pods as it may scale to", applies=is_switched_on)
def autoscaler_can_scale(
    autoscaler: Autoscaler, lab: Lab, patience: float = 120
) -> Iterator[Violation]:
    """It gets its metrics, may scale its target, and there is room for its maximum of pods.

    `patience`: how many seconds what has just begun may take to give its first metrics.
    """
    outlook = foresee_scaling(autoscaler, lab, patience)
    lab.record(outlook)
    found = [*_broken(outlook), *_ends(outlook)]
    yield from found
    if outlook.unknown and not found:
        raise CannotLook(f"{autoscaler.ref}: {'; '.join(outlook.unknown)}")


def _broken(outlook: ScalingOutlook) -> Iterator[Violation]:
    for problem in outlook.state.problems:
        yield Violation(
            found=problem.text,
            wanted=problem.wanted,
            path=problem.path,
            why="the number of pods does not follow the load",
        )


def _ends(outlook: ScalingOutlook) -> Iterator[Violation]:
    for limit in outlook.limits:
        end = outlook.current + limit.more
        yield Violation(
            found=f"may scale to {outlook.maximum}, ends at {end}: {limit.by}",
            wanted=f"room for {outlook.maximum} pods",
            path="spec.maxReplicas",
            why=f"when load asks for more than {end}, the others stay Pending or are refused",
        )


def foresee_scaling(autoscaler: Autoscaler, lab: Lab, patience: float = 120) -> ScalingOutlook:
    """Read an autoscaler's state, and try by dry run what it may scale to.

    Raises `CannotLook` if the autoscaler or its target can't be read.
    """
    if not isinstance(lab, KubernetesLab):
        raise CannotLook(f"there is no such autoscaler on {lab.platform}")
    state = settled_state(lab, autoscaler, patience)
    attempt = _Attempt(autoscaler, lab, state.replicas)
    if state.is_disabled:
        attempt.unknown.append(f"{state}: nothing was tried")
    else:
        attempt.carry_out()
    return ScalingOutlook(
        autoscaler=str(autoscaler.ref),
        state=state,
        current=attempt.current,
        maximum=max(autoscaler.max_replicas, attempt.current),
        limits=tuple(attempt.limits),
        unknown=tuple(attempt.unknown),
    )


class _Attempt:
    """Scales an autoscaler's target to its maximum, by dry run and on paper."""

    def __init__(self, autoscaler: Autoscaler, lab: KubernetesLab, current: int) -> None:
        self._autoscaler = autoscaler
        self._lab = lab
        self.current = current
        self.limits: list[Limit] = []
        self.unknown: list[str] = []

    def carry_out(self) -> None:
        """Find what ends the growth, each thing on its own."""
        try:
            steps = self._steps()
        except CannotLook as gap:
            self.unknown.append(str(gap))
            return
        for step in steps:
            try:
                limit = step()
            except CannotLook as gap:
                self.unknown.append(str(gap))
            else:
                self.limits += [limit] if limit else []

    def _steps(self) -> list[Callable[[], Limit | None]]:
        workload, lab = self._workload(), self._lab
        document = lab.get(workload_path(workload))
        self.current = document["spec"].get("replicas", 1)
        growth, live = self._growth(workload, document)
        if not growth.more:
            return [lambda: self._on_nodes(growth, live)] if growth.waiting else []
        return [
            lambda: _limit(refused_scale(lab, growth)),
            lambda: _limit(refused_pod(lab, growth, document, self._sample(growth))),
            *(partial(in_quota, growth, quota) for quota in quotas_of(lab, workload.namespace)),
            lambda: for_claims(growth, lab.items(_VOLUMES)) if growth.templates else None,
            lambda: self._on_nodes(growth, live),
        ]

    def _workload(self) -> Workload:
        workload = self._autoscaler.workload
        if workload is None:
            kind, name = self._autoscaler.target_kind, self._autoscaler.target_name
            raise CannotLook(f"{kind} {name} is not read: what its pods need is not known")
        return workload

    def _growth(self, workload: Workload, document: Document) -> tuple[Growth, LiveCluster]:
        lab = self._lab
        live = lab.once("pods to scale", lambda: read_cluster(lab))
        pods = [pod for pod in live.pods_of(workload) if not pod.ended and not pod.leaving]
        if not pods:
            raise CannotLook(f"{workload.ref} has no pod that could be copied")
        growth = Growth(
            workload=workload,
            pod=pods[0],
            current=self.current,
            more=max(0, self._autoscaler.max_replicas - self.current),
            first=document["spec"].get("ordinals", {}).get("start", 0),
            waiting=sum(not pod.node for pod in pods),
        )
        return growth, live

    def _sample(self, growth: Growth) -> Document:
        """The live document of the pod that is copied. Raises `CannotLook` if it is gone."""
        name = growth.pod.name
        found = self._lab.find(f"/api/v1/namespaces/{growth.workload.namespace}/pods/{name}")
        if found is None:
            raise CannotLook(f"pod {name} of {growth.workload.ref} was replaced meanwhile")
        return found

    def _on_nodes(self, growth: Growth, live: LiveCluster) -> Limit | None:
        if growth.pod.unknown:
            raise CannotLook(f"where pods of {growth.workload.ref} fit: {growth.pod.unknown}")
        limit = on_nodes(growth, live.floor)
        if limit is None or (limit.stranded and limit.stranded.misses_companions):
            live.require_whole()
        if limit is None or limit.stranded is None or not limit.stranded.needs_a_node:
            return limit
        if adds := nodes_may_be_added(self._lab):
            end = growth.current + limit.more
            raise CannotLook(f"the nodes that there are end at {end} pods; {adds} may add some")
        return limit


def _limit(refusal: str) -> Limit | None:
    return Limit(0, f"the API server refuses more: {refusal}") if refusal else None
