"""Nodes and pods of a cluster as they are now, read for an experiment."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_floor import Floor
from pytest_containerpolicy.experiments.kubernetes_lab import MANAGED_BY, MANAGER, KubernetesLab
from pytest_containerpolicy.model import kubernetes_cluster as cluster
from pytest_containerpolicy.model.kubernetes_running_pods import RunningPods
from pytest_containerpolicy.model.kubernetes_scheduling import scheduled_pods
from pytest_containerpolicy.model.kubernetes_values import selector_of
from pytest_containerpolicy.model.kubernetes_volumes import persistent_volume
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.selectors import Selector
from pytest_containerpolicy.model.volume import PersistentVolume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.kubernetes_documents import Kind
from pytest_containerpolicy.targets.kubernetes_lists import Listing, read_list
from pytest_containerpolicy.targets.kubernetes_scheduling import (
    BUDGETS,
    CLAIMS,
    NAMESPACES,
    NODES,
    OWNERS,
    PODS,
    VOLUMES,
    AnnotatedNode,
)

_THREADS = 8


class Budget(Struct, frozen=True):
    """A disruption budget as it stands now, and how many evictions it allows."""

    namespace: str
    name: str
    selector: Selector | None
    allows: int

    def selects(self, pod: Pod) -> bool:
        """Whether it guards a pod."""
        selected = self.selector is not None and self.selector.matches(pod.labels)
        return selected and self.namespace == pod.namespace


class LiveCluster(Struct, frozen=True, kw_only=True):
    """What runs where. `gaps` says what of it could not be read.

    `pods` and `running` are those of the target's namespaces, or all; `floor` has those of every
    namespace that may be listed. Nodes that are `kept` are marked as not to be removed.
    """

    floor: Floor
    pods: tuple[Pod, ...]
    running: RunningPods
    budgets: tuple[Budget, ...]
    kept: frozenset[str]
    gaps: tuple[str, ...]

    def pods_of(self, workload: Workload) -> list[Pod]:
        """The pods of a workload."""
        if workload.kind == "Pod":
            names = {workload.name}
        else:
            names = {pod.metadata.name for pod in self.running.of(workload)}
        return [p for p in self.pods if p.namespace == workload.namespace and p.name in names]

    def budgets_of(self, pod: Pod) -> list[Budget]:
        """The disruption budgets that guard a pod."""
        return [budget for budget in self.budgets if budget.selects(pod)]

    def require_whole(self) -> None:
        """Raise `CannotLook` unless all was read that takes room on nodes."""
        if self.gaps:
            gaps = "; ".join(self.gaps)
            raise CannotLook(f"how much room the nodes have is not known: {gaps}")


def is_ours(pod: Pod) -> bool:
    """Whether a run of this tool made it, and removes it."""
    return pod.labels.get(MANAGED_BY) == MANAGER


def read_cluster(lab: KubernetesLab) -> LiveCluster:
    """Read what runs where, now. Raises `CannotLook` if nodes or the target's pods can't be."""
    read = _Reading(lab)
    nodes, namespaces = read.needed(NODES), read.everywhere(NAMESPACES).items
    labels = (
        None if namespaces is None else {n.metadata.name: n.metadata.labels for n in namespaces}
    )
    own, everyone = read.needed(PODS), read.everywhere(PODS)
    pods, wrong = scheduled_pods(own if everyone.items is None else everyone.items, labels)
    scope = lab.target.namespaces
    owners = {kind.plural: read.needed(kind) for kind in OWNERS}
    header = Header(target=lab.target.id, platform="kubernetes")
    return LiveCluster(
        floor=Floor((cluster.node(node) for node in nodes), pods, _Volumes(read, scope)),
        pods=tuple(pod for pod in pods if not scope or pod.namespace in scope),
        running=RunningPods(Inventory(header, {"pods": own, **owners})),
        budgets=tuple(map(_budget, read.any(BUDGETS))),
        kept=frozenset(_kept(nodes)),
        gaps=(*(str(gap) for gap in everyone.gaps), *wrong),
    )


class _Reading:
    """Lists of a cluster, read at once: of all namespaces, and of the target's own."""

    def __init__(self, lab: KubernetesLab) -> None:
        self._scopes = lab.target.namespaces
        with ThreadPoolExecutor(_THREADS) as threads:
            asked: dict[tuple[Kind, str], Future[Listing]] = {
                (kind, scope): threads.submit(read_list, lab.connection, kind, scope)
                for kind, scope in self._wanted()
            }
            self._lists = {key: future.result() for key, future in asked.items()}

    def _wanted(self) -> Iterator[tuple[Kind, str]]:
        for kind in (NODES, NAMESPACES, VOLUMES, PODS, CLAIMS, BUDGETS):
            yield kind, ""
        for kind in (PODS, CLAIMS, BUDGETS, *OWNERS):
            yield from ((kind, scope) for scope in self._scopes or ("",))

    def everywhere(self, kind: Kind) -> Listing:
        """The list of all namespaces."""
        return self._lists[kind, ""]

    def own(self, kind: Kind) -> list[Listing]:
        """The lists of the target's namespaces."""
        scopes = self._scopes if kind.namespaced and self._scopes else ("",)
        return [self._lists[kind, scope] for scope in scopes]

    def needed(self, kind: Kind) -> list[Any]:
        """The objects of the target's namespaces. Raises `CannotLook` if any could not be read."""
        found: list[Any] = []
        for listing in self.own(kind):
            if listing.items is None or listing.gaps:
                raise CannotLook("; ".join(str(gap) for gap in listing.gaps))
            found += listing.items
        return found

    def any(self, kind: Kind) -> list[Any]:
        """The objects of all namespaces that could be read."""
        everywhere = self.everywhere(kind).items
        own = (item for listing in self.own(kind) for item in listing.items or ())
        return list(own) if everywhere is None else everywhere


def _budget(found: Any) -> Budget:
    metadata, status = found.metadata, found.status
    allows = (status.disruptions_allowed if status else None) or 0
    return Budget(metadata.namespace, metadata.name, selector_of(found.spec.selector), allows)


def _kept(nodes: Iterable[AnnotatedNode]) -> Iterator[str]:
    for node in nodes:
        annotations = node.metadata.annotations
        if annotations and annotations.scale_down_disabled == "true":
            yield node.metadata.name


class _Volumes:
    """The volumes that claims are bound to."""

    def __init__(self, read: _Reading, scope: Sequence[str]) -> None:
        self._scope = scope
        self._gaps = [*_gaps(read.own(CLAIMS)), *_gaps([read.everywhere(VOLUMES)])]
        claims = read.any(CLAIMS)
        self._names = {(c.metadata.namespace, c.metadata.name): c.spec.volume_name for c in claims}
        self._volumes = {v.metadata.name: v for v in read.everywhere(VOLUMES).items or ()}

    def __call__(self, namespace: str, name: str) -> PersistentVolume | None:
        """Raises `CannotLook` if that is not known of a claim of the target's."""
        if self._gaps and (not self._scope or namespace in self._scope):
            raise CannotLook(f"volume of claim {namespace}/{name}: {'; '.join(self._gaps)}")
        document = self._volumes.get(self._names.get((namespace, name)))
        return persistent_volume(document) if document else None


def _gaps(listings: Iterable[Listing]) -> Iterator[str]:
    return (str(gap) for listing in listings for gap in listing.gaps)
