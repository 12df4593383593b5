"""Workloads whose pods are of several revisions on purpose, or of which some are dead already."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.experiments.drain_measurement import measure_drain
from pytest_containerpolicy.experiments.inside.pods import Pods
from tests.live.conftest import Namespace
from tests.live.experiment_verdicts import Verdict, verdict
from tests.live.served import laboratory, rolled_out, served, workload
from tests.live.workloads import workload_document
from tests.testbed.shell import wait_until

NEW = {"chart": "web-2"}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}
PARTITION = {"updateStrategy": {"rollingUpdate": {"partition": 1}}}
EVICTED = {
    "phase": "Failed",
    "reason": "Evicted",
    "conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed"}],
    "containerStatuses": None,
}
Ask = Callable[..., Verdict]


def _made(name: str, kind: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "testbed/distroless:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    }
    pod = {"terminationGracePeriodSeconds": 5, "containers": [container]}
    return workload_document(name, pod, kind=kind, replicas=2, **spec)


def _relabel(namespace: Namespace, kind: str, name: str) -> None:
    """A new revision, whose pods have a label that older ones lack."""
    change = {"spec": {"template": {"metadata": {"labels": NEW}}}}
    namespace.kubectl("patch", kind, name, "-p", json.dumps(change))


def _evict(namespace: Namespace, name: str) -> None:
    """Have one pod look as the kubelet leaves it when it evicts one: dead, and replaced."""
    pod = namespace.kubectl("get", "pods", "-l", f"app={name}", "-o", "name").split()[0]
    namespace.kubectl("patch", pod, "--subresource=status", "-p", json.dumps({"status": EVICTED}))
    namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    wait_until("a third pod", lambda: len(_pods(namespace, name)) == 3, 60)
    namespace.wait("jsonpath={.status.availableReplicas}=2", f"deployment/{name}")


def _pods(namespace: Namespace, name: str) -> list[str]:
    return namespace.kubectl("get", "pods", "-l", f"app={name}", "-o", "name").split()


@pytest.fixture(scope="module")
def staged(testbed_cluster: Any) -> Iterator[Namespace]:
    """A namespace with workloads that are well, each in its own unusual way."""
    name = f"staged-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    try:
        rolled_out(
            namespace,
            [_made("evicted", "Deployment")],
            [_made("paused", "Deployment")],
            [_made("staged", "StatefulSet", **PARTITION)],
        )
        namespace.apply(_made("on-delete", "StatefulSet", **ON_DELETE))
        namespace.wait("jsonpath={.status.availableReplicas}=2", "statefulset/on-delete")
        namespace.kubectl("rollout", "pause", "deployment/paused")
        _relabel(namespace, "deployment", "paused")
        _relabel(namespace, "statefulset", "on-delete")
        _relabel(namespace, "statefulset", "staged")
        namespace.kubectl("rollout", "status", "statefulset/staged", "--timeout=90s")
        _evict(namespace, "evicted")
        yield namespace
    finally:
        testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def ask(staged: Namespace, tmp_path: Path) -> Ask:
    """Asks an experiment of a workload."""
    cluster = staged.cluster
    uri = f"k8s://{cluster.context}?kubeconfig={cluster.kubeconfig}&namespace={staged.name}"
    return lambda experiment, name, **params: verdict(experiment, uri, name, tmp_path, **params)


@pytest.mark.parametrize("subject", ["evicted", "paused", "on-delete", "staged"])
def test_crash(ask: Ask, subject: str) -> None:
    """The main process of a pod that is alive is killed, and comes back."""
    found = ask("recovers_from_crash", subject, within=60, stays=3)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


@pytest.mark.parametrize("subject", ["evicted", "paused", "on-delete", "staged"])
def test_stop(ask: Ask, subject: str) -> None:
    """A pod that is alive is stopped and replaced, be it of which revision it may."""
    found = ask("stops_in_time", subject)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "exit 0 after" in found.figures


def test_copies_of_every_revision(staged: Namespace) -> None:
    """Pods without the label that newer ones have are looked into as well; dead ones are not."""
    assert [] != [name for name in _pods(staged, "staged") if not _has_new_label(staged, name)]
    with laboratory(staged) as lab:
        found = {
            name: [copy.name for copy in Pods(lab).copies(workload(lab, name))]
            for name in ("staged", "evicted")
        }
    assert ["pod staged-0", "pod staged-1"] == found["staged"]
    assert 2 == len(found["evicted"])


def _has_new_label(namespace: Namespace, pod: str) -> bool:
    return "web-2" in namespace.kubectl("get", pod, "-o", "jsonpath={.metadata.labels}")


def test_drain(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods of an older template are seen to leave a node, and others to come in their place."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    namespace.apply(*served("db", "StatefulSet", grace=8, **ON_DELETE))
    namespace.wait("jsonpath={.status.availableReplicas}=2", "statefulset/db")
    _relabel(namespace, "statefulset", "db")
    with laboratory(namespace) as lab:
        drain = measure_drain(workload(lab, "db"), lab, rate=20, settle=1, patience=30)

    assert drain.replacement and drain.completed
    assert drain.replacement.copies == len(drain.replacement.stops) > 0
