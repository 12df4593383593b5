"""Networking checks, where an example can't say it: params, pods that run, addresses, reasons."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pytest_containerpolicy.checks.cluster_dns import may_reach, name_servers
from pytest_containerpolicy.checks.images import is_database, repository_name
from pytest_containerpolicy.checks.registry import Finding, find_check
from pytest_containerpolicy.examples import find_examples, read_example
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Peer, PolicyRule
from pytest_containerpolicy.policies import builtin_pack, load_policy
from pytest_containerpolicy.verdicts import Result, evaluate
from pytest_containerpolicy.vocabulary import Profile
from tests.kubernetes_values import model_of

PACK = builtin_pack()

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: app, image: "example/web:1", ports: [{containerPort: 8080}]}]
"""
CLUSTER_DNS = """
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{port: 53, protocol: UDP}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      containers: [{name: coredns, image: "example/dns:1"}]
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: coredns-5d8
  namespace: kube-system
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: coredns, controller: true}]
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
---
apiVersion: v1
kind: Pod
metadata:
  name: coredns-5d8-x
  namespace: kube-system
  labels: {k8s-app: kube-dns, pod-template-hash: 5d8}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: coredns-5d8, controller: true}]
spec:
  containers: [{name: coredns, image: "example/dns:1"}]
status: {phase: Running, podIP: 10.244.1.7}
"""


def _model(*texts: str, live: bool = True) -> Model:
    return model_of([item for text in texts for item in yaml.safe_load_all(text)], live=live)


def _findings(check: str, model: Model, **params: Any) -> list[Finding]:
    return find_check(check).judge(model, params).findings


def _example(policy: str, name: str, profile: Profile) -> Result:
    loaded = load_policy(PACK.folder / "networking" / policy / "policy.yaml", PACK.name, profile)
    example = next(e for e in find_examples(loaded) if e.file.name.startswith(name))
    return evaluate(loaded, build_model(read_example(example)))


@pytest.mark.parametrize(
    ("profile", "verdict"), [("baseline", "passed"), ("strict", "failed"), ("audit", "passed")]
)
def test_public_ports(profile: Profile, verdict: str) -> None:
    """Ports 80 and 443 of the host may be public, but not for profile strict."""
    assert verdict == _example("no-all-interfaces", "pass-host-ip.kubernetes", profile).verdict


def test_many_ports_are_cut() -> None:
    """A finding names the first ports of a long list and counts the others."""
    ports = [{"containerPort": port, "hostPort": port} for port in range(8000, 8010)]
    web = yaml.safe_load(WEB)
    web["spec"]["template"]["spec"]["containers"][0]["ports"] = ports

    (finding,) = _findings("ports_bound_to_an_address", model_of([web], live=True))

    assert (
        "ports 8000, 8001, 8002, 8003, 8004 and 5 more on all interfaces" == finding.violation.found
    )


@pytest.mark.parametrize(("profile", "verdict"), [("baseline", "passed"), ("strict", "failed")])
def test_sealed_workloads(profile: Profile, verdict: str) -> None:
    """Who may open no connection needs no DNS, but for profile strict."""
    assert verdict == _example("egress-allows-dns", "pass-sealed", profile).verdict


def test_dns_over_tcp() -> None:
    """Profile strict wants port 53 over TCP as well, for answers that do not fit into UDP."""
    result = _example("egress-allows-dns", "pass-every-way", "strict")

    assert [
        "Deployment shop/any-peer: egress isolated by any-peer, 53/TCP not allowed",
        "Deployment shop/range: egress isolated by range, 53/TCP not allowed",
        "Deployment shop/named: egress isolated by named, 53/TCP not allowed",
        "Deployment shop/address: egress isolated by address, 53/TCP not allowed",
    ] == [f"{finding.subject}: {finding.violation.found}" for finding in result.findings]


@pytest.mark.parametrize(
    ("cidr", "exceptions", "answer"),
    [
        ("0.0.0.0/0", (), True),
        ("::/0", (), True),
        ("10.0.0.0/8", (), True),
        ("10.0.0.0/8", ("10.244.0.0/16", "10.96.0.0/12"), False),
        ("10.96.0.0/12", (), None),
        ("10.0.0.0/8", ("10.96.0.0/12",), None),
        ("192.168.0.0/16", (), False),
        ("0.0.0.0/0", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), False),
        ("2000::/3", (), False),
    ],
)
def test_blocks_of_a_known_dns(cidr: str, exceptions: tuple[str, ...], answer: bool | None) -> None:
    """A block leads to a DNS whose addresses are known if it has both the service's and the pods'.

    Whether a policy sees the one or the other is up to the network plugin.
    """
    (server,) = name_servers(_model(CLUSTER_DNS))
    rule = PolicyRule((Peer(cidr=cidr, except_cidrs=exceptions),))

    assert answer == may_reach(rule, "shop", server, "UDP")


