"""What NetworkPolicies mean, as packet filter rules for one node; computed, nothing is touched."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

TOP = "CPT-POLICY"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """What a policy can see of a pod."""

    namespace: str
    name: str
    node: str
    address: str
    labels: Mapping[str, str]
    ports: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class World:
    """All pods, namespaces' labels and policies of a cluster at one moment."""

    pods: list[Pod]
    namespaces: Mapping[str, Mapping[str, str]]
    policies: list[Document] = field(default_factory=list)


def pod_from(document: Document) -> Pod | None:
    """The pod, or nothing when no policy can apply: host network, no address yet, ended."""
    spec, status = document["spec"], document.get("status", {})
    gone = status.get("phase") in ("Succeeded", "Failed")
    if spec.get("hostNetwork") or gone or not status.get("podIP"):
        return None
    ports = {
        (port["name"], port.get("protocol", "TCP")): port["containerPort"]
        for container in spec["containers"]
        for port in container.get("ports", [])
        if "name" in port
    }
    meta = document["metadata"]
    labels = meta.get("labels", {})
    return Pod(
        meta["namespace"], meta["name"], spec.get("nodeName", ""), status["podIP"], labels, ports
    )


def chains(world: World, node: str) -> dict[str, list[str]]:
    """Chain name -> rules, for the pods on this node."""
    result: dict[str, list[str]] = {TOP: ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"]}
    for pod in world.pods:
        if pod.node == node:
            for way, match in (("Ingress", "-d"), ("Egress", "-s")):
                _isolate(world, pod, way, match, result)
    return result


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(term, labels) for term in selector.get("matchExpressions") or [])


def _holds(term: Document, labels: Mapping[str, str]) -> bool:
    key, values = term["key"], term.get("values") or []
    match term["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _isolate(world: World, pod: Pod, way: str, match: str, result: dict[str, list[str]]) -> None:
    policies = [policy for policy in world.policies if _applies(policy, pod, way)]
    if not policies:
        return
    chain = (
        f"CPT-{way[0]}-{hashlib.sha256(f'{pod.namespace}/{pod.name}'.encode()).hexdigest()[:12]}"
    )
    rules = [
        f"{line} -j RETURN"
        for policy in policies
        for rule in policy["spec"].get(way.lower()) or []
        for line in _allowed(world, pod, policy, rule, way)
    ]
    result[chain] = [*rules, "-j DROP"]
    result[TOP].append(f"{match} {pod.address}/32 -j {chain}")


def _applies(policy: Document, pod: Pod, way: str) -> bool:
    spec = policy["spec"]
    here = policy["metadata"]["namespace"] == pod.namespace
    return (
        here and way in spec["policyTypes"] and selects(spec.get("podSelector") or {}, pod.labels)
    )


def _allowed(world: World, pod: Pod, policy: Document, rule: Document, way: str) -> Iterator[str]:
    peers = rule.get("from" if way == "Ingress" else "to")
    ports = rule.get("ports") or [{}]
    named = way == "Egress" and any(isinstance(port.get("port"), str) for port in ports)
    flag = "-s" if way == "Ingress" else "-d"
    for networks, target in _peers(world, policy, peers, named):
        for port in ports:
            line = _port(port, pod if way == "Ingress" else target)
            if line is not None:
                yield from (f"{flag} {network} {line}".strip() for network in networks)


def _peers(
    world: World, policy: Document, peers: Iterable[Document] | None, named: bool
) -> Iterator[tuple[list[str], Pod | None]]:
    if not peers:
        yield ["0.0.0.0/0"], None
        # A port's name means a different number on each pod that has it.
        yield from (([f"{pod.address}/32"], pod) for pod in world.pods if named)
        return
    for peer in peers:
        if "ipBlock" in peer:
            yield _without(peer["ipBlock"]), None
        else:
            for pod in world.pods:
                if _is_peer(world, policy, peer, pod):
                    yield [f"{pod.address}/32"], pod


def _is_peer(world: World, policy: Document, peer: Document, pod: Pod) -> bool:
    if "namespaceSelector" in peer:
        labels = world.namespaces.get(pod.namespace, {})
        if not selects(peer["namespaceSelector"] or {}, labels):
            return False
    elif pod.namespace != policy["metadata"]["namespace"]:
        return False
    return selects(peer.get("podSelector") or {}, pod.labels)


def _without(block: Document) -> list[str]:
    """The block's IPv4 networks without its exceptions; the testbed has no IPv6 pods."""
    left = [ipaddress.ip_network(block["cidr"])]
    if left[0].version != 4:
        return []
    for hole in map(ipaddress.ip_network, block.get("except") or []):
        left = [part for network in left for part in _minus(network, hole)]
    return [str(network) for network in left]


def _minus(network: Any, hole: Any) -> list[Any]:
    if hole.supernet_of(network):
        return []
    return list(network.address_exclude(hole)) if hole.subnet_of(network) else [network]


def _port(port: Document, target: Pod | None) -> str | None:
    """The match for one port; None when its name means nothing on that pod."""
    if not port:
        return ""
    protocol = port.get("protocol", "TCP")
    number = port.get("port")
    if isinstance(number, str):
        number = target.ports.get((number, protocol)) if target else None
        if number is None:
            return None
    match = f"-p {protocol.lower()}"
    if number is None:
        return match
    end = f":{port['endPort']}" if "endPort" in port else ""
    return f"{match} --dport {number}{end}"
