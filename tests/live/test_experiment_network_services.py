"""Whether services answer and their names resolve, asked from inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Namespace
from tests.live.network_specimens import (
    Document,
    deployment,
    pods,
    policy,
    restricted,
    service,
    started,
    trial,
)
from tests.testbed import Cluster

PORTS = [
    {"name": "http", "containerPort": 8080},
    {"name": "echo", "containerPort": 5353, "protocol": "UDP"},
]
ENV = [{"name": "UDP_PORT", "value": "5353"}, {"name": "EXTRA_PORTS", "value": "9090"}]
LOOPBACK = [{"name": "BIND", "value": "127.0.0.1"}]
TO_WEB = {"port": 80, "targetPort": "http"}
WORKLOADS = (
    deployment("web", replicas=2),
    deployment("echo", "distroless", ports=PORTS, env=ENV),
    deployment("shut", "distroless"),
    deployment("local", readinessProbe=None, env=LOOPBACK),
    deployment("none", replicas=0),
    policy("shut", "shut", ingress=[{"from": [pods("web")], "ports": [{"port": "http"}]}]),
)
GOOD = (
    service("good", "web", TO_WEB),
    service("headless", "web", {"port": 8080}, clusterIP="None"),
    service("node", "web", TO_WEB, type="NodePort"),
    service("node-local", "echo", TO_WEB, type="NodePort", externalTrafficPolicy="Local"),
    service("near", "echo", TO_WEB, internalTrafficPolicy="Local"),
    service("datagrams", "echo", {"port": 7, "targetPort": "echo", "protocol": "UDP"}),
    service("shut", "shut", {"port": 80, "targetPort": 8080}),
    service("name", type="ExternalName", externalName="kubernetes.default.svc.cluster.local"),
)
BAD = {
    "wrong-number": (
        service("wrong-number", "web", {"port": 80, "targetPort": 9999}),
        "refused at endpoint",
    ),
    "wrong-name": (
        service("wrong-name", "web", {"port": 80, "targetPort": "grpc"}),
        "refused at port grpc, which no endpoint has",
    ),
    "nobody": (service("nobody", "nobody", {"port": 80}), "refused at port 80"),
    "loopback": (
        service("loopback", "local", {"port": 80, "targetPort": 8080}),
        "refused at endpoint",
    ),
    "second": (
        service(
            "second",
            "echo",
            {"name": "a", "port": 80, "targetPort": 8080},
            {"name": "b", "port": 90, "targetPort": 9090},
            {"name": "c", "port": 91, "targetPort": 9091},
        ),
        "port 91/TCP: refused at endpoint",
    ),
    "dead-datagrams": (
        service("dead-datagrams", "echo", {"port": 7, "targetPort": 7, "protocol": "UDP"}),
        "port 7/UDP: refused",
    ),
    "relative-name": (
        service("relative-name", type="ExternalName", externalName="good"),
        "failed at good",
    ),
}


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def enforcing(testbed_cluster: Cluster) -> Iterator[None]:
    """A cluster in which policies are enforced."""
    with testbed_cluster.enforce_network_policies():
        yield


def test_services_and_their_names(namespace: Namespace, enforcing: None) -> None:
    """Exactly the ports that lead nowhere and the names of nothing are found."""
    started(namespace, *WORKLOADS, *GOOD, *(document for document, _ in BAD.values()))
    namespace.apply(service("none", "none", {"port": 80}))

    answers = trial(namespace, "service_answers")
    names = trial(namespace, "service_name_resolves")

    assert [] == answers.gaps + names.gaps
    assert len(GOOD) + len(BAD) == answers.judged
    assert set(BAD) == set(answers.findings)
    for name, (_, words) in BAD.items():
        assert words in answers.findings[name].found, name
    assert {"relative-name"} == set(names.findings)
    assert "p99" in names.figures[-1]


def test_nobody_may_ask(namespace: Namespace, enforcing: None) -> None:
    """Services behind policies that let nobody in, and names out of reach, are gaps."""
    started(
        namespace,
        deployment("web"),
        service("web", "web", TO_WEB),
        policy("all", policyTypes=["Ingress", "Egress"]),
    )

    answers = trial(namespace, "service_answers")
    names = trial(namespace, "service_name_resolves")

    assert (0, {}, 0, {}) == (answers.judged, answers.findings, names.judged, names.findings)
    assert "network policies let no pod of the namespace through" in answers.gaps[0]
    assert "through to DNS" in names.gaps[0]


def test_slow_names(namespace: Namespace) -> None:
    """Lookups that take longer than the budget are found with their time."""
    started(namespace, deployment("web"), service("web", "web", TO_WEB))

    found = trial(namespace, "service_name_resolves", lookups=3, p99_ms=0.001)

    assert "99 % of 3 lookups took up to" in found.findings["web"].found


def test_names_from_isolated_workloads(namespace: Namespace, enforcing: None) -> None:
    """Of the workloads with egress rules those are found from which no name server answers."""
    dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    egress = {"policyTypes": ["Egress"]}
    started(
        namespace,
        *(deployment(name, "distroless") for name in ("allowed", "forgotten", "sealed", "free")),
        policy("allowed", "allowed", **egress, egress=[dns]),
        policy("forgotten", "forgotten", **egress, egress=[{"to": [pods("free")]}]),
        policy("sealed", "sealed", **egress),
    )

    found = trial(namespace, "workload_resolves_names")

    assert (2, {"forgotten"}, []) == (found.judged, set(found.findings), found.gaps)


def test_without_the_rights(namespace: Namespace, tmp_path: Path) -> None:
    """Who may not create pods judges no service, and learns which right it takes."""
    started(namespace, deployment("web"), service("web", "web", TO_WEB))

    found = trial(namespace, "service_answers", kubeconfig=restricted(namespace, tmp_path))

    assert (0, {}) == (found.judged, found.findings)
    assert "forbidden" in found.gaps[0]
    assert "pods" in found.gaps[0]


def test_without_the_right_to_list_nodes(namespace: Namespace, tmp_path: Path) -> None:
    """Who may not list nodes judges the services without node ports, and learns which right."""
    started(namespace, deployment("web"))
    namespace.apply(
        service("web", "web", TO_WEB),
        service("node", "web", TO_WEB, type="NodePort"),
        service("balanced", "web", TO_WEB, type="LoadBalancer"),
    )
    rights = ("create,delete,get,list,watch pods", "create,get pods/exec")

    found = trial(namespace, "service_answers", kubeconfig=restricted(namespace, tmp_path, *rights))

    assert (1, {}, 2) == (found.judged, found.findings, len(found.gaps))
    for gap in found.gaps:
        assert "node port" in gap
        assert "needs the right to GET /api/v1/nodes" in gap


def _apart_from_probers(name: str, *, strictly: bool) -> Document:
    """A workload that keeps probers off its node: as far as there is another, or at all."""
    term = {
        "labelSelector": {
            "matchLabels": {"app.kubernetes.io/managed-by": "pytest-containerpolicy"}
        },
        "topologyKey": "kubernetes.io/hostname",
    }
    wish = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": term}
        ]
    }
    order = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    document = deployment(name)
    document["spec"]["template"]["spec"]["affinity"] = {
        "podAntiAffinity": order if strictly else wish
    }
    return document


def test_a_local_service_far_away(namespace: Namespace) -> None:
    """Where no pod is near a local service, one of our own is started on its node."""
    started(namespace, _apart_from_probers("web", strictly=False))
    namespace.apply(service("near", "web", TO_WEB, internalTrafficPolicy="Local"))

    found = trial(namespace, "service_answers")

    assert (1, {}, []) == (found.judged, found.findings, found.gaps)


def test_a_local_service_out_of_the_way(namespace: Namespace) -> None:
    """Where none may be started on its node, its endpoint does not stand for its address."""
    started(namespace, _apart_from_probers("web", strictly=True))
    namespace.apply(
        service("near", "web", TO_WEB, internalTrafficPolicy="Local"),
        service("web", "web", TO_WEB),
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "two"},
            "spec": {"hard": {"pods": "2"}},
        },
    )

    found = trial(namespace, "service_answers")

    assert (1, {}, 1) == (found.judged, found.findings, len(found.gaps))
    assert "near" in found.gaps[0]
    assert "no pod to ask from is on a node with an endpoint of address" in found.gaps[0]
    assert "exceeded quota" in "".join(map(str, found.figures))


def test_node_ports_and_policies(namespace: Namespace, enforcing: None) -> None:
    """Pods that may not connect to nodes tell nothing of a node port; isolated pods need not."""
    inside: list[Document] = [{"podSelector": {}}]
    started(
        namespace,
        deployment("web"),
        service("node", "web", TO_WEB, type="NodePort"),
        policy("out", policyTypes=["Egress"], egress=[{"to": inside}]),
    )

    outwards = trial(namespace, "service_answers")
    namespace.apply(policy("in", policyTypes=["Ingress"], ingress=[{"from": inside}]))
    both_ways = trial(namespace, "service_answers")

    assert {} == outwards.findings == both_ways.findings
    assert (1, []) == (both_ways.judged, both_ways.gaps)
