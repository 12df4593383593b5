"""What must have been seen before a policy is said to be in force: directions, nodes and rules."""

from collections.abc import Iterable, Iterator, Sequence

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.network_probing import Probed
from pytest_containerpolicy.experiments.network_sampling import is_clear
from pytest_containerpolicy.experiments.reachability import Basis, Direction, Pod
from pytest_containerpolicy.model.network import NetworkPolicy

_SHOWN = 3


def paths_of(policy: NetworkPolicy, paths: Iterable[Probed]) -> list[Probed]:
    """The paths in which a policy has a say."""
    return [one for one in paths if any(says(policy, basis) for basis in basis_of(one))]


def says(policy: NetworkPolicy, basis: Basis) -> bool:
    """Whether an expectation rests on a policy."""
    return basis.policy.ref == policy.ref


def basis_of(one: Probed) -> tuple[Basis, ...]:
    """What the expectation of a path rests on."""
    return one.path.expectation.basis


def require_proof(policy: NetworkPolicy, paths: Sequence[Probed], no_stranger: str = "") -> None:
    """Raise `CannotLook` unless a policy was seen to deny and to allow.

    In each direction that it isolates, on each node that it isolates pods of, and by each of its
    rules that leads from or to anything. `no_stranger` is why nobody asked from elsewhere.
    """
    own = paths_of(policy, paths)
    if not own:
        raise CannotLook(f"{policy.ref} has no say in any path between pods that run now")
    for one in own:
        if one.outcome == "unconfirmed":
            raise CannotLook(f"{policy.ref}: {one.reason}")
    for direction in denying(policy):
        proof = [one for one in own if _shows(one, direction)]
        if not any(one.outcome == "as expected" for one in proof):
            nobody = no_stranger or "none that nothing else denies was found"
            why = f"no path shows whether its {direction} is enforced"
            raise CannotLook(f"{policy.ref}: {why}: {_reasons(proof) or nobody}")
        _require_nodes(policy, direction, proof, paths)
    _require_rules(policy, own)


def denying(policy: NetworkPolicy) -> Iterator[Direction]:
    """The directions in which a policy denies anything at all."""
    if policy.isolates_ingress and not any(not r.peers and not r.ports for r in policy.ingress):
        yield "ingress"
    if policy.isolates_egress and not any(not r.peers and not r.ports for r in policy.egress):
        yield "egress"


def _require_nodes(
    policy: NetworkPolicy, direction: Direction, proof: list[Probed], paths: Iterable[Probed]
) -> None:
    """Each node enforces for itself: be it seen by this policy or by another one there."""
    seen = {
        _place(one, direction)
        for one in paths
        if _shows(one, direction) and one.outcome == "as expected"
    }
    for node, protocol in sorted({_place(one, direction) for one in proof} - seen):
        there = [one for one in proof if _place(one, direction) == (node, protocol)]
        raise CannotLook(
            f"{policy.ref}: no path shows whether its {direction} is enforced on node {node} for"
            f" {protocol}: {_reasons(there)}"
        )


def _require_rules(policy: NetworkPolicy, own: Iterable[Probed]) -> None:
    by_rule: dict[tuple[Direction, int], list[Probed]] = {}
    for one in own:
        for basis in basis_of(one):
            if says(policy, basis) and basis.rule is not None:
                by_rule.setdefault((basis.direction, basis.rule), []).append(one)
    for (direction, number), allowed in sorted(by_rule.items()):
        if not any(one.is_told for one in allowed):
            raise CannotLook(
                f"{policy.ref}: no path shows whether anything gets through by"
                f" spec.{direction}[{number}]: {_reasons(allowed)}"
            )


def _shows(one: Probed, direction: Direction) -> bool:
    return one.path.denied and is_clear(one.path, direction)


def _place(one: Probed, direction: Direction) -> tuple[str, str]:
    """The node that enforces it, and the protocol."""
    end = one.path.source if direction == "egress" else one.path.destination
    return (end.node if isinstance(end, Pod) else ""), one.path.protocol


def _reasons(probed: Iterable[Probed]) -> str:
    return "; ".join(list(dict.fromkeys(one.reason for one in probed if one.reason))[:_SHOWN])