@pytest.mark.parametrize(
    ("cidr", "exceptions", "answer"),
    [
        ("0.0.0.0/0", (), True),
        ("0.0.0.0/0", ("169.254.169.254/32",), True),
        ("0.0.0.0/0", ("10.0.0.0/8",), None),
        ("0.0.0.0/0", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), False),
        ("0.0.0.0/0", ("0.0.0.0/1", "128.0.0.0/1"), False),
        ("10.20.0.0/16", (), None),
        ("10.20.0.0/16", ("10.0.0.0/8",), False),
        ("203.0.113.0/24", (), False),
        ("fd00::/8", (), None),
        ("2000::/3", (), False),
    ],
)
def test_blocks_of_an_unknown_dns(
    cidr: str, exceptions: tuple[str, ...], answer: bool | None
) -> None:
    """Without its addresses a block may lead to the DNS if it holds private ones."""
    (server,) = name_servers(_model(WEB))
    rule = PolicyRule((Peer(cidr=cidr, except_cidrs=exceptions),))

    assert answer == may_reach(rule, "shop", server, "UDP")


LEADER = """
apiVersion: v1
kind: Service
metadata: {name: leader, namespace: shop}
spec:
  selector: {app: web, role: leader}
  ports: [{port: 80}]
"""
OWNED_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web-5d8-x
  namespace: shop
  labels: {app: web, role: leader}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d8, controller: true}]
spec:
  containers: [{name: app, image: "example/web:1"}]
status: {phase: PHASE}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: web-5d8
  namespace: shop
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, controller: true}]
spec:
  selector: {matchLabels: {app: web}}
"""


@pytest.mark.parametrize(("phase", "count"), [("Running", 0), ("Failed", 1)])
def test_labels_of_running_pods(phase: str, count: int) -> None:
    """A label that a program gives its own pod makes it a backend, as long as the pod runs."""
    model = _model(WEB, LEADER, OWNED_POD.replace("PHASE", phase))

    assert count == len(_findings("service_has_backends", model))


def test_pods_of_an_unknown_controller() -> None:
    """Pods that an operator's own resource controls are backends."""
    pod = OWNED_POD.partition("---")[0].replace("PHASE", "Running")
    pod = pod.replace("apps/v1", "postgresql.cnpg.io/v1").replace("ReplicaSet", "Cluster")

    assert [] == _findings("service_has_backends", _model(LEADER, pod))


@pytest.mark.parametrize(
    ("deployment", "why"),
    [
        (WEB, "Deployment shop/web lacks role=leader"),
        (WEB.replace("app: web", "app: api"), ""),
        (
            WEB.replace("{app: web}", "{app: web, role: leader}").replace(": shop", ": other"),
            "Deployment other/web has them, but in another namespace",
        ),
    ],
)
def test_why_a_service_selects_nothing(deployment: str, why: str) -> None:
    """A finding names the workload that was probably meant, and what is in the way."""
    (finding,) = _findings("service_has_backends", _model(deployment, LEADER))

    assert why == finding.violation.why


def test_numbers_that_no_container_declares() -> None:
    """Profile strict wants numbers among the declared ports; none declared is no evidence."""
    service = LEADER.replace(", role: leader", "")
    declared, silent = _model(WEB, service), _model(WEB.replace("ports:", "x:"), service)

    (finding,) = _findings("service_ports_match", declared, numbers=True)
    assert "port 80 leads to 80, Deployment shop/web declares 8080" == finding.violation.found
    assert [] == _findings("service_ports_match", declared)
    assert [] == _findings("service_ports_match", silent, numbers=True)


BLUE_GREEN = """
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {blueGreen: {activeService: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: app, image: "example/web:1", ports: [{containerPort: 8080, hostPort: 8080}]}
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: NAME}
status: {conditions: [{type: Ready, status: "True"}]}
"""


@pytest.mark.parametrize(("names", "count"), [("ab", 1), ("abc", 1), ("abcd", 0)])
def test_blue_and_green_need_nodes_of_their_own(names: str, count: int) -> None:
    """A blue-green rollout runs all new copies beside all old ones, each on a node of its own."""
    model = _model(BLUE_GREEN, *(NODE.replace("NAME", name) for name in names))

    assert count == len(_findings("copies_find_a_place", model))


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres", "postgres"),
        ("postgres:16", "postgres"),
        ("docker.io/library/postgres:16@sha256:0123", "postgres"),
        ("localhost:5000/postgres", "postgres"),
        ("registry.example.com:5000/Mirror/Redis:7-alpine", "redis"),
        ("bitnami/postgresql@sha256:0123", "postgresql"),
        ("mcr.microsoft.com/mssql/server:2022-latest", "mssql/server"),
        ("server:1", "server"),
        ("sha256:0123456789ab", ""),
        ("", ""),
    ],
)
def test_repository_name(image: str, name: str) -> None:
    """An image is known by the last part of its repository's name."""
    assert name == repository_name(image)


@pytest.mark.parametrize(
    ("image", "answer"),
    [
        ("quay.io/strimzi/kafka:0.45.0-kafka-3.9.0", True),
        ("mcr.microsoft.com/mssql/server:2022-latest", True),
        ("example/server:1", False),
        ("prometheuscommunity/postgres-exporter:v0.16.0", False),
        ("sha256:0123456789ab", False),
    ],
)
def test_is_database(image: str, answer: bool) -> None:
    """Databases are told by their whole name, not by a part of it."""
    assert answer == is_database(image)
