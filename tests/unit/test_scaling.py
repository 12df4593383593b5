"""What autoscalers say of themselves, and where quotas and volumes end the growth of a workload."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.autoscaler_state import state_of
from pytest_containerpolicy.experiments.autoscaling import is_switched_on
from pytest_containerpolicy.experiments.node_autoscaler import is_fresh
from pytest_containerpolicy.experiments.quotas import exceeded
from pytest_containerpolicy.experiments.scaling_room import Growth, Limit, for_claims, in_quota
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.model.kubernetes_scheduling import pod_amounts
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.targets.kubernetes_pods import PodSpec
from tests.kubernetes_models import model_of_text, workload_named
from tests.kubernetes_values import model_of
from tests.unit.conftest import RECORDED

GIB = 2**30
DATA = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: db}}}}
  template: {{metadata: {{labels: {{app: db}}}}, spec: {{containers: [{{name: app}}]}}}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 2Gi}}}}{more}}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: local}}
provisioner: kubernetes.io/no-provisioner
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: fast, annotations: {{storageclass.kubernetes.io/is-default-class: "true"}}}}
provisioner: csi.example.com
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data-db-1, namespace: shop}}
spec: {{accessModes: [ReadWriteOnce]}}
"""


def pod(**more: Any) -> Pod:
    """A pod of the StatefulSet that requests 1 GiB."""
    fields = {"requests": {"memory": GIB, "pods": 1}, "claims": ("data-db-0",), **more}
    return Pod(namespace="shop", name="db-0", labels={"app": "db"}, **fields)


def growth(more: int = 3, extra: str = "") -> Growth:
    """A StatefulSet of one pod that gets some more; the second one's claim is there already."""
    model = model_of_text(DATA.format(more=extra), live=True)
    return Growth(workload=workload_named(model, "db"), pod=pod(), current=1, more=more)


def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
    """A ResourceQuota with a status."""
    return {
        "metadata": {"name": "team"},
        "spec": {"hard": hard, **spec},
        "status": {"hard": hard, "used": used},
    }


def volume(size: str, name: str = "local", phase: str = "Available") -> dict[str, Any]:
    """A PersistentVolume."""
    spec = {"storageClassName": name, "accessModes": ["ReadWriteOnce"]}
    return {"spec": {**spec, "capacity": {"storage": size}}, "status": {"phase": phase}}


def test_what_recorded_autoscalers_say() -> None:
    """Each problem in the controller's words; what works has its metrics."""
    documents = json.loads((RECORDED / "autoscalers.json").read_text())
    states = {found["metadata"]["name"]: state_of(found) for found in documents}

    problems = {name: [p.text for p in state.problems] for name, state in states.items()}
    assert [] == problems["web"]
    assert "switched off" not in str(states["web"])
    assert "it works (cpu 0 %)" == str(states["web"])
    assert problems["gone"] == [
        "AbleToScale is False: FailedGetScale: the HPA controller was unable to get the target's"
        ' current scale: deployments.apps "gone" not found'
    ]
    assert problems["norequest"] == [
        "ScalingActive is False: FailedGetResourceMetric: failed to get cpu utilization: missing"
        " request for cpu in container a of Pod norequest-68587b9d99-jfnrn"
    ]
    assert problems["half"][0].startswith("ScalingActive is False: FailedGetExternalMetric: unable")
    assert not any(p.may_pass for state in states.values() for p in state.problems)


def test_a_metric_without_a_value() -> None:
    """The others keep the autoscaler active, and it never scales down."""
    documents = json.loads((RECORDED / "autoscalers.json").read_text())
    half = next(found for found in documents if found["metadata"]["name"] == "half")
    half["status"]["conditions"][1]["status"] = "True"

    (problem,) = state_of(half).problems
    assert ("metric queue has no value", "spec.metrics[1]") == (problem.text, problem.path)


def test_what_is_scaled_to_nothing() -> None:
    """Somebody switched it off: no problem of the autoscaler's."""
    condition = {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}
    document = {"spec": {}, "status": {"conditions": [condition | {"message": "replicas is 0"}]}}

    state = state_of(document)
    assert (True, ()) == (state.is_disabled, state.problems)


