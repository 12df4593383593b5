"""Which class a pod should have, by what it was made from, and what has spoiled it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from pytest_containerpolicy.experiments.effective_qos import (
    Declared,
    changes_of,
    declared_of,
    is_spoiled,
    qos_class,
)
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Header
from tests.unit.known_clusters import known_cluster

Document = dict[str, Any]
LIMITS = {"cpu": "1", "memory": "1Gi"}
FULL: Document = {"limits": LIMITS, "requests": {"cpu": "1000m", "memory": "1024Mi"}}
LESS: Document = {"limits": LIMITS, "requests": {"cpu": "100m", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"resources": {"requests": {"cpu": "1m"}}}], "Burstable"),
        ([{"resources": {"limits": LIMITS}}], "Guaranteed"),
        ([{"resources": {"limits": LIMITS}}, {}], "Burstable"),
        ([{"resources": FULL}], "Guaranteed"),
        ([{"resources": LESS}], "Burstable"),
        ([{"resources": {"limits": {"cpu": "0", "memory": "1Gi"}}}], "Burstable"),
        ([{"resources": {"limits": {"ephemeral-storage": "1Gi"}}}], "BestEffort"),
    ],
)
def test_qos_classes(containers: list[dict[str, Any]], expected: str) -> None:
    """Requests are limits where only those are given."""
    assert expected == qos_class(containers)


def spec(app: Document, **others: Any) -> Document:
    """A pod's spec with one container, and other parts."""
    containers = [{"name": "app", "resources": app}, *others.pop("beside", ())]
    return {"containers": containers, **others}


def spoiled(pod: Document, declared: Document) -> list[str]:
    """What has spoiled a pod that is not Guaranteed, empty if it was not meant to be."""
    one, other = {"spec": pod}, Declared(spec=declared)
    return list(changes_of(one, other)) if is_spoiled(one, other) else []


def test_changed_requests_spoil() -> None:
    """An autoscaler that changes only the requests of what is Guaranteed makes it Burstable."""
    told = ["given other requests or limits than declared: app"]
    assert told == spoiled(spec(LESS), spec(FULL))
    assert told == spoiled(spec(LESS), spec({"limits": LIMITS}))


def test_added_container_spoils() -> None:
    """A sidecar or an init container that nobody declared counts as every other does."""
    added = [{"name": "proxy"}]
    told = ["put into the pod beside what is declared: proxy"]
    assert told == spoiled(spec(FULL, beside=added), spec(FULL))
    assert told == spoiled(spec(FULL, initContainers=added), spec(FULL))


def test_added_container_beside_a_limit_range() -> None:
    """What a LimitRange makes Guaranteed is spoiled by what is added to it, too."""
    pod = spec(FULL, beside=[{"name": "proxy"}])
    assert "put into the pod beside what is declared: proxy" in spoiled(pod, spec({}))


def test_resources_of_the_whole_pod_spoil() -> None:
    """What is put upon the whole pod outweighs its containers."""
    pod = spec(FULL, resources={"limits": LIMITS, "requests": {"cpu": "1m"}})
    assert ["given other resources of the whole pod than declared"] == spoiled(pod, spec(FULL))


@pytest.mark.parametrize(
    "declared",
    [
        spec(LESS),
        spec({}),
        spec(FULL, beside=[{"name": "other"}]),
        spec(FULL, initContainers=[{"name": "first", "resources": LESS}]),
        spec(FULL, initContainers=[{"name": "proxy", "restartPolicy": "Always"}]),
        spec(FULL, resources={"limits": LIMITS}),
        spec(FULL, resources=LESS),
    ],
)
def test_nothing_to_spoil(declared: Document) -> None:
    """What is not declared Guaranteed need not be so, whatever is added to it."""
    assert [] == spoiled(declared, declared)


def test_limit_range_that_came_later() -> None:
    """Pods that were made before a LimitRange do not have what it gives: nobody declared it."""
    assert [] == spoiled(spec({}), spec({}))


def test_guaranteed_as_a_whole() -> None:
    """Requests and limits of the whole pod make a class, whatever its containers have."""
    declared = spec(LESS, resources=FULL)
    pod = spec(LESS, resources=LESS)
    assert ["given other resources of the whole pod than declared"] == spoiled(pod, declared)


def made_from(
    folder: Path, kind: str, path: str, controller: Document, labels: Document
) -> Declared:
    """What a pod of a workload was made from, by what the API server said of its controller."""
    owner = {"kind": "ReplicaSet", "name": "web-5d", "controller": True}
    pod = {"metadata": {"ownerReferences": [owner], "labels": labels}, "spec": spec(LESS)}
    controller = {
        "kind": path.rpartition("/")[0].rpartition("/")[2],
        "metadata": {"generation": 2},
        "spec": {"template": {"spec": spec(FULL)}},
        **controller,
    }
    workload = Workload(
        ref=ObjectRef(kind=kind, name="web", namespace="shop"),
        model=Model(Header(target="test", platform="kubernetes"), {}),
        platform="kubernetes",
        labels={},
    )
    lab = known_cluster(folder, path, lambda: controller)
    return declared_of(pod, workload, cast(KubernetesLab, lab))


APPS = "/apis/apps/v1/namespaces/shop"


def test_pod_of_a_deployment(tmp_path: Path) -> None:
    """Each revision has a ReplicaSet, which keeps what its pods are made from."""
    path, document = f"{APPS}/replicasets/web-5d", {"kind": "ReplicaSet"}
    found = made_from(tmp_path, "Deployment", path, document, {})
    assert Declared(spec=spec(FULL)) == found


def test_bare_pod(tmp_path: Path) -> None:
    """Nothing but the pod itself says what it was made from."""
    assert Declared(spec=spec(LESS)) == made_from(tmp_path, "Pod", "", {}, {})


@pytest.mark.parametrize(
    ("label", "seen", "expected"), [("web-2", 2, True), ("web-1", 2, False), ("web-2", 1, False)]
)
def test_pod_of_a_stateful_set(label: str, seen: int, expected: bool, tmp_path: Path) -> None:
    """A pod of another revision than the newest was made from something else."""
    document = {
        "kind": "StatefulSet",
        "status": {"observedGeneration": seen, "updateRevision": "web-2"},
    }
    labels = {"controller-revision-hash": label}
    found = made_from(tmp_path, "StatefulSet", f"{APPS}/statefulsets/web", document, labels)
    assert Declared(spec=spec(FULL), is_its_own=expected) == found


@pytest.mark.parametrize(("updated", "expected"), [(3, True), (2, False)])
def test_pod_of_a_daemon_set(updated: int, expected: bool, tmp_path: Path) -> None:
    """As long as some pods are older, each may be."""
    status = {
        "observedGeneration": 2,
        "desiredNumberScheduled": 3,
        "updatedNumberScheduled": updated,
    }
    document = {"kind": "DaemonSet", "status": status}
    found = made_from(tmp_path, "DaemonSet", f"{APPS}/daemonsets/web", document, {})
    assert Declared(spec=spec(FULL), is_its_own=expected) == found
