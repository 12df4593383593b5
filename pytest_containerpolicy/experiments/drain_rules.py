"""What the pods that run keep a further pod from: affinity between pods, and topology spread."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.placement import Spread
from pytest_containerpolicy.model.scheduling import Companions, Pod


class Scene(Protocol):
    """Nodes and pods as they stand."""

    emptied: str

    @property
    def floor(self) -> "Nodes": ...

    def count(self, companions: tuple[Companions, ...]) -> Counter[str]: ...

    def guards(self, pod: Pod) -> Iterable[tuple[str, str]]: ...


class Nodes(Protocol):
    """Nodes by name."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...


class SpreadRule(Struct, frozen=True):
    """A topology spread: how many pods each domain may hold beside the new one."""

    key: str
    counts: Mapping[str, int]
    at_most: int

    def allows(self, node: Node) -> bool:
        domain = node.labels.get(self.key)
        return domain is not None and self.counts.get(domain, 0) <= self.at_most


class Rules(Struct, frozen=True):
    """Where one pod may go beside the others, by domains: (label key, label value)."""

    forbidden: frozenset[tuple[str, str]]
    required: tuple[tuple[str, frozenset[str] | None], ...]
    spread: tuple[SpreadRule, ...]

    def misses(self, node: Node) -> "Broken | None":
        """What a node lacks that the pod needs beside it."""
        for key, domains in self.required:
            value = node.labels.get(key)
            if value is None or (domains is not None and value not in domains):
                return Broken(f"podAffinity over {key}", "affinity.podAffinity")
        return None

    def refuse(self, node: Node) -> "Broken | None":
        """What keeps the pod off a node."""
        for key, value in self.forbidden:
            if node.labels.get(key) == value:
                return Broken(f"podAntiAffinity over {key}", "affinity.podAntiAffinity")
        for rule in self.spread:
            if not rule.allows(node):
                return Broken(f"topology spread over {rule.key}", "topologySpreadConstraints")
        return None


class Broken(Struct, frozen=True):
    """A rule that a node breaks, and the path to it from the pod's spec."""

    text: str
    rule: str


def rules_of(pod: Pod, scene: Scene) -> Rules:
    """The rules for one pod as things stand."""
    return Rules(_forbidden(pod, scene), _required(pod, scene), _spread(pod, scene))


def _forbidden(pod: Pod, scene: Scene) -> frozenset[tuple[str, str]]:
    """The domains of pods that it doesn't want, and of those that don't want it."""
    found: set[tuple[str, str]] = set()
    for companions in pod.apart:
        found |= _domains(companions.topology_key, scene.count((companions,)), scene)
    for key, name in scene.guards(pod):
        found |= _domains(key, Counter((name,)), scene)
    return frozenset(found)


def _required(pod: Pod, scene: Scene) -> tuple[tuple[str, frozenset[str] | None], ...]:
    """The domains of pods that it needs beside it; the first of its kind may go anywhere."""
    if not pod.together:
        return ()
    counts = scene.count(pod.together)
    is_first = not +counts and all(companions.includes(pod) for companions in pod.together)
    return tuple(
        (
            companions.topology_key,
            None
            if is_first
            else frozenset(value for _, value in _domains(companions.topology_key, counts, scene)),
        )
        for companions in pod.together
    )


def _domains(key: str, counts: Counter[str], scene: Scene) -> set[tuple[str, str]]:
    nodes = scene.floor.nodes
    return {
        (key, nodes[name].labels[key])
        for name, count in counts.items()
        if count > 0 and key in nodes[name].labels
    }


def _spread(pod: Pod, scene: Scene) -> tuple[SpreadRule, ...]:
    return tuple(_spread_rule(pod, spread, scene) for spread in pod.spread)


def _spread_rule(pod: Pod, spread: Spread, scene: Scene) -> SpreadRule:
    """A constraint with its domains counted.

    A node that lacks the key of any constraint counts for none. A cordoned node counts unless
    taints are honoured: https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
    """
    keys = {other.topology_key for other in pod.spread}
    companions = Companions(spread.topology_key, spread.selector, frozenset((pod.namespace,)))
    of_nodes = scene.count((companions,))
    counts: Counter[str] = Counter()
    for node in scene.floor.nodes.values():
        if keys <= node.labels.keys() and _counts(node, pod, spread, scene):
            counts[node.labels[spread.topology_key]] += of_nodes[node.name]
    fewest = min(counts.values(), default=0)
    if len(counts) < (spread.min_domains or 1):
        fewest = 0
    own = 1 if companions.includes(pod) else 0
    return SpreadRule(spread.topology_key, counts, fewest + (spread.max_skew or 1) - own)


def _counts(node: Node, pod: Pod, spread: Spread, scene: Scene) -> bool:
    if not spread.ignores_placement and not node.allowed_by(pod.placement):
        return False
    if not spread.honors_taints:
        return True
    is_open = node.schedulable and node.name != scene.emptied
    return is_open and node.repelling_taint(pod.placement) is None
