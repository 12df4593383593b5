"""Which pods of a workload experiments choose and judge, and changes that admission spoils."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_crashing, kubernetes_stopping
from pytest_containerpolicy.experiments.dns_isolated import isolated_pods
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_alive,
)
from pytest_containerpolicy.experiments.kubernetes_revisions import revised, take_back_revision
from pytest_containerpolicy.experiments.lab import LabOptions
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.kubernetes_models import controller, model_of_text, workload_named
from tests.unit.test_laboratories import KUBECONFIG

PODS = "/api/v1/namespaces/shop/pods"
WEB = "/apis/apps/v1/namespaces/shop/statefulsets/web"
IMAGE = "/spec/template/spec/containers/0/image"
STATEFUL_SET: Document = {
    "kind": "StatefulSet",
    "metadata": {"name": "web", "namespace": "shop", "uid": "w", "generation": 1},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "app", "image": "web:1"}]}},
    },
    "status": {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "currentRevision": "web-1",
        "updateRevision": "web-1",
    },
}
POLICY = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{podSelector: {{matchLabels: {labels}}}, policyTypes: [Egress], egress: [{egress}]}}
"""


class Cluster(KubernetesLab):
    """One StatefulSet and its pods; `registry` is put before the images of templates."""

    identity = "uid"
    document: Document
    pods_there: list[Document]
    registry = ""

    def _request(self, method: str, path: str, content: Any = None, **more: Any) -> Document:
        if method == "DELETE":
            self.pods_there = [pod for pod in self.pods_there if not path.endswith(_name(pod))]
            return {}
        if method == "PATCH":
            return self._patched(content, bool(more.get("query")))
        if path == PODS:
            return {"items": list(filter(_selected(more["query"]), self.pods_there))}
        found = {WEB: self.document} | {f"{PODS}/{_name(pod)}": pod for pod in self.pods_there}
        if path not in found:
            raise Refused("none", 404, "")
        return found[path]

    def _patched(self, change: list[Document], dry_run: bool) -> Document:
        made = copy.deepcopy(self.document)
        container = made["spec"]["template"]["spec"]["containers"][0]
        container["image"] = self.registry + change[-1]["value"]
        self.document = self.document if dry_run else made
        return made


def _name(pod: Document) -> str:
    return str(pod["metadata"]["name"])


def _selected(query: Document | None) -> Any:
    wanted = (query or {}).get("labelSelector", "app=web").split("=")
    return lambda pod: pod["metadata"]["labels"].get(wanted[0]) == wanted[1]


def _pod(name: str, ready: bool = True, revision: str = "web-1", **status: Any) -> Document:
    owner = {"kind": "StatefulSet", "name": "web", "uid": "w", "controller": True}
    labels = {"app": "web", "controller-revision-hash": revision}
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": name,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Running", "conditions": [condition], **status},
    }


def _workload(more: str = "") -> Workload:
    text = controller("StatefulSet", "").replace("{app: web}", "{app: web, chart: web-2}")
    return workload_named(model_of_text(text + more), "web")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A StatefulSet with two pods that are well."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    target = parse_target(f"k8s://dev?kubeconfig={tmp_path}/kubeconfig&namespace=shop")
    assert isinstance(target, KubernetesTarget)
    options = LabOptions(level="disrupt")
    made = Cluster(target, Timeouts(), options, Journal(tmp_path, "run"))
    made.document, made.pods_there = STATEFUL_SET, [_pod("web-0"), _pod("web-1")]
    yield made
    made.close()


def test_pods_of_an_older_template(cluster: Cluster) -> None:
    """Pods that lack a label which the present template has are the workload's all the same."""
    assert {"app": "web", "chart": "web-2"} == _workload().labels
    assert ["web-0", "web-1"] == [_name(pod) for pod in cluster.pods(_workload())]


def test_pods_of_others_with_like_labels(cluster: Cluster) -> None:
    """Where a selector has no plain labels, the controller alone tells."""
    stranger = _pod("other-0")
    stranger["metadata"]["ownerReferences"][0]["name"] = "other"
    spec = STATEFUL_SET["spec"] | {"selector": {"matchExpressions": []}}
    cluster.document = STATEFUL_SET | {"spec": spec}
    cluster.pods_there.append(stranger)

    assert ["web-0", "web-1"] == [_name(pod) for pod in cluster.pods(_workload())]


def test_workload_that_is_gone(cluster: Cluster) -> None:
    """What is gone keeps the labels that were read."""
    cluster.document = {}
    name = controller("StatefulSet", "").replace("name: web, n", "name: gone, n")
    gone = workload_named(model_of_text(name), "gone")

    assert gone is cluster.of_any_revision(gone)
    assert [] == cluster.pods(gone)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (_pod("web-0"), True),
        (_pod("web-0", ready=False), True),
        (_pod("web-0", phase="Failed", reason="Evicted"), False),
        (_pod("web-0", phase="Succeeded"), False),
        (_pod("web-0") | {"metadata": {"deletionTimestamp": "now"}}, False),
    ],
)
def test_pods_that_are_alive(pod: Document, expected: bool) -> None:
    """What was evicted, has ended or is told to end does not count."""
    assert expected is is_alive(pod)


