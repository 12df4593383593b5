"""Which selectors select which workloads, found once per namespace through an index of labels.

Testing every selector against every workload is quadratic: in a namespace of a thousand workloads
it takes longer than reading the cluster.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Labels, Selector

if TYPE_CHECKING:
    from pytest_containerpolicy.model.workload import Workload

_Labelled = tuple["Workload", Labels]


class Selecting(Protocol):
    """A service, a disruption budget, a network policy: what selects pods by their labels."""

    @property
    def ref(self) -> ObjectRef: ...

    @property
    def selector(self) -> Selector | None: ...

    def selects(self, labels: Labels) -> bool: ...


class Relation:
    """The pairs of selecting objects and workloads of one namespace, seen from both ends."""

    def __init__(
        self,
        selecting: Iterable[Selecting],
        workloads: Iterable["Workload"],
        labels: Callable[["Workload"], Iterable[Labels]],
    ) -> None:
        self._everyone = [(workload, found) for workload in workloads for found in labels(workload)]
        self._by_label: defaultdict[tuple[str, str], list[_Labelled]] = defaultdict(list)
        for entry in self._everyone:
            for pair in entry[1].items():
                self._by_label[pair].append(entry)
        self.workloads_of = {item: self._selected_by(item) for item in selecting}
        self.selecting: defaultdict[Workload, list[Selecting]] = defaultdict(list)
        for item, selected in self.workloads_of.items():
            for workload in selected:
                self.selecting[workload].append(item)

    def _selected_by(self, item: Selecting) -> tuple["Workload", ...]:
        # A dict keeps the order and each workload once, however many of its label sets match.
        return tuple(
            {workload: None for workload, found in self._candidates(item) if item.selects(found)}
        )

    def _candidates(self, item: Selecting) -> Sequence[_Labelled]:
        requirements = item.selector.requirements if item.selector else ()
        exact = [
            self._by_label.get((requirement.key, requirement.values[0]), [])
            for requirement in requirements
            if requirement.operator == "In" and len(requirement.values) == 1
        ]
        return min(exact, key=len, default=self._everyone)
