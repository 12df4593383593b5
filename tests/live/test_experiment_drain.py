"""Drains, rehearsed and real: what is foretold is what the scheduler and the clients then see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_containerpolicy.checks.registry import Judgement
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_rehearsal import rehearse_drain
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.kubernetes_cordon import cordoned
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import LabOptions, new_run, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.live.drain_specimens import (
    DRAINED,
    EXPECTED,
    budget,
    deployed,
    documents,
    really_stranded,
    workload,
)
from tests.live.kubernetes_access import account, kubeconfig_for


@contextmanager
def laboratory(namespace: Namespace, folder: Path, kubeconfig: Path | None = None) -> Iterator[Any]:
    """A laboratory in a namespace; nothing may be left in its journal."""
    config = kubeconfig or namespace.cluster.kubeconfig
    target = parse_target(f"k8s://?kubeconfig={config}&namespace={namespace.name}")
    options = LabOptions(level="disrupt", prober_image="testbed/python:1")
    journal = Journal(folder / "journal", new_run())
    with closing(open_lab(target, Timeouts(), options, journal)) as lab:
        yield cast(KubernetesLab, lab)
        assert [] == journal.pending


def judge(lab: KubernetesLab, name: str, **params: Any) -> Judgement:
    """What an experiment says of everything in the laboratory's namespace."""
    model = build_model(lab.target.read(Timeouts()))
    return find_experiment(name).using(lab).judge(model, params)


def texts(judgement: Judgement) -> dict[str, str]:
    """What was found, by the object's name."""
    found: dict[str, str] = {}
    for finding in judgement.findings:
        found[finding.ref.name] = f"{found.get(finding.ref.name, '')}{finding.violation.found}\n"
    return found


def test_a_rehearsal_foretells_what_the_scheduler_does(
    namespace: Namespace, tmp_path: Path
) -> None:
    """Each hindrance is found with its cause, and nothing else; a real drain strands the same."""
    with deployed(namespace), laboratory(namespace, tmp_path) as lab:
        before = {pod["metadata"]["uid"] for pod in documents(namespace, "pods")}
        judgement = judge(lab, "can_be_drained")
        found = texts(judgement)
        rehearsal = rehearse_drain(lab, DRAINED)

        assert before == {pod["metadata"]["uid"] for pod in documents(namespace, "pods")}
        assert [] == judgement.gaps
        assert EXPECTED.keys() == found.keys()
        assert {} == {name: found[name] for name in found if EXPECTED[name] not in found[name]}
        assert not rehearsal.succeeds
        stranded = {left.pod.labels["app"] for left in rehearsal.stranded}
        assert really_stranded(namespace) == stranded


def served(name: str, **spec: Any) -> list[dict[str, Any]]:
    """Two pods that answer, with a service."""
    container = {
        "image": "testbed/server:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 4}}},
    }
    made = workload(name, 2, container=container, **spec)
    made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 8
    ports = [{"port": 80, "targetPort": "http"}]
    service = {"selector": {"app": name}, "ports": ports}
    return [
        made,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    ]


def test_a_real_drain(namespace: Namespace, tmp_path: Path) -> None:
    """It moves what may move, unnoticed; it gives up on what is held; it lets the pinned be."""
    held = [*served("held"), budget("held", minAvailable=2)]
    pinned = served("pinned", nodeSelector={"kubernetes.io/hostname": DRAINED})
    namespace.apply(*served("moves"), budget("moves", maxUnavailable=1), *held, *pinned)
    for name in ("moves", "held", "pinned"):
        namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    before = _places(namespace)

    with laboratory(namespace, tmp_path) as lab:
        judgement = judge(lab, "drain_without_downtime", patience=4, failed=5)
        found = texts(judgement)

        assert [] == judgement.gaps
        assert {"held", "pinned"} == found.keys()
        assert "0 of its pods gone: eviction of pod held-" in found["held"]
        assert "was not begun, as its end is known: no other node takes" in found["pinned"]
        after = _places(namespace)
        assert before["held"] == after["held"]
        assert before["pinned"] == after["pinned"]
        assert 1 == len(before["moves"] - after["moves"])
        assert not any(node["spec"].get("unschedulable") for node in documents(namespace, "nodes"))
        assert [] == documents(namespace, "leases")


