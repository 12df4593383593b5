"""Workloads of Kubernetes in the model: what controls what, how many, and how they roll out."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Unreadable
from tests.kubernetes_models import POD, controller, model_of_text, workload_named


def test_workloads_are_what_nothing_else_controls(everything: Model) -> None:
    """Every kind of controller, and the pod that has none."""
    expected = {
        "Deployment": 3,
        "StatefulSet": 2,
        "DaemonSet": 1,
        "Job": 1,
        "CronJob": 1,
        "Pod": 1,
    }
    kinds = [workload.kind for workload in everything.all(Workload)]

    assert expected == {kind: kinds.count(kind) for kind in expected}
    assert [w.name for w in everything.all(Workload) if not w.controlled] == ["lonely"]
    finite = [w.name for w in everything.all(Workload) if w.runs_to_completion]
    assert ["nightly", "import"] == finite


OWNERS = [
    ("ReplicaSet", "{apiVersion: apps/v1, kind: Deployment, name: a, controller: true}", True),
    (
        "ReplicaSet",
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: a, controller: true}",
        True,
    ),
    ("ReplicaSet", "{apiVersion: example.com/v1, kind: Fleet, name: a, controller: true}", False),
    (
        "ReplicaSet",
        "{apiVersion: example.com/v1, kind: Deployment, name: a, controller: true}",
        False,
    ),
    ("ReplicaSet", "{apiVersion: apps/v1, kind: Deployment, name: a}", False),
    ("Pod", "{apiVersion: apps/v1, kind: ReplicaSet, name: a, controller: true}", True),
    ("Pod", "{apiVersion: batch/v1, kind: Job, name: a, controller: true}", True),
    ("Pod", "{apiVersion: v1, kind: Node, name: a, controller: true}", False),
]


@pytest.mark.parametrize(("kind", "owner", "owned"), OWNERS)
def test_what_a_workload_controls_is_none_itself(kind: str, owner: str, owned: bool) -> None:
    """Controllers of unknown kinds are not in the model, so what they keep stays in it."""
    text = controller(kind, "") if kind != "Pod" else POD.format(spec="containers: [{name: a}]")
    text = text.replace("namespace: shop", f"namespace: shop, ownerReferences: [{owner}]")

    assert (not owned) == bool(model_of_text(text, live=True).all(Workload))


ROLLOUTS = [
    ("Deployment", 4, "", ("RollingUpdate", "start-first", 1, 1)),
    ("Deployment", 1, "", ("RollingUpdate", "start-first", 0, 1)),
    ("Deployment", 10, "{rollingUpdate: {maxSurge: 0}}", ("RollingUpdate", "stop-first", 2, 0)),
    (
        "Deployment",
        3,
        "{rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}}",
        ("RollingUpdate", "stop-first", 1, 0),
    ),
    (
        "Deployment",
        3,
        "{rollingUpdate: {maxSurge: 1%, maxUnavailable: 99%}}",
        ("RollingUpdate", "start-first", 2, 1),
    ),
    ("Deployment", 5, "{type: Recreate}", ("Recreate", "stop-first", 5, 0)),
    ("StatefulSet", 5, "", ("RollingUpdate", "stop-first", 1, 0)),
    (
        "StatefulSet",
        5,
        "{rollingUpdate: {maxUnavailable: 50%}}",
        ("RollingUpdate", "stop-first", 2, 0),
    ),
    (
        "StatefulSet",
        5,
        "{rollingUpdate: {maxUnavailable: 1%}}",
        ("RollingUpdate", "stop-first", 1, 0),
    ),
    ("StatefulSet", 5, "{type: OnDelete}", ("OnDelete", "manual", 0, 0)),
    ("DaemonSet", 1, "", ("RollingUpdate", "stop-first", 1, 0)),
    (
        "DaemonSet",
        1,
        "{rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}",
        ("RollingUpdate", "start-first", 0, 1),
    ),
    ("Rollout", 4, "", ("Canary", "start-first", 1, 1)),
    ("Rollout", 4, "{canary: {maxSurge: 0}}", ("Canary", "stop-first", 1, 0)),
    ("Rollout", 4, "{blueGreen: {}}", ("BlueGreen", "start-first", 0, 4)),
]


@pytest.mark.parametrize(("kind", "replicas", "strategy", "expected"), ROLLOUTS)
def test_rollouts_are_counts_of_pods(
    kind: str, replicas: int, strategy: str, expected: tuple[Any, ...]
) -> None:
    """Unavailable rounds down and surge up; where nothing could move, one pod does."""
    field = "strategy" if kind in ("Deployment", "Rollout") else "updateStrategy"
    spec = f"replicas: {replicas}, {field}: {strategy or '{}'}"
    rollout = model_of_text(controller(kind, spec)).all(Workload)[0].rollout

    assert rollout is not None
    found = (rollout.strategy, rollout.order, rollout.max_unavailable, rollout.max_surge)
    assert expected == found


def test_rollouts_are_counted_from_the_autoscalers_minimum(everything: Model) -> None:
    """Not from the replicas that happen to be declared: 30 % of 10, not of 5."""
    rolled = workload_named(everything, "rolled")

    assert rolled.rollout is not None
    assert (10, 3) == (rolled.fewest_replicas, rolled.rollout.max_unavailable)


def test_deadlines_and_settling(everything: Model) -> None:
    """progressDeadlineSeconds is 600 for Deployments and nothing for the others."""
    deadlines = {
        w.name: (w.rollout.progress_deadline, w.rollout.settle)
        for w in everything.all(Workload)
        if w.rollout
    }

    assert ((600, 0), (90, 10), (None, 0)) == (
        deadlines["web"],
        deadlines["recreated"],
        deadlines["db"],
    )


def test_a_rollout_takes_the_template_of_its_deployment() -> None:
    """workloadRef: one workload, with the Rollout's name and the Deployment's containers."""
    reference = "{apiVersion: apps/v1, kind: Deployment, name: web}"
    rollout = (
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: r, namespace: shop},"
        f" spec: {{replicas: 2, workloadRef: {reference}}}}}"
    )

    model = model_of_text(f"{controller('Deployment', 'replicas: 0')}\n---\n{rollout}")

    (found,) = model.all(Workload)
    assert ("Rollout shop/r", 2, {"app": "web"}) == (str(found.ref), found.replicas, found.labels)
    assert ["app"] == [container.name for container in found.containers]


def test_a_rollout_whose_deployment_is_missing_is_a_gap() -> None:
    """Its containers are not known, so nothing about it may pass."""
    rollout = (
        "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: r, namespace: shop},"
        " spec: {workloadRef: {kind: Deployment, name: web}}}"
    )

    expected = "r: spec.workloadRef: Deployment web is not among what was read"
    assert (Unreadable("rollouts", expected, "shop"),) == model_of_text(rollout).header.unreadable


NODES = """\
apiVersion: v1
kind: Node
metadata: {name: plain, labels: {disk: ssd}}
status:
  conditions: [{type: Ready, status: "True"}]
  allocatable: {cpu: 1930m, memory: 4Gi, pods: "110"}