def test_pod_that_is_chosen(cluster: Cluster) -> None:
    """Of the pods that are alive, the one that the controller would remove first."""
    cluster.pods_there.append(_pod("web-2", ready=False, phase="Failed", reason="Evicted"))

    with kubernetes_stopping.steady(cluster, _workload()) as pod:
        assert "web-1" == _name(pod)


@pytest.mark.parametrize(
    "strategy", [{"type": "OnDelete"}, {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}]
)
def test_staged_revisions_are_at_rest(cluster: Cluster, strategy: Document) -> None:
    """A pod of a workload that is of two revisions on purpose may be stopped."""
    spec = STATEFUL_SET["spec"] | {"updateStrategy": strategy}
    status = STATEFUL_SET["status"] | {"updatedReplicas": 1, "updateRevision": "web-2"}
    cluster.document = STATEFUL_SET | {"spec": spec, "status": status}

    with kubernetes_stopping.steady(cluster, _workload()) as pod:
        assert "web-1" == _name(pod)


def test_rollout_under_way(cluster: Cluster) -> None:
    """A pod of a workload that is being rolled out is left alone."""
    cluster.document = STATEFUL_SET | {"status": STATEFUL_SET["status"] | {"updatedReplicas": 1}}

    with (
        pytest.raises(CannotLook, match="a rollout is under way"),
        kubernetes_stopping.steady(cluster, _workload()),
    ):
        pass


def test_loop_of_a_pod_on_its_way_out(cluster: Cluster) -> None:
    """What crashes again and again counts, unless it is about to go."""
    waiting = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    cluster.pods_there = [_pod("web-0", containerStatuses=[waiting])]
    found = kubernetes_crashing._in_a_loop(cluster, _workload(), 5, 1)
    assert found and "container app of pod web-0" == found.instance

    cluster.pods_there[0]["metadata"]["deletionTimestamp"] = "now"
    assert None is kubernetes_crashing._in_a_loop(cluster, _workload(), 5, 1)


def test_container_that_has_not_started(cluster: Cluster) -> None:
    """Without a container there is nothing to kill, and that is said."""
    found = kubernetes_crashing._kill(cluster, _pod("web-0"), {"name": "app"}, lambda: None)
    assert "it has not started" == found


def test_image_that_admission_changes(cluster: Cluster) -> None:
    """A value that would not be stored as it is given is not given: it could not be taken back."""
    cluster.registry = "registry.corp/"

    with (
        pytest.raises(CannotLook, match=r"admission changes 'bad:1' to 'registry\.corp/bad:1'"),
        revised(cluster, STATEFUL_SET, IMAGE, "bad:1", keep=False),
    ):
        pass

    assert STATEFUL_SET == cluster.document
    assert [] == cluster.journal.pending


def test_image_that_is_kept(cluster: Cluster) -> None:
    """A value that is stored as it is given is there in the block, and not after it."""
    with revised(cluster, STATEFUL_SET, IMAGE, "bad:1", keep=False) as made:
        assert made == cluster.document != STATEFUL_SET
    assert STATEFUL_SET == cluster.document


def _take_back(cluster: Cluster) -> list[str]:
    take_back_revision(cluster, WEB, "w", IMAGE, "bad:1", "web:1", keep=False, seconds=0)
    return [_name(pod) for pod in cluster.pods_there]


def test_broken_pods_are_freed(cluster: Cluster) -> None:
    """A pod of another revision that is not ready goes, whatever admission made of its image."""
    cluster.pods_there[1] = _pod("web-1", ready=False, revision="web-2")
    assert ["web-0"] == _take_back(cluster)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": STATEFUL_SET["metadata"] | {"generation": 2}},
        {"spec": STATEFUL_SET["spec"] | {"updateStrategy": {"type": "OnDelete"}}},
    ],
    ids=["not seen", "staged"],
)
def test_pods_that_are_not_ours_to_free(cluster: Cluster, change: Document) -> None:
    """As long as it is not known which revision is wanted, or several are, no pod goes."""
    cluster.document = STATEFUL_SET | change
    cluster.pods_there[1] = _pod("web-1", ready=False, revision="web-2")
    with suppress(CannotLook):
        _take_back(cluster)
    assert ["web-0", "web-1"] == [_name(pod) for pod in cluster.pods_there]


def test_pods_with_isolated_egress() -> None:
    """One pod of each set of policies is asked; not those that are free, or fully sealed."""
    rules = [
        POLICY.format(name="old", labels="{app: web}", egress=""),
        POLICY.format(name="new", labels="{chart: web-2}", egress="{ports: [{port: 80}]}"),
    ]
    workload = _workload("".join(rules))
    pods = [_pod("web-0"), _pod("web-1"), _pod("web-2")]
    for pod in pods[1:]:
        pod["metadata"]["labels"]["chart"] = "web-2"

    assert ["web-1"] == [_name(pod) for pod in isolated_pods(workload, pods)]
