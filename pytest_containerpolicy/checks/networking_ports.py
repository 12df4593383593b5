"""Checks of fixed ports, of which a node can hold only one copy.

Kubernetes' scheduler and Swarm's look for a node on which the port is free; Compose has one node
and fails. Measured on all three: see the examples of `networking/fixed-ports-block-copies`.
"""

from collections.abc import Iterator

from pytest_containerpolicy.checks.networking import port_text
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.network import PublishedPort
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload


def has_fixed_ports(workload: Workload) -> bool:
    """Whether each copy needs a port of its host that is written down, or one of a few."""
    return bool(_fixed_ports(workload))


@check(applies=has_fixed_ports)
def copies_find_a_place(workload: Workload) -> Iterator[Violation]:
    """Every copy, and each new one of a rollout, finds a node on which its port is free."""
    if workload.platform == "compose":
        yield from _on_one_host(workload)
    elif workload.one_per_node:
        yield from _on_every_node(workload)
    else:
        yield from _on_some_nodes(workload)


def _on_one_host(workload: Workload) -> Iterator[Violation]:
    copies = workload.replicas or 0
    tight = [port for port in _fixed_ports(workload) if (port.choices or 1) < copies]
    if tight:
        yield Violation(
            found=f"{copies} copies share {_place_text(tight)}",
            wanted="1 copy, or a port for each",
            path=field_path(workload, "published_ports"),
        )


def _on_every_node(workload: Workload) -> Iterator[Violation]:
    place = _place_text(_fixed_ports(workload))
    if _starts_first(workload):
        yield Violation(
            found=f"a new copy starts before the old one frees {place}",
            wanted="the old copy stops first",
            path=field_path(workload, "rollout.order"),
        )


def _on_some_nodes(workload: Workload) -> Iterator[Violation]:
    copies = workload.most_replicas or 0
    if copies < 1 or (copies == 1 and not _starts_first(workload)):
        return
    nodes = len(workload.eligible_nodes)
    place = _place_text(_fixed_ports(workload))
    if copies > nodes:
        yield Violation(
            found=f"{copies} copies need {place} of a node each, {_nodes_text(nodes)}",
            wanted="a node for each copy",
            path=field_path(workload, "replicas"),
        )
    elif _starts_first(workload) and nodes < copies + _copies_at_once(workload):
        yield Violation(
            found=f"a new copy starts before an old one frees {place}, {_nodes_text(nodes)}",
            wanted="a free node, or the old copy stops first",
            path=field_path(workload, "rollout.order"),
        )


def _starts_first(workload: Workload) -> bool:
    """Whether a rollout goes on only once a new copy runs beside all the old ones."""
    if workload.rollout is None:
        return False
    # With fewer copies than the most there may be, a node is free for the new one.
    unavailable, surge = workload.rollout.resolved(workload.most_replicas or 0)
    return surge > 0 and unavailable == 0


def _copies_at_once(workload: Workload) -> int:
    # Blue-green runs all new copies beside all old ones; the others go on with one spare node.
    rollout = workload.rollout
    return rollout.max_surge if rollout and rollout.strategy == "BlueGreen" else 1


def _fixed_ports(workload: Workload) -> list[PublishedPort]:
    return [
        port
        for port in workload.published_ports
        if port.mode == "host" and (port.number is not None or port.choices is not None)
    ]


def _place_text(ports: list[PublishedPort]) -> str:
    fixed = [port for port in ports if port.number is not None]
    texts = [f"host {port_text(fixed)}"] if fixed else []
    texts += [
        f"{port.choices} host ports for {port.container_port}" for port in ports if port.choices
    ]
    return " and ".join(texts)


def _nodes_text(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'} eligible"
