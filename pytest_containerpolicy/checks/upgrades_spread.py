"""Checks of placement: can every copy be scheduled on the nodes that there are?"""

from collections.abc import Iterator, Sequence

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.checks.upgrades_rollout import copies_text, recreates
from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.network import PublishedPort
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.placement import Spread
from pytest_containerpolicy.model.workload import Workload


def is_restricted(workload: Workload) -> bool:
    """Whether nodes are known, and something narrows which of them its copies may run on.

    Files seldom know nodes; a live environment always has some.
    """
    chosen = not workload.one_per_node and not workload.runs_to_completion
    rules = workload.placement.is_pinned or _blocking(workload) or _host_ports(workload)
    return workload.model.has_nodes and chosen and bool(rules) and workload.most_replicas != 0


@check(applies=is_restricted)
def copies_can_be_placed(workload: Workload) -> Iterator[Violation]:
    """The nodes have room for the most copies there may be, and for a rollout's next one.

    Nodes count with their labels and taints, also while they are cordoned or not ready.
    """
    nodes = workload.suitable_nodes
    if not nodes:
        yield Violation(
            found=f"none of {len(workload.model.nodes)} nodes suits its placement",
            wanted="a node that it allows and whose taints it tolerates",
            path=field_path(workload, "placement"),
        )
        return
    for port in _host_ports(workload):
        rule = f"host port {port.number}"
        yield from _lacks_room(workload, rule, port.path, len(nodes), _extra(workload))
    for spread in _blocking(workload):
        room = _room(spread, nodes, workload)
        extra = 0 if spread.per_revision else _extra(workload)
        if room is not None:
            yield from _lacks_room(workload, _text(spread), spread.path, room, extra)


def _lacks_room(
    workload: Workload, rule: str, path: str, room: int, extra: int
) -> Iterator[Violation]:
    copies = workload.most_replicas or 0
    if room < copies + extra:
        rolling = f" and {extra} more during a rollout" if extra else ""
        yield Violation(
            found=f"{rule} leaves room for {room}",
            wanted=f"room for {copies_text(copies)}{rolling}",
            path=path,
        )


def _extra(workload: Workload) -> int:
    """How many copies a rollout needs to place before it may take one away."""
    rollout = workload.rollout
    if rollout is None or recreates(rollout):
        return 0
    unavailable, surge = rollout.resolved(workload.most_replicas or 0)
    return min(1, surge) if not unavailable else 0


def _blocking(workload: Workload) -> list[Spread]:
    return [spread for spread in workload.spread if spread.required]


def _host_ports(workload: Workload) -> list[PublishedPort]:
    """The ports that only one copy on a node can have."""
    return [port for port in workload.published_ports if port.mode == "host" and port.number]


def _room(spread: Spread, nodes: Sequence[Node], workload: Workload) -> int | None:
    """How many copies the rule lets run on these nodes; None for any number."""
    match spread.kind:
        case "replicas-per-node":
            return len(nodes) * (spread.at_most or 0)
        case "anti-affinity":
            # A node without the label is in no domain, so nothing is kept apart there.
            if any(spread.topology_key not in node.labels for node in nodes):
                return None
            return len(_domains(spread, nodes))
    return _room_by_skew(spread, nodes, workload)


def _room_by_skew(spread: Spread, nodes: Sequence[Node], workload: Workload) -> int | None:
    """How many copies a topology spread lets run.

    A domain that counts but takes no copy (its nodes are tainted) stays at 0 for ever, and so
    does the minimum while there are fewer domains than `minDomains`: no domain may then hold more
    than the skew. https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
    """
    usable = _domains(spread, _with_all_keys(workload, nodes))
    counted = _domains(spread, _with_all_keys(workload, _counted_nodes(spread, workload)))
    if spread.honors_taints:
        counted &= usable
    lacking = len(counted) < (spread.min_domains or 1)
    return len(usable) * (spread.max_skew or 1) if counted > usable or lacking else None


def _counted_nodes(spread: Spread, workload: Workload) -> list[Node]:
    nodes = workload.model.nodes
    return [n for n in nodes if spread.ignores_placement or n.allowed_by(workload.placement)]


def _with_all_keys(workload: Workload, nodes: Sequence[Node]) -> list[Node]:
    # A node that lacks the key of one constraint counts for none of them.
    keys = {s.topology_key for s in _blocking(workload) if s.kind == "topology-spread"}
    return [node for node in nodes if keys <= node.labels.keys()]


def _domains(spread: Spread, nodes: Sequence[Node]) -> set[str]:
    key = spread.topology_key
    return {node.labels[key] for node in nodes if key in node.labels}


def _text(spread: Spread) -> str:
    match spread.kind:
        case "replicas-per-node":
            return f"at most {spread.at_most} per node"
        case "anti-affinity":
            return f"at most 1 per {spread.topology_key}"
    return f"a skew of {spread.max_skew} over {spread.topology_key}"
