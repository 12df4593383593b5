"""Would pods find a place on the nodes that there are, as the scheduler sees it?

The scheduler's required rules: readiness, taints, node affinity, volumes, host ports, requests,
affinity between pods, topology spread, preemption. Preferences never keep a pod from a place.
https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from pytest_containerpolicy.experiments.drain_floor import Floor, take
from pytest_containerpolicy.experiments.drain_rules import Rules, rules_of
from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.quantities import human_bytes
from pytest_containerpolicy.model.scheduling import Companions, HostPort, Pod

_ROUNDING = 1e-6
_TRIES = 6


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a node does not take a pod.

    `full`: one more node like this one would. `alone`: pods that it needs beside it are missing.
    `lacking` is the resource it has too little of, of which `free` is left. `rule` leads from the
    pod's spec to what it breaks.
    """

    text: str
    rule: str = ""
    full: bool = False
    alone: bool = False
    lacking: str = ""
    free: float = 0


class Trial:
    """A floor on which pods are moved about for trial; `emptied` is the node that is drained."""

    def __init__(self, floor: Floor, emptied: str = "", gone: Iterable[Pod] = ()) -> None:
        self.floor = floor
        self.emptied = emptied
        self.gone = list(gone)
        self.placed: list[tuple[Pod, str]] = []
        self.displaced: list[Pod] = []
        self._nodes = [node for node in floor.nodes.values() if node.name != emptied]
        self._free: dict[str, dict[str, float]] = {}
        self._ports: dict[str, set[HostPort]] = {}

    def place(self, pod: Pod) -> str:
        """Put a pod on the first node that takes it; its name, empty if none does.

        Raises `CannotLook` if the volume of one of its claims is not known.
        """
        rules = rules_of(pod, self)
        for node in self._nodes:
            if self._refusal(pod, node, rules) is None:
                return self._put(pod, node.name)
        return self._place_instead(pod, rules)

    def place_all(self, pods: Sequence[Pod]) -> list[Pod]:
        """Put pods wherever they fit, until no more does; returns those that are left."""
        left = list(pods)
        while left:
            before = len(self.placed)
            left = [pod for pod in left if not self.place(pod)]
            if len(self.placed) == before:
                break
            # What was displaced for others needs a place itself.
            left, self.displaced = left + self.displaced, []
        return left

    def refusals(self, pod: Pod) -> dict[str, Refusal]:
        """Why each node does not take a pod, by the node's name; those that do are left out."""
        rules = rules_of(pod, self)
        found = ((node.name, self._refusal(pod, node, rules)) for node in self._nodes)
        return {name: refusal for name, refusal in found if refusal}

    def count(self, companions: tuple[Companions, ...]) -> Counter[str]:
        """How many pods on each node are among all of these companions, as things stand now."""
        counts = Counter(self.floor.count(companions))
        for pod in self.gone:
            counts[pod.node] -= all(term.includes(pod) for term in companions)
        for pod, node in self.placed:
            counts[node] += all(term.includes(pod) for term in companions)
        return counts

    def guards(self, pod: Pod) -> Iterator[tuple[str, str]]:
        """The topology keys and nodes of pods that don't want this one beside them."""
        away = Counter((term, other.node) for other in self.gone for term in other.apart)
        for term, nodes in self.floor.guards.items():
            if term.includes(pod):
                for node, count in nodes.items():
                    if count > away[term, node]:
                        yield term.topology_key, node
        for other, node in self.placed:
            for term in other.apart:
                if term.includes(pod):
                    yield term.topology_key, node

    def _put(self, pod: Pod, node: str) -> str:
        take(self._own(node), pod)
        self._ports[node] = self._taken(node) | pod.ports
        self.placed.append((pod, node))
        return node

    def _left(self, node: str) -> dict[str, float]:
        return self._free.get(node) or self.floor.free[node]

    def _own(self, node: str) -> dict[str, float]:
        """What is left of a node, to be changed here and not on the floor."""
        return self._free.setdefault(node, dict(self.floor.free[node]))

    def _taken(self, node: str) -> set[HostPort]:
        return self._ports.get(node) or self.floor.ports[node]

    def _refusal(self, pod: Pod, node: Node, rules: Rules) -> Refusal | None:
        return (
            self._closed(pod, node)
            or self._out_of_reach(pod, node)
            or self._port_taken(pod, node)
            or self._too_little(pod, node)
            or _unwanted(rules, node)
        )

    @staticmethod
    def _closed(pod: Pod, node: Node) -> Refusal | None:
        if not node.ready:
            return Refusal(text="not ready")
        if not node.schedulable:
            return Refusal(text="cordoned")
        if not node.allowed_by(pod.placement):
            return Refusal(text=_not_allowed(pod), rule="affinity.nodeAffinity")
        taint = node.repelling_taint(pod.placement)
        if taint is None:
            return None
        value = f"={taint.value}" if taint.value else ""
        return Refusal(text=f"taint {taint.key}{value}:{taint.effect}", rule="tolerations")

    def _out_of_reach(self, pod: Pod, node: Node) -> Refusal | None:
        for claim in pod.claims:
            volume = self.floor.volume_of(pod.namespace, claim)
            terms = volume.node_terms if volume else ()
            if volume and terms and not any(t.matches(node.name, node.labels) for t in terms):
                text = f"volume {volume.ref.name} of claim {claim} can't be mounted there"
                return Refusal(text=text, rule="volumes")
        return None

    def _port_taken(self, pod: Pod, node: Node) -> Refusal | None:
        clash = pod.clashes_with(self._taken(node.name)) if pod.ports else None
        if clash is None:
            return None
        return Refusal(text=f"host port {clash[2]} is taken", rule="containers", full=True)

    def _too_little(self, pod: Pod, node: Node) -> Refusal | None:
        free = self._left(node.name)
        for name, amount in pod.requests.items():
            left = free.get(name, 0)
            if amount > left + _ROUNDING:
                empty = node.allocatable.get(name, 0) >= amount
                return Refusal(
                    text=f"too little {name}",
                    rule="containers",
                    full=empty,
                    lacking=name,
                    free=max(0, left),
                )
        return None

    def _place_instead(self, pod: Pod, rules: Rules) -> str:
        """Put a pod where others of lower priority have to go for it, as preemption does.

        https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
        """
        if not pod.preempts or pod.priority <= self.floor.lowest:
            return ""
        choices = {
            node.name: victims
            for node in self._nodes
            if (refusal := self._refusal(pod, node, rules)) and refusal.lacking
            if not _unwanted(rules, node) and (victims := self._victims(pod, node))
        }
        if not choices:
            return ""
        chosen = min(choices, key=lambda name: (choices[name][0].priority, len(choices[name])))
        self._displace(choices[chosen], self._own(chosen))
        return self._put(pod, chosen)

    def _victims(self, pod: Pod, node: Node) -> list[Pod]:
        """The pods that would have to go, the most important first; none if that did not help.

        Those may stay that there is room for beside the new one, the most important first.
        """
        lower = [p for p in self.floor.pods_on[node.name] if self._may_displace(pod, p)]
        lower.sort(key=lambda p: (-p.priority, p.started))
        left = dict(self._left(node.name))
        for other in lower:
            take(left, other, -1)
        take(left, pod)
        if any(left[name] < -_ROUNDING for name in pod.requests):
            return []
        victims: list[Pod] = []
        for other in lower:
            if all(left[name] >= amount - _ROUNDING for name, amount in other.requests.items()):
                take(left, other)
            else:
                victims.append(other)
        return victims

    def _may_displace(self, pod: Pod, other: Pod) -> bool:
        return other.priority < pod.priority and not other.stays and other not in self.gone

    def _displace(self, victims: Iterable[Pod], left: dict[str, float]) -> None:
        for victim in victims:
            take(left, victim, -1)
            self.gone.append(victim)
            if victim.priority >= 0:
                # Below are placeholders, there to be displaced.
                self.displaced.append(victim)


