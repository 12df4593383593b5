"""What the upgrades policies say of a cluster is what it then does."""

from __future__ import annotations

import json
from typing import Any

from pytest_containerpolicy.checks.registry import find_check
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import read
from tests.live.workloads import workload_document
from tests.testbed.shell import wait_until

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
BUDGETS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "neither": ({}, ("Deployment",)),
    "all": ({"minAvailable": 2}, ("Deployment",)),
    "most": ({"minAvailable": "51%"}, ("Deployment",)),
    "half": ({"minAvailable": "50%"}, ("Deployment",)),
    "none": ({"maxUnavailable": "0%"}, ("Deployment",)),
    "some": ({"maxUnavailable": "1%"}, ("Deployment",)),
    "daemons": ({"maxUnavailable": 1}, ("Deployment", "DaemonSet")),
    "counted": ({"minAvailable": 1}, ("Deployment", "DaemonSet")),
    "share": ({"minAvailable": "50%"}, ("Deployment", "DaemonSet")),
    "bare": ({"maxUnavailable": 1}, ("Pod",)),
    "beside": ({"maxUnavailable": 1}, ("Deployment", "Pod")),
    "zero": ({"minAvailable": 0}, ("Pod",)),
}


def test_budgets_that_allow_nothing(namespace: Namespace) -> None:
    """The budgets found are those of which the disruption controller allows no eviction."""
    for name, (rule, kinds) in BUDGETS.items():
        namespace.apply(*(_workload(kind, name) for kind in kinds), _budget(name, name, rule))
    namespace.apply(_workload("StatefulSet", "one"), _budget("one", "one", {"maxUnavailable": 1}))
    of_one_pod = {"statefulset.kubernetes.io/pod-name": "one-0"}
    namespace.apply(_budget("leader", "one", {"maxUnavailable": 1}, of_one_pod))
    namespace.wait("condition=Ready", "pods", "--all")
    wait_until("a budget's status", lambda: _allowed(namespace)["half"] == 1, 30)

    model = _cluster(namespace)
    found = _found("budget_allows_eviction", model) | _found("budget_can_be_computed", model)

    assert {name for name, allowed in _allowed(namespace).items() if not allowed} == found
    assert {"neither", "all", "most", "none", "daemons", "share", "bare", "leader"} == found


def test_two_budgets_over_one_pod(namespace: Namespace) -> None:
    """The eviction API refuses just the pods of the workload found."""
    for name in ("twice", "once"):
        namespace.apply(_workload("Deployment", name), _budget(name, name, {"minAvailable": 1}))
    namespace.apply(_budget("again", "twice", {"maxUnavailable": 1}))
    namespace.wait("condition=Ready", "pods", "--all")

    refused = {name for name in ("twice", "once") if _is_refused(namespace, name)}

    assert {"twice"} == refused == _found("one_budget_per_pod", _cluster(namespace))


SPREADS: dict[str, dict[str, Any]] = {
    "apart": {"affinity": {"podAntiAffinity": {"hard": [{"topologyKey": HOSTNAME}]}}},
    "apart-per-revision": {
        "affinity": {
            "podAntiAffinity": {
                "hard": [{"topologyKey": HOSTNAME, "matchLabelKeys": ["pod-template-hash"]}]
            }
        }
    },
    "zones": {"topologySpreadConstraints": [{"topologyKey": ZONE}]},
    "more-zones": {"topologySpreadConstraints": [{"topologyKey": ZONE, "minDomains": 4}]},
    "racks": {"topologySpreadConstraints": [{"topologyKey": "example.com/rack"}]},
    "nowhere": {"nodeSelector": {"example.com/disk": "ssd"}},
    "somewhere": {"nodeSelector": {"kubernetes.io/os": "linux"}},
    "host-port": {"port": 18480},
}


def test_copies_without_a_place(namespace: Namespace) -> None:
    """The workloads found are those of which a pod stays unschedulable during a rollout."""
    deployments = [_spread(name, spec) for name, spec in SPREADS.items()]
    namespace.apply(*deployments)
    for name in ("apart-per-revision", "zones", "somewhere"):
        namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    namespace.kubectl("rollout", "restart", "deployment")
    for name in ("apart-per-revision", "zones", "somewhere"):
        namespace.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")

    found = _found("copies_can_be_placed", _cluster(namespace))
    assert {"apart", "more-zones", "racks", "nowhere", "host-port"} == found
    assert _unschedulable(namespace) == found


def _found(name: str, model: Model) -> set[str]:
    judgement = find_check(name).judge(model, {})
    assert [] == judgement.gaps
    return {finding.ref.name for finding in judgement.findings}


def _cluster(namespace: Namespace) -> Model:
    kubeconfig = namespace.cluster.kubeconfig
    return build_model(read(kubeconfig, f"&namespace={namespace.name}"))


def _pod(labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    ports = [{"containerPort": 8080, "hostPort": spec.pop("port")}] if "port" in spec else []
    container = {"name": "app", "image": "testbed/pause:1", "ports": ports}
    return {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


def _workload(kind: str, name: str, replicas: int = 2, **pod: Any) -> dict[str, Any]:
    template = _pod({"app": name}, **pod)
    if kind == "Pod":
        metadata = {"name": name, **template["metadata"]}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": template["spec"]}
    scale = {} if kind == "DaemonSet" else {"replicas": replicas}
    return workload_document(name, template["spec"], kind=kind, **scale)


def _budget(
    name: str, app: str, rule: dict[str, Any], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": labels or {"app": app}}, **rule}
    version, metadata = "policy/v1", {"name": name}
    return {
        "apiVersion": version,
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": spec,
    }


def _allowed(namespace: Namespace) -> dict[str, int]:
    items = json.loads(namespace.kubectl("get", "pdb", "-o", "json"))["items"]
    return {
        item["metadata"]["name"]: item.get("status", {}).get("disruptionsAllowed", 0)
        for item in items
    }


def _is_refused(namespace: Namespace, app: str) -> bool:
    pod = namespace.kubectl("get", "pods", "-l", f"app={app}", "-o", "name").split()[0]
    name = pod.removeprefix("pod/")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace.name},
        "deleteOptions": {"dryRun": ["All"]},
    }
    path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
    try:
        namespace.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    except Exception as error:
        assert "more than one PodDisruptionBudget" in str(error)
        return True
    return False


def _spread(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    selector = {"labelSelector": {"matchLabels": {"app": name}}}
    spec = json.loads(json.dumps(spec))
    for rule in spec.get("affinity", {}).get("podAntiAffinity", {}).pop("hard", []):
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        spec["affinity"]["podAntiAffinity"][required] = [rule | selector]
    for rule in spec.get("topologySpreadConstraints", ()):
        rule.update(selector, maxSkew=1, whenUnsatisfiable="DoNotSchedule")
    return _workload("Deployment", name, 3 if name != "more-zones" else 4, **spec)


def _unschedulable(namespace: Namespace) -> set[str]:
    pods = json.loads(namespace.kubectl("get", "pods", "-o", "json"))["items"]
    return {
        pod["metadata"]["labels"]["app"]
        for pod in pods
        for condition in pod["status"].get("conditions", ())
        if condition.get("reason") == "Unschedulable"
    }
