"""Rollouts of real Deployments under traffic: what is measured, why, and what stands in the way."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.checks.registry import Judgement
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_revisions
from pytest_containerpolicy.experiments import lab as lab_module
from pytest_containerpolicy.experiments.availability import Budget
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_rollout import require_restartable
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.experiments.restore import restore
from pytest_containerpolicy.experiments.rollout import Rollout, measure_rollout
from pytest_containerpolicy.experiments.vantage import measure_availability, viewpoint_of
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import account, kubeconfig_for
from tests.live.limited_access import limited, unlimited
from tests.live.relay import relay
from tests.live.served import DELAY, laboratory, model_of, rolled_out, served, workload
from tests.testbed import Cluster

RATE = 40.0
NO_SUCH_IMAGE = "containerpolicy.invalid/none:1"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_ONE_PER_NODE = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": {"matchLabels": {"app": "hangs"}},
}
CASES: dict[str, dict[str, Any]] = {
    "good": {"lifecycle": DELAY},
    "exits": {"env": {"ON_SIGTERM": "exit"}},
    "drains": {},
    "ignores": {"env": {"ON_SIGTERM": "ignore"}, "grace": 6},
    "early": {"readiness": None, "lifecycle": DELAY, "env": {"READY_DELAY": "3"}},
}


@pytest.fixture(scope="module")
def shop(testbed_cluster: Cluster) -> Iterator[Namespace]:
    """A namespace with the workloads of this module."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    hangs = served(
        "hangs",
        replicas=len(testbed_cluster.nodes),
        strategy={"rollingUpdate": {"maxUnavailable": 0}},
        affinity={"podAntiAffinity": {_REQUIRED: [_ONE_PER_NODE]}},
    )
    others = [served(name, **settings) for name, settings in CASES.items()]
    try:
        rolled_out(namespace, hangs, *others)
        yield namespace
    finally:
        testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of its own for each test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def rollouts(shop: Namespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rollout]:
    """Each case's rollout, measured side by side."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return dict(zip(CASES, pool.map(lambda name: _measured(shop, name), CASES), strict=True))


def _measured(shop: Namespace, name: str) -> Rollout:
    with laboratory(shop) as lab:
        return measure_rollout(workload(lab, name), lab, rate=RATE)


@pytest.mark.parametrize("name", ["good", "ignores"])
def test_nobody_notices(rollouts: dict[str, Rollout], name: str) -> None:
    """Pods that serve on until all know that they stop lose no request."""
    rollout = rollouts[name]
    assert rollout, rollout
    assert (2, 0, ()) == (rollout.replacement.copies, rollout.failed, rollout.causes)


@pytest.mark.parametrize("name", ["exits", "drains"])
def test_gone_too_early(rollouts: dict[str, Rollout], name: str) -> None:
    """Pods that close their port at once lose requests, and the report says why."""
    rollout = rollouts[name]
    assert rollout.completed
    assert rollout.failed > 0, rollout
    assert {"503"}.isdisjoint(rollout.measurement.failures)
    assert "pods were gone before the endpoints knew: no preStop" in rollout.causes[-1].text


def test_ready_too_early(rollouts: dict[str, Rollout]) -> None:
    """Without a readiness probe requests reach pods that can't answer yet."""
    rollout = rollouts["early"]
    assert {"503"} == set(rollout.measurement.failures), rollout
    assert ["no readiness probe: requests reach pods that can't answer yet"] == [
        cause.text for cause in rollout.causes
    ]


def test_how_old_pods_stopped(rollouts: dict[str, Rollout]) -> None:
    """Exit codes and times tell a program that ends by itself from one that had to be killed."""
    assert [{"app": 0}] * 2 == [stop.codes for stop in rollouts["good"].stops]
    assert all(5 <= stop.seconds for stop in rollouts["good"].stops)
    assert [({"app": 137}, True)] * 2 == [(s.codes, s.killed) for s in rollouts["ignores"].stops]


def test_rollout_that_hangs(shop: Namespace) -> None:
    """A rollout without an end is a finding with the scheduler's own words, and is taken back."""
    with laboratory(shop) as lab:
        judgement = _judge(lab, "hangs", deadline=5)

    assert [] == judgement.gaps
    [finding] = judgement.findings
    assert "didn't match pod anti-affinity rules" in finding.violation.why
    assert "the rollout hung" in finding.violation.found
    assert {} == _template(shop, "hangs")["metadata"].get("annotations", {})
    assert "successfully" in shop.kubectl("rollout", "status", "deployment/hangs", "--timeout=9s")
    assert "" == shop.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")


