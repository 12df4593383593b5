"""Which nodes a workload may run on, and how its copies must be spread."""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.model.selectors import Labels, Requirement, Selector

# What names one node: Kubernetes' label and field, Swarm's constraints.
_NODE_NAMES = ("kubernetes.io/hostname", "metadata.name", "node.hostname", "node.id")


class NodeTerm(Struct, frozen=True):
    """Conditions on one node that must all hold: on its labels, and on its name."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def only_node(self) -> str:
        """The one node that it names; empty where it may match several."""
        return _named_node((*self.labels, *self.fields))

    def matches(self, name: str, labels: Labels) -> bool:
        # A term without any condition matches no node (the API's rule).
        if not self.labels and not self.fields:
            return False
        return all(requirement.matches(labels) for requirement in self.labels) and all(
            requirement.matches({"metadata.name": name}) for requirement in self.fields
        )


class Taint(Struct, frozen=True):
    """What keeps pods off a node unless they tolerate it."""

    key: str
    effect: str
    value: str = ""


class Toleration(Struct, frozen=True):
    """A taint that a workload puts up with; empty `key` and `effect` match every one."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (bool(self.key) and self.value == taint.value)


class Placement(Struct, frozen=True, kw_only=True):
    """The nodes that are allowed: every condition of `required`, one of `terms` if there are any.

    Swarm's `node.labels.x == y` constraints are `required` conditions too.
    """

    required: tuple[Requirement, ...] = ()
    terms: tuple[NodeTerm, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    node_name: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether anything narrows the choice of nodes."""
        return bool(self.required or self.terms or self.node_name)

    @property
    def only_node(self) -> str:
        """The one node that it names; empty where it may allow several."""
        return self.node_name or _named_node(self.required) or only_node(self.terms)


class Spread(Struct, frozen=True, kw_only=True):
    """A rule that keeps copies apart.

    `at_most` copies per domain of `topology_key` for anti-affinity (1) and Swarm's replicas per
    node; `max_skew` for topology spread constraints. Only rules that block scheduling are
    `required`. `per_revision`: copies of the old version do not count for those of the new one.
    A topology spread counts domains without regard to taints unless it `honors_taints`, and of
    the nodes only those that the placement allows unless it `ignores_placement`.
    """

    kind: Literal["anti-affinity", "topology-spread", "replicas-per-node"]
    topology_key: str
    required: bool
    path: str = ""
    at_most: int | None = None
    max_skew: int | None = None
    min_domains: int | None = None
    selector: Selector | None = None
    per_revision: bool = False
    honors_taints: bool = False
    ignores_placement: bool = False


def only_node(terms: Sequence[NodeTerm]) -> str:
    """The one node that all the alternatives name; empty where they may allow several."""
    names = {term.only_node for term in terms}
    return names.pop() if len(names) == 1 else ""


def _named_node(requirements: Iterable[Requirement]) -> str:
    for requirement in requirements:
        named = requirement.key in _NODE_NAMES and requirement.operator == "In"
        if named and len(requirement.values) == 1:
            return requirement.values[0]
    return ""