---
apiVersion: v1
kind: Node
metadata: {name: cordoned, labels: {disk: ssd}}
spec:
  unschedulable: true
  taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]
---
apiVersion: v1
kind: Node
metadata: {name: tainted, labels: {disk: ssd}}
spec: {taints: [{key: gpu, effect: NoSchedule}]}
---
apiVersion: v1
kind: Node
metadata: {name: other}
"""


def test_a_daemon_runs_on_every_node_that_suits_it() -> None:
    """Cordoned nodes too, tainted ones if tolerated; unknown where no nodes are known."""
    plain = controller("DaemonSet", "")
    picky = plain.replace("containers:", "nodeSelector: {disk: ssd}, containers:")
    bold = plain.replace("containers:", "tolerations: [{operator: Exists}], containers:")

    counts = [
        model_of_text(f"{NODES}---\n{d}").all(Workload)[0].replicas for d in (plain, picky, bold)
    ]

    assert [3, 2, 4] == counts
    assert model_of_text(plain).all(Workload)[0].replicas is None


def test_nodes_have_what_they_can_allocate() -> None:
    """Cores, bytes, pods, readiness and taints."""
    plain, cordoned, tainted, _ = model_of_text(NODES).all(Node)

    assert (1.93, 4 * 2**30, 110, True) == (plain.cpu, plain.memory, plain.pods, plain.ready)
    assert (False, False) == (cordoned.schedulable, cordoned.ready)
    assert ["gpu"] == [taint.key for taint in tainted.taints]