def test_old_pod_that_stays(shop: Namespace) -> None:
    """A Deployment does not count pods that still stop: without their end it is not complete."""
    rolled_out(shop, served("stays", grace=1, replicas=1))
    pod = shop.kubectl("get", "pods", "-l", "app=stays", "-o", "name").strip()
    patch = ("patch", pod, "--type=merge", "-p")
    shop.kubectl(*patch, json.dumps({"metadata": {"finalizers": ["example.com/held"]}}))
    try:
        with laboratory(shop) as lab:
            judgement = _judge(lab, "stays", deadline=4, failed=1_000_000)
    finally:
        shop.kubectl(*patch, json.dumps({"metadata": {"finalizers": None}}))

    assert [] == judgement.gaps
    [finding] = judgement.findings
    assert "the rollout hung" in finding.violation.found
    assert f"{pod.replace('/', ' ')}: told to stop, but still there" == finding.violation.why


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_kinds(shop: Namespace, kind: str) -> None:
    """Their pods are replaced one after the other."""
    name = f"of-{kind.lower()}"
    rolled_out(shop, served(name, kind, lifecycle=DELAY))
    before = _pods(shop, name)
    with laboratory(shop) as lab:
        found = workload(lab, name)
        rollout = measure_rollout(found, lab, rate=10, budget=Budget(1_000_000))

    assert rollout.completed, rollout
    assert len(before) == rollout.replacement.copies
    assert len(before) - 1 == rollout.replacement.fewest_ready
    assert set() == before & _pods(shop, name)


def test_stateful_set_that_hangs(shop: Namespace) -> None:
    """A StatefulSet that waits for an old pod to go is given up, and as before once that went."""
    rolled_out(shop, served("stuck", "StatefulSet", grace=1, replicas=1))
    patch = ("patch", "pod", "stuck-0", "--type=merge", "-p")
    shop.kubectl(*patch, json.dumps({"metadata": {"finalizers": ["example.com/held"]}}))
    free = (*patch, json.dumps({"metadata": {"finalizers": None}}))
    later = threading.Timer(10, shop.kubectl, free)
    with laboratory(shop, progress=_once_rolling(later.start)) as lab:
        judgement = _judge(lab, "stuck", deadline=3, failed=1_000_000)

    assert [] == judgement.gaps
    [finding] = judgement.findings
    assert "pod stuck-0: told to stop, but still there" in finding.violation.why
    assert {} == _template(shop, "stuck", "statefulset")["metadata"].get("annotations", {})


def test_no_right_to_delete_pods(namespace: Namespace, tmp_path: Path) -> None:
    """Who could not take a StatefulSet's hung rollout back does not begin it."""
    rolled_out(namespace, served("kept", "StatefulSet", grace=1, replicas=1))
    patch = {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["patch"]}
    config = limited(namespace, tmp_path, [patch])
    try:
        with laboratory(namespace) as known, laboratory(namespace, kubeconfig=config) as lab:
            found = workload(known, "kept")
            with pytest.raises(CannotLook, match="needs the right to delete pods in namespace"):
                require_restartable(lab, found)
    finally:
        unlimited(namespace)


def test_scaled_meanwhile(namespace: Namespace) -> None:
    """Whoever scales the workload meanwhile makes the measurement void."""
    rolled_out(namespace, served("web"))
    scale = ("scale", "deployment/web", "--replicas=3")
    with laboratory(namespace, progress=_once_rolling(lambda: namespace.kubectl(*scale))) as lab:
        judgement = _judge(lab, "web")

    [gap] = judgement.gaps
    assert "was scaled from 2 to 3 pods meanwhile" in gap
    assert "successfully" in namespace.kubectl(
        "rollout", "status", "deployment/web", "--timeout=60s"
    )


def test_deleted_meanwhile(shop: Namespace) -> None:
    """A workload that somebody deletes meanwhile is no outage, and there is nothing to restore."""
    rolled_out(shop, served("brief", grace=1, replicas=1))
    delete = ("delete", "deployment/brief")
    with laboratory(shop, progress=_once_rolling(lambda: shop.kubectl(*delete))) as lab:
        judgement = _judge(lab, "brief")

    [gap] = judgement.gaps
    assert "was deleted meanwhile" in gap


def test_no_prober_pod(shop: Namespace) -> None:
    """Without a prober pod the API server's proxy has to do, which can't show that none fails."""
    with laboratory(shop, image=NO_SUCH_IMAGE) as lab:
        by_pod = _judge(lab, "ignores", vantage="pod")
        with viewpoint_of(workload(lab, "ignores"), lab) as instead:
            assert "by the API server's proxy" in instead.text
            assert "clients behind kube-proxy later" in instead.caveat

    assert ([], 0) == (by_pod.findings, by_pod.judged)
    assert f"prober image {NO_SUCH_IMAGE}: ErrImagePull" in by_pod.gaps[0]
    assert f"prober image {NO_SUCH_IMAGE}: ErrImagePull" in instead.note


