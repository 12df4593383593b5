"""Whether network policies are in force: with an engine that enforces them, without, in part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Namespace
from tests.live.network_specimens import (
    PYTHON,
    address_of,
    deployment,
    pods,
    policy,
    restricted,
    ring,
    rule_on_nodes,
    started,
    trial,
)
from tests.testbed import Cluster

ENFORCED = "network_policy_enforced"
INERT = "the policy is inert: nothing in this cluster enforces network policies"
READ, EXEC = "create,delete,patch pods", "create,get pods/exec"
SLEEP = ["python3", "-c", "import time; time.sleep(3600)"]
SYSTEM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
EXTRA = [
    {"name": "http", "containerPort": 8080},
    {"name": "metrics", "containerPort": 9090},
    {"name": "echo", "containerPort": 5353, "protocol": "UDP"},
]
SHOP = (
    deployment("web"),
    deployment("db", "distroless"),
    deployment("client", "python", command=SLEEP),
    deployment("idle", "pause"),
    deployment(
        "echo",
        "distroless",
        ports=EXTRA,
        env=[{"name": "UDP_PORT", "value": "5353"}, {"name": "EXTRA_PORTS", "value": "9090"}],
    ),
    policy("db", "db", ingress=[{"from": [pods("web")], "ports": [{"port": "http"}]}]),
    policy(
        "client",
        "client",
        policyTypes=["Egress"],
        egress=[
            {"to": [pods("web")]},
            {"to": [SYSTEM], "ports": [{"port": 53, "protocol": "UDP"}]},
        ],
    ),
    policy(
        "echo",
        "echo",
        ingress=[
            {
                "from": [pods("web")],
                "ports": [{"port": "echo", "protocol": "UDP"}, {"port": 9000, "endPort": 9100}],
            }
        ],
    ),
)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def enforcing(testbed_cluster: Cluster) -> Iterator[None]:
    """A cluster in which policies are enforced."""
    with testbed_cluster.enforce_network_policies():
        yield


def test_a_shop(namespace: Namespace) -> None:
    """All policies are found inert where nothing enforces them, and none where all are."""
    started(namespace, *SHOP)

    inert = trial(namespace, ENFORCED)
    with namespace.cluster.enforce_network_policies():
        enforced = trial(namespace, ENFORCED)

    assert (3, []) == (inert.judged, inert.gaps)
    assert {"db": INERT, "client": INERT, "echo": INERT} == {
        name: violation.why for name, violation in inert.findings.items()
    }
    assert (3, {}, []) == (enforced.judged, enforced.findings, enforced.gaps)
    assert "allowed  " in enforced.figures[-1]
    assert "not told" not in enforced.figures[-1]
    assert "containerpolicy" not in namespace.kubectl("get", "pods", "-o", "name")


def test_enforced_on_some_nodes_or_too_much(namespace: Namespace, enforcing: None) -> None:
    """What one node lets through and what something else blocks is found, each on its policy."""
    started(
        namespace,
        deployment("web"),
        deployment("db", replicas=3),
        deployment("api"),
        policy("db", "db", ingress=[]),
        policy("api", "api", ingress=[{"from": [pods("web")], "ports": [{"port": 8080}]}]),
    )
    web, api = (address_of(namespace, app) for app in ("web", "api"))
    over = rule_on_nodes(namespace.cluster, "-s", web, "-d", api, "-p", "tcp", "-j", "DROP")
    under = rule_on_nodes(namespace.cluster, "-d", address_of(namespace, "db"), "-j", "ACCEPT")

    with over, under:
        found = trial(namespace, ENFORCED)

    assert [] == found.gaps
    assert {"db", "api"} == set(found.findings)
    assert found.findings["db"].found.startswith("not enforced: ")
    assert "it is enforced in part only" in found.findings["db"].why
    assert found.findings["api"].found.startswith("over-blocking: ")
    assert "spec.ingress[0]" == found.findings["api"].path


def test_what_can_not_be_told(namespace: Namespace, enforcing: None) -> None:
    """Policies that no path of running pods shows to be enforced are gaps, not passes."""
    started(
        namespace,
        deployment("idle", "pause"),
        policy("idle", "idle", ingress=[{"from": [{"podSelector": {}}]}]),
        policy("nobody", "nobody", ingress=[]),
        policy("open", "idle", ingress=[{}]),
    )

    found = trial(namespace, ENFORCED)

    assert (1, {}) == (found.judged, found.findings)
    assert ["idle", "nobody"] == [gap.split(":")[0].split("/")[1].split()[0] for gap in found.gaps]


def test_denied_both_ways(namespace: Namespace, enforcing: None) -> None:
    """A policy that lets nothing in or out of a whole namespace is seen to be enforced."""
    started(namespace, deployment("web"), policy("all", policyTypes=["Ingress", "Egress"]))

    found = trial(namespace, ENFORCED)

    assert (1, {}, []) == (found.judged, found.findings, found.gaps)


def test_who_asks_from_elsewhere(namespace: Namespace, enforcing: None, tmp_path: Path) -> None:
    """That only its own namespace gets in is shown from another one, ours or one that is named."""
    own = policy("own", ingress=[{"from": [{"podSelector": {}}]}])
    started(namespace, deployment("web"), own)
    account = restricted(namespace, tmp_path, READ, EXEC, "patch pods/ephemeralcontainers")
    second = f"{namespace.name}-second"
    namespace.cluster.kubectl("create", "namespace", second)
    try:
        named = trial(namespace, ENFORCED, beside=second)
    finally:
        namespace.cluster.kubectl("delete", "namespace", second, "--wait=false")

    ours = trial(namespace, ENFORCED)
    without = trial(namespace, ENFORCED, kubeconfig=account)

    for found in (named, ours):
        assert (1, {}, []) == (found.judged, found.findings, found.gaps)
    assert (0, {}) == (without.judged, without.findings)
    assert "needs the right to create namespaces in the cluster" in without.gaps[0]
    assert "name a second namespace in the target" in without.gaps[0]
    assert "containerpolicy-" not in namespace.cluster.kubectl("get", "namespaces", "-o", "name")


def test_the_outside(namespace: Namespace, enforcing: None) -> None:
    """An address beyond the cluster is probed from those who may and those who may not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect((namespace.cluster.site.address, 1))
        address = str(towards.getsockname()[0])
    block = {"ipBlock": {"cidr": f"{address}/32"}}
    started(
        namespace,
        *(deployment(name, "python", command=SLEEP) for name in ("may", "not")),
        policy("may", "may", policyTypes=["Egress"], egress=[{"to": [block]}]),
        policy("not", "not", policyTypes=["Egress"], egress=[{"to": [pods("may")]}]),
    )
    with socket.create_server((address, 0)) as outside:
        place = f"{address}:{outside.getsockname()[1]}"
        enforced = trial(namespace, ENFORCED, outside=place)
        rule = ("-d", address, "-p", "tcp", "--dport", place.partition(":")[2], "-j", "DROP")
        with rule_on_nodes(namespace.cluster, "-s", address_of(namespace, "may"), *rule):
            blocked = trial(namespace, ENFORCED, outside=place)

    assert (2, {}, []) == (enforced.judged, enforced.findings, enforced.gaps)
    assert {"may"} == set(blocked.findings)
    assert f"{address}:" in blocked.findings["may"].found


