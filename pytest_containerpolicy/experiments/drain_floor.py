"""Nodes and the pods on them at one moment, with what of the nodes is free."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.scheduling import Companions, HostPort, Pod
from pytest_containerpolicy.model.volume import PersistentVolume

# The claim's volume, None where it has none yet. Raises `CannotLook` where that is not known.
VolumeOf = Callable[[str, str], PersistentVolume | None]


class Floor:
    """Nodes and the pods on them at one moment.

    Pods that have ended take no room, and those on their way out are about to take none.
    """

    def __init__(self, nodes: Iterable[Node], pods: Iterable[Pod], volume_of: VolumeOf) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.volume_of = volume_of
        self.pods_on: defaultdict[str, list[Pod]] = defaultdict(list)
        self.guards: defaultdict[Companions, Counter[str]] = defaultdict(Counter)
        self._in: defaultdict[str, list[Pod]] = defaultdict(list)
        self._counts: dict[tuple[Companions, ...], Counter[str]] = {}
        for pod in pods:
            if pod.node in self.nodes and not pod.ended and not pod.leaving:
                self._add(pod)

    def _add(self, pod: Pod) -> None:
        self.pods_on[pod.node].append(pod)
        self._in[pod.namespace].append(pod)
        for companions in pod.apart:
            self.guards[companions][pod.node] += 1

    @cached_property
    def biggest(self) -> dict[str, float]:
        """The most that any node has, by resource."""
        most: dict[str, float] = {}
        for node in self.nodes.values():
            for name, amount in node.allocatable.items():
                most[name] = max(amount, most.get(name, 0))
        return most

    @cached_property
    def free(self) -> dict[str, dict[str, float]]:
        """What of each node's resources nobody has reserved."""
        left = {node.name: dict(node.allocatable) for node in self.nodes.values()}
        for name, pods in self.pods_on.items():
            for pod in pods:
                take(left[name], pod)
        return left

    @cached_property
    def ports(self) -> dict[str, set[HostPort]]:
        """The ports of each node that its pods have."""
        taken: dict[str, set[HostPort]] = {name: set() for name in self.nodes}
        for name, pods in self.pods_on.items():
            taken[name].update(*(pod.ports for pod in pods))
        return taken

    @cached_property
    def lowest(self) -> int:
        """The lowest priority of any pod that may have to make way."""
        found = (p.priority for pods in self.pods_on.values() for p in pods if not p.stays)
        return min(found, default=0)

    def count(self, companions: tuple[Companions, ...]) -> Counter[str]:
        """How many pods on each node are among all of these companions."""
        if companions not in self._counts:
            self._counts[companions] = Counter(
                pod.node
                for pod in self._candidates(companions[0].namespaces)
                if all(term.includes(pod) for term in companions)
            )
        return self._counts[companions]

    def _candidates(self, namespaces: frozenset[str] | None) -> Iterator[Pod]:
        for namespace in self._in if namespaces is None else namespaces & self._in.keys():
            yield from self._in[namespace]


def take(left: dict[str, float], pod: Pod, times: int = 1) -> None:
    """Reserve what a pod requests; -1 times gives it back."""
    for name, amount in pod.requests.items():
        left[name] = left.get(name, 0) - times * amount
