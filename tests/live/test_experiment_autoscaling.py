"""What autoscalers say of themselves, and where their growth ends, on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.autoscaling import foresee_scaling
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.node_autoscaler import nodes_may_be_added
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.conftest import Namespace
from tests.live.drain_specimens import documents, requests, stateful, workload
from tests.live.kubernetes_access import account, kubeconfig_for
from tests.live.test_experiment_drain import laboratory, texts
from tests.testbed.shell import wait_until

# A pod that does nothing may use some CPU while it starts, and is not to be scaled for it.
CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1_000_000}}
QUEUE = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "5"}}
RESOURCE = {"type": "Resource", "resource": CPU}
EXTERNAL = {"type": "External", "external": QUEUE}
STORAGE = "local-path.storageclass.storage.k8s.io/requests.storage"
RBAC = Path(__file__).parents[2] / "examples" / "rbac"
STATUS = "cluster-autoscaler-status"


def autoscaler(
    name: str, most: int = 4, metric: dict[str, Any] = RESOURCE, kind: str = "Deployment"
) -> dict[str, Any]:
    """An autoscaler of the workload of that name."""
    target = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": most, "metrics": [metric]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": spec,
    }


def quota(name: str, **hard: str) -> dict[str, Any]:
    """A ResourceQuota."""
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": hard},
    }


def _limit(namespace: Namespace, name: str, **hard: str) -> None:
    """Make a ResourceQuota, and wait until what is created next is counted."""
    namespace.apply(quota(name, **hard))
    namespace.wait("jsonpath={.status.hard}", f"quota/{name}")


def outlook(
    lab: KubernetesLab, only: str = "", patience: float = 120
) -> tuple[dict[str, str], list[str]]:
    """What is found of a namespace's autoscalers, or of one, and what could not be looked at."""
    model = build_model(lab.target.read(Timeouts()))
    covers = (lambda ref: ref.name == only) if only else None
    check = find_experiment("autoscaler_can_scale").using(lab)
    judgement = check.judge(model, {"patience": patience}, covers)
    return texts(judgement), judgement.gaps


def test_where_the_growth_ends(namespace: Namespace, tmp_path: Path) -> None:
    """Each cause is found where it is and nowhere else, and nothing was scaled or created."""
    small = requests(cpu="1m", memory="8Mi")
    data = stateful("data")
    data["spec"]["template"]["spec"]["containers"][0] |= small
    data["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "2Mi"
    _limit(namespace, "volumes", **{STORAGE: "6Mi"})
    namespace.apply(
        *(workload("fine", container=small), autoscaler("fine")),
        *(workload("blind", container=small), autoscaler("blind", metric=EXTERNAL)),
        *(workload("off", 0, container=small), autoscaler("off")),
        *(workload("big", container=requests(cpu="1m", memory="13Gi")), autoscaler("big")),
        *(data, autoscaler("data", kind="StatefulSet")),
        autoscaler("gone"),
    )
    for name in ("statefulset/data", "deployment/big", "deployment/fine", "deployment/blind"):
        namespace.kubectl("rollout", "status", name, "--timeout=90s")
    before = _uids(namespace)

    with laboratory(namespace, tmp_path) as lab:
        found, gaps = outlook(lab)

    assert [] == gaps
    assert {"blind", "big", "data", "gone"} == found.keys()
    assert "ScalingActive is False: FailedGetExternalMetric: unable to get" in found["blind"]
    assert "AbleToScale is False: FailedGetScale" in found["gone"]
    assert "may scale to 4, ends at 3: nodes: too little memory (needs 13Gi" in found["big"]
    assert f"ends at 3: quota volumes: one more makes 8Mi of 6Mi {STORAGE}" in found["data"]
    assert before == _uids(namespace)
    _check_node_autoscaler(namespace, tmp_path)
    _check_pods_without_a_node(namespace, tmp_path)


def _check_pods_without_a_node(namespace: Namespace, folder: Path) -> None:
    """Pods that were asked for and found no node are no room: scaled to the maximum or not."""
    namespace.kubectl("scale", "deployment/big", "--replicas=4")
    pending = ("--field-selector=status.phase=Pending", "-o", "name")
    wait_until("a pod without a node", lambda: bool(namespace.kubectl("get", "pods", *pending)), 30)
    with laboratory(namespace, folder) as lab:
        found, gaps = outlook(lab, "big")
    assert [] == gaps
    assert "may scale to 4, ends at 3: nodes: too little memory (needs 13Gi" in found["big"]


def _check_node_autoscaler(namespace: Namespace, folder: Path) -> None:
    """Where nodes are added, the room on those that there are says nothing.

    What adds them may be installed in any namespace, this test's own for example.
    """
    with _autoscaler_status(namespace, datetime.now(UTC)), laboratory(namespace, folder) as lab:
        found, (gap,) = outlook(lab, "big")
    assert {} == found
    assert gap.endswith("the nodes that there are end at 3 pods; Cluster Autoscaler may add some")

    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    with _autoscaler_status(namespace, long_ago), laboratory(namespace, folder) as lab:
        found, gaps = outlook(lab, "big")
    assert (["big"], []) == (list(found), gaps)


@contextmanager
def _autoscaler_status(namespace: Namespace, at: datetime) -> Iterator[None]:
    status = f"time: {at:%Y-%m-%d %H:%M:%S}.1 +0000 UTC\nautoscalerStatus: Running"
    metadata = {"name": STATUS}
    namespace.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"status": status}}
    )
    try:
        yield
    finally:
        namespace.kubectl("delete", "configmap", STATUS)