@pytest.mark.parametrize(
    ("replicas", "least", "expected"), [(0, 1, False), (1, 1, True), (0, 0, True)]
)
def test_who_is_switched_on(replicas: int, least: int, expected: bool) -> None:
    """Nothing can be tried of what somebody scaled to 0; what may scale there itself is at work."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}}
    documents = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template,
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": 4},
        },
    ]
    (autoscaler,) = model_of(documents, live=True).all(Autoscaler)

    assert expected is is_switched_on(autoscaler)


def test_more_load_than_the_maximum_allows() -> None:
    """The controller says that it wants more."""
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": ""}
        for kind, reason in (
            ("AbleToScale", "ReadyForNewScale"),
            ("ScalingActive", "ValidMetricFound"),
            ("ScalingLimited", "TooManyReplicas"),
        )
    ]
    (problem,) = state_of(
        {"spec": {"maxReplicas": 5}, "status": {"conditions": conditions}}
    ).problems
    assert "it wants more pods than its maxReplicas of 5" == problem.text


@pytest.mark.parametrize(
    ("hard", "used", "end"),
    [
        ({"pods": "3"}, {"pods": "1"}, 2),
        ({"pods": "4"}, {"pods": "1"}, None),
        ({"requests.memory": "2560Mi"}, {"requests.memory": "1Gi"}, 1),
        ({"persistentvolumeclaims": "3"}, {"persistentvolumeclaims": "2"}, 2),
        ({"requests.storage": "5Gi"}, {"requests.storage": "2Gi"}, 2),
        ({"fast.storageclass.storage.k8s.io/requests.storage": "2Gi"}, {}, 2),
        ({"limits.cpu": "1"}, {"limits.cpu": "1"}, None),
    ],
)
def test_where_a_quota_ends(hard: dict[str, str], used: dict[str, str], end: int | None) -> None:
    """Of three more pods the first has its claim already; what none counts ends nothing."""
    limit = in_quota(growth(), quota(hard, used))

    assert end == (limit.more if limit else None)


@pytest.mark.parametrize(
    ("scopes", "own", "counted"),
    [
        (["NotTerminating"], {}, True),
        (["Terminating"], {}, False),
        (["Terminating"], {"has_deadline": True}, True),
        (["BestEffort"], {}, False),
        (["BestEffort"], {"requests": {"pods": 1}}, True),
        (["NotBestEffort"], {}, True),
    ],
)
def test_quotas_with_scopes(scopes: list[str], own: dict[str, Any], counted: bool) -> None:
    """A quota counts the pods within its scopes only."""
    full = quota({"pods": "1"}, {"pods": "2"}, scopes=scopes)

    assert ("quota team: 2 of 1 pods used" if counted else "") == exceeded(full, pod(**own))


def test_quotas_by_priority() -> None:
    """Within the classes that the quota names; a scope that is not known is not guessed."""
    term = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    high = quota({"pods": "1"}, {"pods": "2"}, scopeSelector={"matchExpressions": [term]})
    other = quota({"pods": "1"}, {"pods": "2"}, scopes=["CrossNamespacePodAffinity"])

    assert [False, True] == [bool(exceeded(high, pod(priority_class=c))) for c in ("", "high")]
    with pytest.raises(
        CannotLook, match="quota team counts pod shop/db-0 is not known: scope Cross"
    ):
        exceeded(other, pod())


def test_volumes_that_nothing_makes() -> None:
    """Each new claim takes the smallest free volume that suits it, until none is left."""
    local = growth(extra=", storageClassName: local")
    volumes = [volume("2Gi"), volume("1Gi"), volume("9Gi", "other"), volume("9Gi", phase="Bound")]

    expected = Limit(2, "claim data-db-3: no volume of class local is left")
    assert expected == for_claims(local, volumes)
    assert for_claims(local, [*volumes, volume("3Gi")]) is None
    assert for_claims(growth(), []) is None


def test_a_storage_class_that_is_not_there() -> None:
    """No claim of it is ever bound."""
    limit = for_claims(growth(extra=", storageClassName: gone"), [])

    assert Limit(1, "claim data-db-2: there is no storage class gone") == limit


def test_requests_of_a_whole_pod() -> None:
    """Init containers run before the mains, sidecars beside them; the pod's own amounts win."""
    spec = """
    initContainers:
    - {name: sidecar, restartPolicy: Always, resources: {requests: {cpu: 100m, memory: 1Gi}}}
    - {name: init, resources: {requests: {cpu: "1", memory: 1Gi}}}
    containers:
    - {name: a, resources: {requests: {cpu: 200m, memory: 2Gi, gpu: 1}, limits: {memory: 3Gi}}}
    - {name: b, resources: {requests: {cpu: 300m}}}
    overhead: {cpu: 50m}
    """
    found = msgspec.yaml.decode(spec, type=PodSpec)

    amounts = pod_amounts(found, "requests")
    assert {"cpu": 1.15, "memory": 3 * GIB, "gpu": 1} == pytest.approx(amounts)
    assert {"memory": 3 * GIB, "cpu": 0.05} == pod_amounts(found, "limits")
    whole = msgspec.convert({"requests": {"cpu": "2"}}, type(found.containers[0].resources))
    found.resources = whole
    assert pytest.approx(2.05) == pod_amounts(found, "requests")["cpu"]


def test_an_autoscaler_that_is_gone() -> None:
    """Its status stays behind, and grows old."""
    now = datetime.now(UTC)
    texts = [f"time: {now - timedelta(minutes=m):%Y-%m-%d %H:%M:%S}.5 +0000 UTC" for m in (1, 60)]

    assert [True, False] == [is_fresh({"data": {"status": text}}) for text in texts]
    assert is_fresh({})