def _not_allowed(pod: Pod) -> str:
    only = pod.placement.only_node
    return f"it is pinned to {only}" if only else "its node selector or affinity excludes them"


def _unwanted(rules: Rules, node: Node) -> Refusal | None:
    if broken := rules.misses(node):
        return Refusal(text=broken.text, rule=broken.rule, alone=True)
    if broken := rules.refuse(node):
        return Refusal(text=broken.text, rule=broken.rule, full=True)
    return None


class Stranded(Struct, frozen=True):
    """A pod without a place, and what each node has against it.

    `displaced`: it had a place, and has to make way for a pod of higher priority.
    """

    pod: Pod
    refusals: Mapping[str, Refusal]
    displaced: bool = False

    @property
    def needs_a_node(self) -> bool:
        """Whether one more node, like one that there is, would take it."""
        return any(refusal.full for refusal in self.refusals.values())

    @property
    def misses_companions(self) -> bool:
        """Whether pods that it needs beside it are missing."""
        return any(refusal.alone for refusal in self.refusals.values())

    @property
    def rule(self) -> str:
        """The one rule that all nodes break; empty if they differ."""
        rules = {refusal.rule for refusal in self.refusals.values()}
        return rules.pop() if len(rules) == 1 else ""

    @property
    def causes(self) -> tuple[tuple[str, int], ...]:
        """What the nodes have against it, and how many of them."""
        return tuple(Counter(r.text for r in self.refusals.values()).most_common())

    def __str__(self) -> str:
        if not self.refusals:
            return "there is no other node"
        return "; ".join(f"{text} ({self._where(text, count)})" for text, count in self.causes)

    def _where(self, text: str, count: int) -> str:
        nodes = f"{count} node{'' if count == 1 else 's'}"
        amounts = self._amounts(text)
        return f"{amounts}, {nodes}" if amounts else nodes

    def _amounts(self, text: str) -> str:
        alike = [refusal for refusal in self.refusals.values() if refusal.text == text]
        best = max(alike, key=lambda refusal: refusal.free)
        if not best.lacking:
            return ""
        needed = amount_text(best.lacking, self.pod.requests[best.lacking])
        return f"needs {needed}, has {amount_text(best.lacking, best.free)} free"


