"""Where Swarm may run tasks, matched as its scheduler matches.

https://github.com/moby/swarmkit/blob/master/manager/constraint/constraint.go: keys and values
compare without case (label names with it), an absent label equals the empty text, and a key that
does not exist matches no node.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

from pytest_containerpolicy.model.placement import Placement, Spread
from pytest_containerpolicy.model.selectors import Requirement
from pytest_containerpolicy.targets import swarm_documents as swarm

_PATH = "Spec.TaskTemplate.Placement"
_LABEL_PREFIXES = ("node.labels.", "engine.labels.")
_IP = "node.ip"
_KEYS = ("node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch")


def node_labels(node: swarm.Node) -> dict[str, str]:
    """What constraints may ask of a node, by their keys; values in lower case."""
    description = node.description or swarm.NodeDescription()
    platform = description.platform or swarm.Platform()
    engine = description.engine or swarm.NodeEngine()
    facts = {
        "node.id": node.id,
        "node.hostname": description.hostname,
        "node.role": node.spec.role,
        "node.platform.os": platform.os,
        "node.platform.arch": platform.architecture,
        _IP: node.status.addr if node.status else "",
        **{f"node.labels.{key}": value for key, value in (node.spec.labels or {}).items()},
        **{f"engine.labels.{key}": value for key, value in (engine.labels or {}).items()},
    }
    return {key: value.lower() for key, value in facts.items()}


def placement_of(document: swarm.Placement | None, nodes: Sequence[swarm.Node]) -> Placement:
    """The constraints as conditions on `node_labels`."""
    constraints = (document.constraints if document else None) or ()
    return Placement(required=tuple(_requirement(text, nodes) for text in constraints))


def spread_of(document: swarm.Placement | None) -> Iterator[Spread]:
    """The limit of tasks per node, which blocks scheduling, and the preferences, which do not."""
    if document is None:
        return
    if document.max_replicas:
        yield Spread(
            kind="replicas-per-node",
            topology_key="node.id",
            required=True,
            at_most=document.max_replicas,
            path=f"{_PATH}.MaxReplicas",
        )
    for position, preference in enumerate(document.preferences or ()):
        if preference.spread:
            yield Spread(
                kind="topology-spread",
                topology_key=preference.spread.spread_descriptor,
                required=False,
                path=f"{_PATH}.Preferences[{position}]",
            )


def _requirement(text: str, nodes: Iterable[swarm.Node]) -> Requirement:
    operator = "In" if "==" in text else "NotIn"
    key, _, value = (part.strip() for part in text.partition("==" if operator == "In" else "!="))
    name = _key(key)
    if not name:
        return Requirement(key, "In", ())
    if name == _IP:
        return _address_requirement(operator, value, nodes)
    return Requirement(name, operator, (value.lower(),))


def _key(key: str) -> str:
    lowered = key.lower()
    for prefix in _LABEL_PREFIXES:
        if lowered.startswith(prefix):
            return prefix + key[len(prefix) :]
    return lowered if lowered in (*_KEYS, _IP) else ""


def _address_requirement(operator: str, value: str, nodes: Iterable[swarm.Node]) -> Requirement:
    """The condition that a node's address is the one given, or in the subnet given."""
    try:
        wanted = ip_network(value, strict=False)
    except ValueError:
        return Requirement(_IP, "In", ())
    addresses = [node.status.addr for node in nodes if node.status and node.status.addr]
    return Requirement(
        _IP, operator, tuple(one.lower() for one in addresses if ip_address(one) in wanted)
    )
