"""What network policies allow and deny, derived from them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pytest_containerpolicy.experiments.reachability import Address, Basis, Pod, Policies
from pytest_containerpolicy.model.container import ContainerPort
from pytest_containerpolicy.model.network import NetworkPolicy
from tests.kubernetes_values import model_of

PORTS = (
    ContainerPort(number=8080, name="http"),
    ContainerPort(number=53, name="u", protocol="UDP"),
)


def pod(name: str, namespace: str = "shop", **fields: Any) -> Pod:
    """A pod labelled with its name, in a namespace labelled with its own."""
    fields.setdefault("address", f"10.1.{len(namespace)}.{sum(map(ord, name)) % 250 + 1}")
    return Pod(
        namespace=namespace,
        name=name,
        labels={"app": name, "tier": "back" if name == "db" else "front"},
        namespace_labels={"kubernetes.io/metadata.name": namespace, "team": namespace[0]},
        node_address="10.0.0.1",
        ports=PORTS,
        **fields,
    )


WEB, DB, GUEST = pod("web"), pod("db"), pod("guest", "other")
SITE = Address(name="site", address="203.0.113.9")
API = Address(name="the API server", address="10.0.0.5", in_cluster=True)


def policy(name: str = "policy", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    """The document of a policy; `app` selects pods by name."""
    app = spec.pop("app", None)
    spec["podSelector"] = {"matchLabels": {"app": app}} if app else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def policies(*documents: dict[str, Any], known: tuple[str, ...] = ("shop", "other")) -> Policies:
    """Policies as the model reads them."""
    return Policies(model_of(documents, live=True).all(NetworkPolicy), known)


def allowed(
    document: dict[str, Any], source: Pod, destination: Pod | Address, port: int = 8080
) -> bool | None:
    """What one policy makes of a TCP connection."""
    return policies(document).expect(source, destination, port, "TCP").allowed


ALL: dict[str, Any] = {}
SELECTS_WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
SELECTS_DB = {"podSelector": {"matchLabels": {"app": "db"}}}
INGRESS: dict[str, tuple[Any, dict[Pod, bool | None]]] = {
    "no policy": (None, {WEB: True, GUEST: True}),
    "empty": ([], {WEB: False, GUEST: False}),
    "anybody": ([ALL], {WEB: True, GUEST: True}),
    "empty from": ([{"from": []}], {WEB: True, GUEST: True}),
    "web": ([{"from": [SELECTS_WEB]}], {WEB: True, GUEST: False}),
    "own namespace": ([{"from": [{"podSelector": {}}]}], {WEB: True, GUEST: False}),
    "every namespace": ([{"from": [{"namespaceSelector": {}}]}], {WEB: True, GUEST: True}),
    "namespace": (
        [{"from": [{"namespaceSelector": {"matchLabels": {"team": "o"}}}]}],
        {WEB: False, GUEST: True},
    ),
    "both at once": (
        [{"from": [{"namespaceSelector": {"matchLabels": {"team": "o"}}, **SELECTS_WEB}]}],
        {WEB: False, GUEST: False},
    ),
    "one or the other": (
        [{"from": [{"namespaceSelector": {"matchLabels": {"team": "o"}}}, SELECTS_WEB]}],
        {WEB: True, GUEST: True},
    ),
    "two rules": ([{"from": [SELECTS_WEB]}, {"ports": [{"port": 1}]}], {WEB: True, GUEST: False}),
    "other port": ([{"ports": [{"port": 9090}]}], {WEB: False, GUEST: False}),
    "port": ([{"ports": [{"port": 8080}]}], {WEB: True, GUEST: True}),
    "named port": ([{"ports": [{"port": "http"}]}], {WEB: True, GUEST: True}),
    "unknown name": ([{"ports": [{"port": "grpc"}]}], {WEB: False, GUEST: False}),
    "name of the other protocol": ([{"ports": [{"port": "u"}]}], {WEB: False, GUEST: False}),
    "range": ([{"ports": [{"port": 8000, "endPort": 8080}]}], {WEB: True, GUEST: True}),
    "range below": ([{"ports": [{"port": 8000, "endPort": 8079}]}], {WEB: False, GUEST: False}),
    "protocol": ([{"ports": [{"protocol": "UDP"}]}], {WEB: False, GUEST: False}),
    "every TCP port": ([{"ports": [{"protocol": "TCP"}]}], {WEB: True, GUEST: True}),
    "block": ([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}], {WEB: None, GUEST: None}),
    "block elsewhere": (
        [{"from": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}],
        {WEB: False, GUEST: False},
    ),
    "all but its block": (
        [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.4.0/24"]}}]}],
        {WEB: False, GUEST: None},
    ),
    "block or pod": (
        [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, SELECTS_WEB]}],
        {WEB: True, GUEST: None},
    ),
}
EGRESS: dict[str, tuple[Any, bool]] = {
    "no policy": (None, True),
    "empty": ([], False),
    "anybody": ([ALL], True),
    "db": ([{"to": [SELECTS_DB]}], True),
    "db, other port": ([{"to": [SELECTS_DB], "ports": [{"port": 53}]}], False),
    "named port": ([{"ports": [{"port": "http"}]}], True),
    "other": ([{"to": [SELECTS_WEB]}], False),
}


@pytest.mark.parametrize(("ingress", "egress"), list(product(INGRESS, EGRESS)))
def test_both_sides_must_allow(ingress: str, egress: str) -> None:
    """A connection is allowed by the ingress of its destination and the egress of its source."""
    inward, expected = INGRESS[ingress]
    outward, goes_out = EGRESS[egress]
    documents = [policy("in", app="db", ingress=inward, policyTypes=["Ingress"])]
    documents += [policy("out", app="web", egress=outward, policyTypes=["Egress"])]
    chosen = policies(
        *(d for d, rules in zip(documents, (inward, outward), strict=True) if rules is not None)
    )

    comes_in = expected[WEB]
    wanted = False if not goes_out or comes_in is False else comes_in
    assert wanted is chosen.expect(WEB, DB, 8080, "TCP").allowed
    assert expected[GUEST] is chosen.expect(GUEST, DB, 8080, "TCP").allowed


@pytest.mark.parametrize(
    ("spec", "comes_in", "goes_out"),
    [
        ({}, False, True),
        ({"ingress": [ALL]}, True, True),
        ({"egress": [{"to": [SELECTS_DB]}]}, False, False),
        ({"policyTypes": ["Egress"]}, True, False),
        ({"policyTypes": ["Ingress", "Egress"]}, False, False),
        ({"policyTypes": ["Egress"], "ingress": []}, True, False),
    ],
)
def test_policy_types_that_are_left_out(
    spec: dict[str, Any], comes_in: bool, goes_out: bool
) -> None:
    """Without types ingress is always isolated, egress only if there are egress rules."""
    document = policy(app="web", **spec)

    assert comes_in is allowed(document, GUEST, WEB)
    assert goes_out is allowed(document, WEB, GUEST)


def test_rules_of_several_policies_add_up() -> None:
    """What one of the isolating policies allows is allowed; the basis names that rule."""
    chosen = policies(
        policy("deny"),
        policy("admit", app="db", ingress=[{"from": [SELECTS_WEB]}]),
        policy("x", app="web"),
    )
    admitting = next(p for p in chosen.isolating(DB, "ingress") if p.ref.name == "admit")

    assert (Basis(admitting, "ingress", 0),) == chosen.expect(WEB, DB, 1, "TCP").basis
    denied = chosen.expect(GUEST, DB, 1, "TCP")
    assert (False, ["deny", "admit"]) == (denied.allowed, [b.policy.ref.name for b in denied.basis])


def test_policies_of_other_namespaces() -> None:
    """A policy isolates pods of its own namespace only."""
    document = policy(namespace="other")

    assert allowed(document, GUEST, DB) is True
    assert allowed(document, WEB, GUEST) is False


def test_namespaces_whose_policies_are_unknown() -> None:
    """Nothing is expected where policies were not read, unless the source lets nothing out."""
    chosen = policies(policy("out", app="web", policyTypes=["Egress"]), known=("shop",))

    assert chosen.expect(DB, GUEST, 8080, "TCP").allowed is None
    assert chosen.expect(WEB, GUEST, 8080, "TCP").allowed is False


def test_what_is_never_judged() -> None:
    """Pods on their node's network are undefined; itself and its own node a pod always reaches."""
    everything = policies(policy(policyTypes=["Ingress", "Egress"]))
    agent = pod("agent", host_network=True, address="10.0.0.7")
    node = Address(name="node", address="10.0.0.1")

    assert everything.expect(WEB, agent, 8080, "TCP").allowed is None
    assert everything.expect(agent, WEB, 8080, "TCP").allowed is None
    assert everything.expect(WEB, WEB, 8080, "TCP").allowed is True
    assert everything.expect(WEB, node, 10250, "TCP").allowed is True