def rehouse(floor: Floor, node: str) -> list[Stranded]:
    """The pods that find no place when a node is drained, moved together onto the others.

    The biggest and the pinned ones first; those that are left over get the first choice in the
    next try. Raises `CannotLook` if the volume of a claim is not known.
    """
    leaving = [pod for pod in floor.pods_on[node] if pod.can_be_evicted]
    order = sorted(leaving, key=lambda pod: _urgency(pod, floor), reverse=True)
    best: tuple[Trial, list[Pod]] | None = None
    for _ in range(_TRIES):
        trial = Trial(floor, node, leaving)
        left = trial.place_all(order)
        if best is None or len(left) < len(best[1]):
            best = trial, left
        if not any(Trial(floor, node, leaving).place(pod) for pod in left):
            break
        order = [p for p in order if p in left] + [p for p in order if p not in left]
    if best is None:
        return []
    trial, left = best
    return [Stranded(pod, trial.refusals(pod), pod.node != node) for pod in left]


def _urgency(pod: Pod, floor: Floor) -> tuple[int, bool, float]:
    biggest = floor.biggest
    shares = (amount / biggest[name] for name, amount in pod.requests.items() if biggest.get(name))
    return pod.priority, pod.placement.is_pinned or bool(pod.claims), max(shares, default=0)


def amount_text(name: str, amount: float) -> str:
    """An amount of a resource or of what a quota counts, for people."""
    return human_bytes(amount) if name.endswith(("memory", "storage")) else f"{amount:g}"