def test_a_policy_that_changes_meanwhile(namespace: Namespace) -> None:
    """A policy that is added while paths are probed makes what was found worthless."""
    started(namespace, deployment("web"), policy("web", "web", ingress=[]))

    def disturb(text: str) -> None:
        if text.endswith("paths"):
            namespace.apply(policy("late", "web", ingress=[{}]))

    found = trial(namespace, ENFORCED, progress=disturb)

    assert (0, {}) == (found.judged, found.findings)
    assert "network policies were changed while they were probed" in found.gaps[0]


@pytest.mark.parametrize(
    ("rights", "reason"),
    [
        ((READ,), "(create pods/exec)"),
        ((READ, EXEC), "needs the right to patch pods/ephemeralcontainers"),
    ],
)
def test_missing_rights(
    namespace: Namespace, tmp_path: Path, rights: tuple[str, ...], reason: str
) -> None:
    """Without a right the policy is not evaluated, and the gap names the right."""
    started(
        namespace,
        deployment("web", "distroless"),
        policy("web", "web", policyTypes=["Egress"]),
    )

    found = trial(namespace, ENFORCED, kubeconfig=restricted(namespace, tmp_path, *rights))

    assert (0, {}) == (found.judged, found.findings)
    assert reason in found.gaps[0]


def test_nothing_to_probe_from(namespace: Namespace) -> None:
    """An image that can't be pulled and a quota that is used up are gaps that say so."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"pods": "1"}},
    }
    started(namespace, deployment("web", "distroless"), policy("web", "web", ingress=[]))

    no_image = trial(namespace, ENFORCED, image="testbed/nothing:1")
    namespace.apply(quota)
    full = trial(namespace, ENFORCED, image=PYTHON)

    assert (0, {}) == (no_image.judged, no_image.findings)
    assert "ErrImagePull" in no_image.figures[-1]
    assert (0, {}) == (full.judged, full.findings)
    assert "exceeded quota" in full.figures[-1]


def test_twenty_workloads(namespace: Namespace, enforcing: None) -> None:
    """Twenty workloads, each with a policy of its own: within 60 s, but machines may be busy."""
    started(namespace, *ring(20))

    found = trial(namespace, ENFORCED)

    assert (20, {}, []) == (found.judged, found.findings, found.gaps)
    assert 240 > float(found.figures[-1].splitlines()[0].split()[-2])