def test_the_right_to_look_for_an_autoscaler(namespace: Namespace, tmp_path: Path) -> None:
    """Without it nothing is known; the role of the examples is enough, and reads nothing else."""
    name, user = f"autoscalers-{namespace.name}", f"{namespace.name}:reader"
    config = kubeconfig_for(namespace.cluster, tmp_path, {"token": account(namespace, "reader")})
    with laboratory(namespace, tmp_path, config) as lab, pytest.raises(CannotLook) as gap:
        nodes_may_be_added(lab)
    assert f"(403): needs list on the configmaps {STATUS} of all namespaces" in str(gap.value)

    namespace.kubectl("apply", "-f", str(RBAC / "probe.yaml"))
    role = ("--clusterrole=containerpolicy-node-autoscalers", f"--serviceaccount={user}")
    namespace.kubectl("create", "clusterrolebinding", name, *role)
    try:
        with (
            _autoscaler_status(namespace, datetime.now(UTC)),
            laboratory(namespace, tmp_path, config) as lab,
        ):
            assert "Cluster Autoscaler" == nodes_may_be_added(lab)
            with pytest.raises(CannotLook, match="needs the right to GET /api/v1/configmaps"):
                lab.items("/api/v1/configmaps")
    finally:
        namespace.kubectl("delete", "clusterrolebinding", name)


def _uids(namespace: Namespace) -> set[tuple[str, str]]:
    kinds = "pods,deployments,statefulsets,persistentvolumeclaims"
    return {
        (item["metadata"]["uid"], json.dumps(item["spec"])) for item in documents(namespace, kinds)
    }


def test_pods_that_are_refused(namespace: Namespace, tmp_path: Path) -> None:
    """A quota, and a security standard that was tightened since, refuse more pods."""
    small = requests(cpu="1m", memory="8Mi")
    _limit(namespace, "few", pods="2")
    namespace.apply(workload("web", container=small), autoscaler("web"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    namespace.kubectl("label", "namespace", namespace.name, restricted)

    with laboratory(namespace, tmp_path) as lab:
        found, gaps = outlook(lab, patience=0)

    assert [] == gaps
    assert "may scale to 4, ends at 2: quota few: one more makes 3 of 2 pods" in found["web"]
    assert "ends at 1: the API server refuses more: " in found["web"]
    assert 'violates PodSecurity "restricted' in found["web"]


def test_labels_that_no_pod_has_yet(namespace: Namespace, tmp_path: Path) -> None:
    """Labels of a new revision that is still to come do not hide the pods that there are."""
    small = requests(cpu="1m", memory="8Mi")
    namespace.apply(workload("web", container=small), autoscaler("web"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    namespace.kubectl("rollout", "pause", "deployment/web")
    change = {"spec": {"template": {"metadata": {"labels": {"release": "new"}}}}}
    namespace.kubectl("patch", "deployment", "web", "-p", json.dumps(change))

    with laboratory(namespace, tmp_path) as lab:
        found, gaps = outlook(lab, patience=0)

    assert [] == gaps
    assert "refuses" not in found.get("web", "")


def test_without_the_rights(namespace: Namespace, tmp_path: Path) -> None:
    """Who may only read is told which rights the dry runs need."""
    small = requests(cpu="1m", memory="8Mi")
    namespace.apply(workload("web", container=small), autoscaler("web"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    name, reader = f"reader-{namespace.name}", f"{namespace.name}:reader"
    token = account(namespace, "reader")
    namespace.kubectl("create", "clusterrole", name, "--verb=get,list", "--resource=*.*")
    try:
        namespace.kubectl(
            "create",
            "clusterrolebinding",
            name,
            f"--clusterrole={name}",
            f"--serviceaccount={reader}",
        )
        config = kubeconfig_for(namespace.cluster, tmp_path, {"token": token})
        with laboratory(namespace, tmp_path, config) as lab:
            (web,) = build_model(lab.target.read(Timeouts())).all(Autoscaler)
            foreseen = foresee_scaling(web, lab, patience=0)
    finally:
        for kind in ("clusterrole", "clusterrolebinding"):
            namespace.kubectl("delete", kind, name, "--ignore-not-found")

    assert () == foreseen.limits
    assert (
        "a dry run was forbidden (403): needs patch on the target's scale",
        "a dry run was forbidden (403): needs create on pods",
    ) == foreseen.unknown