def test_quota_for_one_more_pod(namespace: Namespace) -> None:
    """Where a quota admits a prober or the rollout's additional pod, the prober makes way."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"}}
    rolled_out(namespace, served("web", grace=1, lifecycle={"preStop": {"sleep": {"seconds": 1}}}))
    namespace.apply(quota | {"spec": {"hard": {"pods": "3"}}})
    with laboratory(namespace) as lab:
        with pytest.raises(CannotLook, match="no room for it beside an additional pod"):
            measure_rollout(workload(lab, "web"), lab, vantage="pod")
        with viewpoint_of(workload(lab, "web"), lab) as instead:
            assert "by the API server's proxy" in instead.text


def test_availability_during_an_act_of_ones_own(shop: Namespace) -> None:
    """Traffic flows before, while and after a test does something, and marks what it does."""
    with laboratory(shop) as lab:
        with measure_availability(workload(lab, "good"), lab, rate=RATE, settle=1) as seen:
            seen.mark("scaled up")
            shop.kubectl("scale", "deployment/good", "--replicas=3")
            with pytest.raises(CannotLook, match="before the end"):
                assert seen.measurement
        found = seen.measurement

    assert ["scaled up"] == [mark.text for mark in found.marks]
    assert found.requests > RATE
    assert "through service" in found.vantage
    shop.kubectl("rollout", "status", "deployment/good", "--timeout=60s")


def test_availability_through_the_proxy(shop: Namespace) -> None:
    """A user may choose the API server's proxy, with this run's own credentials."""
    with laboratory(shop) as lab:
        found = workload(lab, "good")
        with measure_availability(found, lab, rate=RATE, vantage="proxy", settle=1) as seen:
            pass

    assert "by the API server's proxy" in seen.measurement.vantage
    assert seen.measurement.requests > seen.measurement.failed


def test_no_right_to_patch(namespace: Namespace, tmp_path: Path) -> None:
    """Without the right to restart, it is named, and nothing is touched."""
    rolled_out(namespace, served("web", grace=1, replicas=1))
    token = account(namespace, "reader")
    rules = ("--verb=get,list,watch,create,delete", "--resource=*.apps,*.coordination.k8s.io,*")
    namespace.kubectl("create", "role", "reader", *rules)
    user = f"--serviceaccount={namespace.name}:reader"
    namespace.kubectl("create", "rolebinding", "reader", "--role=reader", user)
    config = kubeconfig_for(namespace.cluster, tmp_path, {"token": token})
    with laboratory(namespace) as known, laboratory(namespace, kubeconfig=config) as lab:
        found = workload(known, "web")
        with pytest.raises(CannotLook, match=r"namespaces|patch deployments"):
            measure_rollout(found, lab)


def test_server_lost(shop: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the API server is lost in the middle, nothing is judged, and `restore` cleans up."""
    monkeypatch.setattr(kubernetes_revisions, "_OUTAGE_SECONDS", 2.0)
    monkeypatch.setattr(lab_module, "_OUTAGE_SECONDS", 2.0)
    with relay(shop.cluster.server) as between:
        changes: dict[str, object] = {"server": between.url, "tls-server-name": "kubernetes"}
        config = kubeconfig_for(shop.cluster, tmp_path, changes=changes)
        with laboratory(shop, kubeconfig=config, progress=_once_rolling(between.cut)) as lab:
            found = workload(lab, "good")
            with pytest.raises(CannotLook, match="not restored"):
                measure_rollout(found, lab)
        between.mend()
        assert [] == restore(Timeouts(), lambda _: None)

    assert "" == shop.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")
    assert "successfully" in shop.kubectl("rollout", "status", "deployment/good", "--timeout=60s")


def _judge(lab: KubernetesLab, name: str, **params: Any) -> Judgement:
    check = find_experiment("no_downtime").using(lab)
    return check.judge(model_of(lab), {"rate": RATE, **params}, lambda ref: ref.name == name)


def _once_rolling(act: Callable[[], object]) -> Callable[[str], None]:
    """A listener to progress that does something when the rollout first shows."""
    done: list[str] = []

    def listen(text: str) -> None:
        if text.startswith("rollout of") and not done:
            done.append(text)
            act()

    return listen


def _pods(namespace: Namespace, name: str) -> set[str]:
    path = "jsonpath={.items[*].metadata.uid}"
    return set(namespace.kubectl("get", "pods", "-l", f"app={name}", "-o", path).split())


def _template(namespace: Namespace, name: str, kind: str = "deployment") -> dict[str, Any]:
    found = json.loads(namespace.kubectl("get", kind, name, "-o", "json"))
    template: dict[str, Any] = found["spec"]["template"]
    return template