def test_a_selected_pod_on_its_nodes_network() -> None:
    """Whether selectors find a pod on its node's network is up to the network plugin."""
    chosen = policies(policy(app="web", egress=[{"to": [{"podSelector": {}}]}]))
    agent = pod("agent", host_network=True, address="10.0.0.7")

    assert chosen.expect(WEB, agent, 8080, "TCP").allowed is None


BLOCKS = [
    ([], False, False),
    ([ALL], True, True),
    ([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}], True, False),
    (
        [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.9/32"]}}]}],
        False,
        False,
    ),
    ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}], True, False),
    ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}], True, None),
    ([{"to": [{"ipBlock": {"cidr": "::/0"}}]}], False, False),
    ([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 80}]}], False, False),
    ([{"ports": [{"port": "http"}]}], False, False),
    ([{"to": [{"namespaceSelector": {}}]}], False, None),
    ([{"to": [{"podSelector": {}}]}], False, False),
]


@pytest.mark.parametrize(("egress", "site", "server"), BLOCKS)
def test_what_is_no_pod(egress: list[Any], site: bool, server: bool | None) -> None:
    """Blocks say what of the outside is allowed, but neither they nor selectors of the API server.

    It may be a pod or a node, which is for the plugin to see.
    """
    document = policy(app="web", egress=egress, policyTypes=["Egress"])

    assert site is allowed(document, WEB, SITE, 443)
    assert server is allowed(document, WEB, API, 443)


def test_expressions() -> None:
    """A policy and its peers may be selected by expressions; an absent label is "not in"."""
    out = {"key": "tier", "operator": "NotIn", "values": ["back"]}
    document = policy(ingress=[{"from": [{"podSelector": {"matchExpressions": [out]}}]}])

    assert allowed(document, WEB, DB) is True
    assert allowed(document, pod("db2"), DB) is True
    assert allowed(document, DB, WEB) is False