def _places(namespace: Namespace) -> dict[str, set[tuple[str, str]]]:
    places: dict[str, set[tuple[str, str]]] = {}
    for pod in documents(namespace, "pods"):
        metadata = pod["metadata"]
        place = metadata["name"], pod["spec"]["nodeName"]
        places.setdefault(metadata["labels"]["app"], set()).add(place)
    return places


def test_a_node_that_somebody_else_cordoned(namespace: Namespace, tmp_path: Path) -> None:
    """It is left alone, cordoned as it is."""
    namespace.kubectl("cordon", DRAINED)
    try:
        with (
            laboratory(namespace, tmp_path) as lab,
            pytest.raises(CannotLook, match="node2 is cordoned by somebody else: nothing was"),
            cordoned(lab, DRAINED, alone=True),
        ):
            pass
        assert "true" in namespace.kubectl("get", "node", DRAINED, "-o", "jsonpath={.spec}")
    finally:
        namespace.kubectl("uncordon", DRAINED)


RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list]}]
"""


def test_without_the_right_to_evict(namespace: Namespace, tmp_path: Path) -> None:
    """Who may only read is told which right is missing; nothing passes."""
    namespace.apply(workload("web"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    namespace.kubectl("apply", "-f", "-", stdin=RIGHTS)
    token, reader = account(namespace, "reader"), f"{namespace.name}:reader"
    namespace.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={reader}"
    )
    config = kubeconfig_for(namespace.cluster, tmp_path, {"token": token})

    with laboratory(namespace, tmp_path, config) as lab:
        judgement = judge(lab, "can_be_drained")
    assert ([], ["nodes: forbidden (403): needs get,list on nodes"]) == (
        judgement.findings,
        [gap for gap in judgement.gaps if gap.startswith("nodes")],
    )

    name = f"--clusterrole=system:node-reader-{namespace.name}"
    role = name.partition("=")[2]
    namespace.kubectl(
        "create", "clusterrole", role, "--verb=get,list", "--resource=nodes,persistentvolumes"
    )
    try:
        namespace.kubectl("create", "clusterrolebinding", role, name, f"--serviceaccount={reader}")
        with laboratory(namespace, tmp_path, config) as lab:
            judgement = judge(lab, "can_be_drained")
        (gap,) = judgement.gaps
        assert "could not be asked for (403): needs create on pods/eviction" in gap
        assert "how much room the nodes have is not known: pods: forbidden (403)" in gap
        assert (0, []) == (judgement.judged, judgement.findings)
    finally:
        for kind in ("clusterrole", "clusterrolebinding"):
            namespace.kubectl("delete", kind, role, "--ignore-not-found")


def test_a_quota_that_is_exceeded(namespace: Namespace, tmp_path: Path) -> None:
    """What a quota no longer lets in can't come again elsewhere."""
    namespace.apply(workload("web", 2))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    namespace.kubectl("create", "quota", "few", "--hard=pods=1")
    namespace.wait("jsonpath={.status.used.pods}=2", "quota/few")

    with laboratory(namespace, tmp_path) as lab:
        judgement = judge(lab, "can_be_drained")

    expected = "quota few: 2 of 1 pods used: a pod that is evicted is not made again\n"
    assert {"web": expected} == texts(judgement)


def test_what_keeps_a_node(namespace: Namespace, tmp_path: Path) -> None:
    """Pods that Cluster Autoscaler would not move are named by the rule that they fall under."""
    scratch = [{"name": "cache", "emptyDir": {}}]
    safe = workload("safe", volumes=scratch)
    annotation = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    safe["spec"]["template"]["metadata"]["annotations"] = {annotation: "true"}
    unsafe = workload("unsafe")
    unsafe["spec"]["template"]["metadata"]["annotations"] = {annotation: "false"}
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}}
    bare["spec"] = workload("bare")["spec"]["template"]["spec"]
    namespace.apply(workload("scratch", volumes=scratch), safe, unsafe, bare)
    namespace.wait("condition=Ready", "pods", "--all")

    with laboratory(namespace, tmp_path) as lab:
        found = [f.violation.found for f in judge(lab, "node_can_be_removed").findings]

    own = json.dumps([text for text in found if namespace.name in text])
    for name, rule in {
        "scratch-": "pods with local storage",
        "unsafe-": f"pods with {annotation}: false",
        "bare": "pods without a controller",
    }.items():
        assert any(rule in text and f"{namespace.name}/{name}" in text for text in found), own
    assert f"{namespace.name}/safe" not in own
    assert any("pods of kube-system without a budget" in text for text in found)
