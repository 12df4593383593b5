"""What must get through and what must not, derived from NetworkPolicies as Kubernetes defines them.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
A connection needs both sides: the egress of its source and the ingress of its destination. Where
the definition leaves it to the network plugin, or where it is not known, nothing is expected.
"""

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE
from pytest_containerpolicy.model.container import ContainerPort
from pytest_containerpolicy.model.network import NetworkPolicy, Peer, PolicyPort, PolicyRule
from pytest_containerpolicy.model.selectors import Labels

Direction = Literal["ingress", "egress"]


class Pod(Struct, frozen=True, kw_only=True, eq=False):
    """A running pod as policies and probers see it.

    `ports` are those it declares and those that services lead to; `answering` are the TCP ports at
    which its node finds it to answer. `container` is where programs can be started.
    """

    namespace: str
    name: str
    uid: str = ""
    labels: Labels
    namespace_labels: Labels
    address: str
    node: str = ""
    node_address: str = ""
    host_network: bool = False
    ports: tuple[ContainerPort, ...] = ()
    answering: frozenset[int] = frozenset()
    container: str = ""
    workload: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Address(Struct, frozen=True, kw_only=True):
    """Something that is no pod, at the address that packets to it carry.

    `in_cluster` says that it may be a pod on its node's network, so that what selectors and blocks
    say of it is up to the network plugin.
    """

    name: str
    address: str
    in_cluster: bool = False

    def __str__(self) -> str:
        return self.name


End = Pod | Address


class Basis(Struct, frozen=True):
    """What an expectation rests on: a policy that isolates, or with `rule` the one that allows."""

    policy: NetworkPolicy
    direction: Direction
    rule: int | None = None


class Expectation(Struct, frozen=True):
    """Whether a connection must get through (None: not defined) and because of what.

    Without a `basis` no policy has a say in it.
    """

    allowed: bool | None
    basis: tuple[Basis, ...] = ()


class Policies:
    """The policies of some namespaces; those of others are taken as unknown."""

    def __init__(self, policies: Iterable[NetworkPolicy], namespaces: Iterable[str]) -> None:
        self._known = frozenset(namespaces)
        self._isolating: dict[tuple[Pod, Direction], list[NetworkPolicy]] = {}
        self._by_namespace: defaultdict[str, list[NetworkPolicy]] = defaultdict(list)
        for policy in policies:
            self._by_namespace[policy.ref.namespace].append(policy)

    def of(self, namespaces: Iterable[str]) -> list[NetworkPolicy]:
        """The policies of some namespaces."""
        return [policy for name in namespaces for policy in self._by_namespace.get(name, ())]

    def knowing(self, namespace: str) -> "Policies":
        """The same policies, and that there are none in one more namespace."""
        return Policies(self.of(self._by_namespace), {*self._known, namespace})

    def isolating(self, pod: Pod, direction: Direction) -> list[NetworkPolicy]:
        """The policies that isolate a pod in one direction."""
        if (pod, direction) not in self._isolating:
            self._isolating[pod, direction] = self._find_isolating(pod, direction)
        return self._isolating[pod, direction]

    def _find_isolating(self, pod: Pod, direction: Direction) -> list[NetworkPolicy]:
        return [
            policy
            for policy in self.of([pod.namespace])
            if (policy.isolates_ingress if direction == "ingress" else policy.isolates_egress)
            and policy.selects(pod.labels)
        ]

    def expect(self, source: Pod, destination: End, port: int, protocol: str) -> Expectation:
        """What must become of a connection from a pod."""
        # Nothing stands between a pod and itself, nor between it and the node it runs on.
        if destination.address in (source.address, source.node_address):
            return Expectation(True)
        if source.host_network or (isinstance(destination, Pod) and destination.host_network):
            return Expectation(None)
        sides = [self._side(source, destination, "egress", _Port(destination, port, protocol))]
        if isinstance(destination, Pod):
            wanted = _Port(destination, port, protocol)
            sides.append(self._side(destination, source, "ingress", wanted))
        return _both(sides)

    def _side(self, pod: Pod, other: End, direction: Direction, port: "_Port") -> Expectation:
        if pod.namespace not in self._known:
            return Expectation(None)
        policies = self.isolating(pod, direction)
        if not policies:
            return Expectation(True)
        answers = [
            (_admits(rule, policy, other, port), Basis(policy, direction, number))
            for policy in policies
            for number, rule in enumerate(getattr(policy, direction))
        ]
        allowing = tuple(basis for answer, basis in answers if answer)
        if allowing:
            return Expectation(True, allowing)
        if any(answer is None for answer, _ in answers):
            return Expectation(None)
        return Expectation(False, tuple(Basis(policy, direction) for policy in policies))


def _both(sides: list[Expectation]) -> Expectation:
    denied = [side for side in sides if side.allowed is False]
    if denied:
        return Expectation(False, tuple(basis for side in denied for basis in side.basis))
    if any(side.allowed is None for side in sides):
        return Expectation(None)
    return Expectation(True, tuple(basis for side in sides for basis in side.basis))


class _Port(Struct, frozen=True):
    """A port of a destination, which is what names of ports are resolved against."""

    owner: End
    number: int
    protocol: str

    def is_among(self, ports: tuple[PolicyPort, ...]) -> bool:
        return not ports or any(self._is(port) for port in ports)

    def _is(self, port: PolicyPort) -> bool:
        if not isinstance(port.number, str):
            return port.covers(self.number, self.protocol)
        wanted = (port.number, self.number, self.protocol, port.protocol)
        declared = self.owner.ports if isinstance(self.owner, Pod) else ()
        return any((p.name, p.number, p.protocol, p.protocol) == wanted for p in declared)


def _admits(rule: PolicyRule, policy: NetworkPolicy, other: End, port: _Port) -> bool | None:
    """Whether a rule lets a connection through; None where that is up to the network plugin."""
    if not port.is_among(rule.ports):
        return False
    if not rule.peers:
        return True
    answers = [_is_peer(peer, policy.ref.namespace, other) for peer in rule.peers]
    return True if True in answers else None if None in answers else False


def _is_peer(peer: Peer, namespace: str, other: End) -> bool | None:
    if peer.cidr:
        return _in_block(peer, other)
    if isinstance(other, Address):
        in_reach = peer.namespaces is not None or namespace == SYSTEM_NAMESPACE
        return None if other.in_cluster and in_reach else False
    if other.host_network:
        return None
    if peer.namespaces is None:
        in_namespace = other.namespace == namespace
    else:
        in_namespace = peer.namespaces.matches(other.namespace_labels)
    return in_namespace and (peer.pods is None or peer.pods.matches(other.labels))


def _in_block(peer: Peer, other: End) -> bool | None:
    """Blocks are for what is outside: whether they see pods and nodes is up to the network plugin.

    https://docs.cilium.io/en/stable/security/policy/language/#ip-cidr-based
    """
    address = ip_address(other.address)
    inside = address in ip_network(peer.cidr) and not any(
        address in ip_network(excepted) for excepted in peer.except_cidrs
    )
    of_cluster = isinstance(other, Pod) or other.in_cluster
    return None if inside and of_cluster else inside
