"""The model of one target: the nouns, and the facts that cross objects.

Relations are resolved once through indexes. Asking for what could not be read raises
`CannotLook`, so that no check can mistake "may not list" for "there is none".
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import Autoscaler, Node, Quota
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.relations import Relation, Selecting
from pytest_containerpolicy.model.selectors import Labels
from pytest_containerpolicy.model.volume import StorageClass
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import EVERY_KIND, Header, Unreadable

Noun = TypeVar("Noun")


SelectingNoun = TypeVar("SelectingNoun", bound=Selecting)
_LabelsOf = Callable[[Workload], Iterable[Labels]]


def _template_labels(workload: Workload) -> Iterable[Labels]:
    return (workload.labels,)


def _pod_labels(workload: Workload) -> Iterable[Labels]:
    return workload.label_sets


class Model:
    """All nouns of one target.

    `sources` names the kinds that each noun was built from: a noun has a gap where one of its
    kinds could not be read.
    """

    def __init__(self, header: Header, sources: Mapping[type, Sequence[str]]) -> None:
        self.header = header
        self._sources = sources
        self._nouns: dict[type, tuple[Any, ...]] = {}

    def fill(self, nouns: Mapping[type, Iterable[Any]]) -> None:
        """Hand over the nouns; builders call this once, as nouns refer to their model."""
        self._nouns = {noun: tuple(objects) for noun, objects in nouns.items()}

    @property
    def target(self) -> str:
        return self.header.target

    @property
    def platform(self) -> str:
        return self.header.platform

    @property
    def is_live(self) -> bool:
        """Whether this is a running environment, not files."""
        return self.header.live

    def all(self, noun: type[Noun]) -> tuple[Noun, ...]:
        """Every object of a noun that was read; see `gaps` for what was not."""
        if noun is Container:
            return self._containers  # type: ignore[return-value]
        return self._nouns.get(noun, ())

    @cached_property
    def _containers(self) -> tuple[Container, ...]:
        return tuple(c for workload in self.all(Workload) for c in workload.containers)

    def sources_of(self, noun: type) -> Sequence[str]:
        """The kinds that a noun is built from."""
        source = Workload if noun is Container and noun not in self._sources else noun
        return self._sources.get(source, ())

    def gaps(self, noun: type, namespace: str | None = None) -> tuple[Unreadable, ...]:
        """What could not be read of a noun, in one namespace or anywhere."""
        kinds = {EVERY_KIND, *self.sources_of(noun)}
        return tuple(
            gap
            for gap in self.header.unreadable
            if gap.kind in kinds and (namespace is None or gap.namespace in (None, namespace))
        )

    def require(self, noun: type[Noun], namespace: str | None = None) -> None:
        """Raise `CannotLook` unless all of a noun (of a namespace) was read."""
        gaps = self.gaps(noun, namespace)
        if gaps:
            raise CannotLook("; ".join(str(gap) for gap in gaps))

    def within(self, noun: type[Noun], namespace: str) -> tuple[Noun, ...]:
        """The objects of a noun in a namespace. Raises `CannotLook` if some could not be read."""
        self.require(noun, namespace)
        return tuple(self._by_namespace(noun)[namespace])

    def get(self, noun: type[Noun], name: str, namespace: str = "") -> Noun | None:
        """One object by name. Raises `CannotLook` if it may be among what could not be read."""
        found = self._by_name(noun).get((namespace, name))
        if found is None:
            self.require(noun, namespace or None)
        return found

    @property
    def has_nodes(self) -> bool:
        """Whether there is anything to say of nodes: files seldom know any."""
        return self.is_live or bool(self.all(Node) or self.gaps(Node))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node. Raises `CannotLook` for files, which know no nodes, or if not readable."""
        self.require(Node)
        if not self.all(Node):
            raise CannotLook(f"{self.target} has no nodes to look at")
        return self.all(Node)

    def storage_class(self, name: str | None) -> StorageClass | None:
        """The class by name; without one the cluster's default, if it has one."""
        if name is not None:
            return self.get(StorageClass, name)
        self.require(StorageClass)
        return next((c for c in self.all(StorageClass) if c.is_default), None)

    def selecting(self, noun: type[SelectingNoun], workload: Workload) -> tuple[SelectingNoun, ...]:
        """The objects of a workload's namespace whose selector matches its template's labels."""
        return self._selecting(noun, workload, _template_labels)

    def selecting_pods_of(
        self, noun: type[SelectingNoun], workload: Workload
    ) -> tuple[SelectingNoun, ...]:
        """The objects of a workload's namespace whose selector matches any of its pods."""
        return self._selecting(noun, workload, _pod_labels)

    def selected_by(self, selecting: Selecting) -> tuple[Workload, ...]:
        """The workloads of its namespace whose pods a service, budget or policy selects."""
        self.require(Workload, selecting.ref.namespace)
        relation = self._relation(type(selecting), selecting.ref.namespace, _pod_labels)
        return relation.workloads_of[selecting]

    def _selecting(
        self, noun: type[SelectingNoun], workload: Workload, labels: _LabelsOf
    ) -> tuple[SelectingNoun, ...]:
        self.require(noun, workload.namespace)
        relation = self._relation(noun, workload.namespace, labels)
        return tuple(relation.selecting.get(workload, ()))  # type: ignore[arg-type]

    def _relation(self, noun: type[Any], namespace: str, labels: _LabelsOf) -> Relation:
        key = (noun, namespace, labels)
        if key not in self._relations:
            self._relations[key] = Relation(
                self._by_namespace(noun)[namespace], self._by_namespace(Workload)[namespace], labels
            )
        return self._relations[key]

    def quota_used(self, quota: Quota, name: str) -> float:
        """How much of a quota is used, now or (from files) once every declared pod runs.

        From files that is the most there may be: which pods `scopes` leave out is not modelled.
        """
        if quota.used is not None:
            return quota.used.get(name, 0)
        workloads = self.within(Workload, quota.ref.namespace)
        return sum(w.quota_usage.get(name, 0) * (w.replicas or 0) for w in workloads)

    def autoscaler_of(self, workload: Workload) -> Autoscaler | None:
        """The autoscaler whose target is this workload."""
        return next(
            (
                autoscaler
                for autoscaler in self.within(Autoscaler, workload.namespace)
                if (autoscaler.target_kind, autoscaler.target_name)
                == (workload.kind, workload.name)
            ),
            None,
        )

    def target_of(self, autoscaler: Autoscaler) -> Workload | None:
        """The workload that an autoscaler scales; None for a kind that is not modelled."""
        candidates = self.within(Workload, autoscaler.ref.namespace)
        wanted = (autoscaler.target_kind, autoscaler.target_name)
        return next((w for w in candidates if (w.kind, w.name) == wanted), None)

    def _by_namespace(self, noun: type[Any]) -> "defaultdict[str, list[Any]]":
        index = self._namespace_indexes.get(noun)
        if index is None:
            index = self._namespace_indexes[noun] = defaultdict(list)
            for item in self.all(noun):
                index[item.ref.namespace].append(item)
        return index

    def _by_name(self, noun: type[Any]) -> dict[tuple[str, str], Any]:
        index = self._name_indexes.get(noun)
        if index is None:
            index = self._name_indexes[noun] = {
                (item.ref.namespace, item.ref.name): item for item in self.all(noun)
            }
        return index

    @cached_property
    def _namespace_indexes(self) -> "dict[type, defaultdict[str, list[Any]]]":
        return {}

    @cached_property
    def _relations(self) -> dict[tuple[type, str, _LabelsOf], Relation]:
        return {}

    @cached_property
    def _name_indexes(self) -> dict[type, dict[tuple[str, str], Any]]:
        return {}
