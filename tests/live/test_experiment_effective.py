"""What is in force in pods, read from inside them, against what they declare."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field

from pytest_containerpolicy.checks.registry import Judgement
from pytest_containerpolicy.experiments.lab import Lab, LabOptions, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.live.effective_pods import (
    DISTROLESS,
    PYTHON,
    SERVER,
    container,
    faulty,
    hiding,
    pod,
    well,
)
from tests.live.experiment_verdicts import PROBER
from tests.live.kubernetes_access import account, kubeconfig_for
from tests.testbed import Cluster
from tests.testbed.shell import wait_until

RESIZE = {"spec": {"containers": [{"name": "app", "resources": {"limits": {"memory": "20Mi"}}}]}}
RESTLESS, NEVER_UP = {"killed-whole", "crashing"}, {"unpulled", "unplaced"}
SOON: dict[str, dict[str, Any]] = {"not_throttled": {"enough": 20}, "no_crash_loop": {"at_most": 1}}


class Scene(Struct, dict=True):
    """A namespace of pods, and a laboratory that looks into them."""

    lab: Lab
    model: Model
    answers: dict[str, Judgement] = field(default_factory=dict)

    def judge(self, experiment: str) -> Judgement:
        """The answer of an experiment about all pods, asked for once."""
        if experiment not in self.answers:
            check = find_experiment(experiment).using(self.lab)
            self.answers[experiment] = check.judge(self.model, SOON.get(experiment, {}))
        return self.answers[experiment]

    def found(self, experiment: str) -> dict[str, list[str]]:
        """What an experiment finds wrong, by the pod's name."""
        told: dict[str, list[str]] = {}
        for finding in self.judge(experiment).findings:
            told.setdefault(finding.ref.name, []).append(finding.violation.found)
        return told


@pytest.fixture(scope="module")
def scene(testbed_cluster: Cluster) -> Iterator[Scene]:
    """All pods, once what is to befall them has befallen."""
    name = f"effective-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    try:
        namespace.apply(*well(), *faulty())
        _await_misfortunes(namespace)
        uri = f"k8s://?kubeconfig={testbed_cluster.kubeconfig}&namespace={name}"
        target = parse_target(uri)
        lab = open_lab(target, Timeouts(), LabOptions(level="probe", prober_image=PROBER))
        with closing(lab):
            yield Scene(lab, build_model(take_inventory(target, Timeouts())))
    finally:
        testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


def _await_misfortunes(namespace: Namespace) -> None:
    names = [f"pod/{one['metadata']['name']}" for one in (*well(), *faulty())]
    restless = [f"pod/{name}" for name in (*RESTLESS, *NEVER_UP)]
    namespace.wait("condition=Ready", *(name for name in names if name not in restless))
    namespace.wait("jsonpath={.status.containerStatuses[0].state.waiting}", "pod/unpulled")
    namespace.kubectl("patch", "pod", "resized", "--subresource=resize", "-p", json.dumps(RESIZE))
    for name, least in (("crashing", 2), ("killed-whole", 1)):
        wait_until(f"{name} to fall", partial(_has_restarted, namespace, name, least), 120)
    wait_until("a kill", lambda: _count(namespace, "killed", "memory", "oom_kill"), 60)
    wait_until("throttling", lambda: _count(namespace, "busy", "cpu", "nr_periods") > 25, 120)


def _has_restarted(namespace: Namespace, name: str, least: int) -> bool:
    path = "jsonpath={.status.containerStatuses[0].restartCount}"
    return int(namespace.kubectl("get", "pod", name, "-o", path) or 0) >= least


def _count(namespace: Namespace, name: str, controller: str, key: str) -> int:
    """A count of a cgroup of either version."""
    files = f"/sys/fs/cgroup/{controller}/{controller}.* /sys/fs/cgroup/{controller}.*"
    text = namespace.inside(name, "sh", "-c", f"grep -hs '^{key} ' {files} || true")
    return max((int(line.split()[1]) for line in text.splitlines()), default=0)


def test_declared_limits_are_in_force(scene: Scene) -> None:
    """A shell, none, a shared process namespace, a limit of the whole pod: all are as declared.

    Only the resize that the kubelet can't carry out is not in force.
    """
    assert {"resized": ["memory limit 64Mi in pod resized"]} == scene.found("limits_in_force")


def test_resize_says_why(scene: Scene) -> None:
    """The kubelet's own words tell why a resize is not in force."""
    (finding,) = scene.judge("limits_in_force").findings
    assert "its resize is" in finding.violation.why
    assert "20Mi, as declared" == finding.violation.wanted


def test_kills_are_found(scene: Scene) -> None:
    """A killed child shows in the cgroup only, a killed container in the pod's status."""
    assert {
        "killed": ["1 processes killed for want of memory at a limit of 16Mi in pod killed"],
        "killed-whole": ["killed for want of memory in pod killed-whole"],
    } == scene.found("no_oom_kills")


def test_throttling_is_found(scene: Scene) -> None:
    """A program that wants eighteen times its CPU limit stands still most of the time."""
    found = scene.found("not_throttled")
    assert ["busy"] == list(found)
    assert "at 0.05 cores" in found["busy"][0]


def test_crash_loop_is_found(scene: Scene) -> None:
    """Containers that end again and again, by themselves or killed."""
    found = scene.found("no_crash_loop")
    assert {"crashing", "killed-whole"} >= set(found) >= {"crashing"}
    assert "exit code 3 (Error)" in found["crashing"][0]


def test_rights_are_as_declared(scene: Scene) -> None:
    """Privileged outweighs the capabilities that are dropped; the others run as declared."""
    found = scene.found("runs_as_declared")
    assert ["privileged"] == list(found)
    assert "may have AUDIT_CONTROL, AUDIT_READ" in found["privileged"][0]


def test_mounts_are_as_declared(scene: Scene) -> None:
    """A volume that is gone, one that is read-only, a full one, and one of another user."""
    found = scene.found("mounts_in_force")
    (full,) = found.pop("full")
    assert full.startswith("/full has ") and full.endswith(" of 1Mi free in pod full")
    assert {
        "unmounted": [
            "nothing is mounted on /gone in pod unmounted",
            "/stuck is mounted read-only in pod unmounted",
        ],
        "foreign": ["/data may not be written by uid 1000 in pod foreign"],
        "left-root": ["/theirs may not be written by uid 1000 in pod left-root"],
    } == found


def test_mounts_are_measured(scene: Scene) -> None:
    """The file system and the space of every volume are told, whatever the verdict."""
    scene.judge("mounts_in_force")
    assert any("Pod " in text and "/data: " in text for text in scene.lab.figures)


def test_state_beside_volumes_is_found(scene: Scene) -> None:
    """Files on the root file system are named with their size, old dates or not; volumes not."""
    found = "5 bytes written beside the volumes:"
    assert {
        "full": [f"{found} /srv/kept (3 bytes), /srv/state (2 bytes) in pod full"],
        "hiding": [f"{found} /kept/state (5 bytes) in pod hiding"],
    } == scene.found("state_in_volumes")


def test_state_that_nobody_may_see_is_a_gap(namespace: Namespace) -> None:
    """Neither a shell nor the first process may look into a folder that a child has written to.

    Folders of the image that are closed to whoever looks, and are as they were, hide nothing.
    """
    user = {"runAsUser": 1000}
    namespace.apply(
        pod("hiding", hiding()),
        pod("user", container("app", PYTHON, command=["sleep", "1000"], securityContext=user)),
    )
    namespace.wait("condition=Ready", "pod/hiding", "pod/user")
    judgement = _judge(namespace, "state_in_volumes")
    assert (1, []) == (judgement.judged, judgement.findings)
    (gap,) = judgement.gaps
    assert "pod hiding: what it has written in /kept may not be looked at" in gap


def test_restarts_whose_ends_are_forgotten(namespace: Namespace) -> None:
    """Where ended containers were removed from the node, only their number is left of them."""
    namespace.apply(pod("web", container(), nodeSelector={"kubernetes.io/hostname": "nowhere"}))
    status = {
        "name": "app",
        "image": SERVER,
        "imageID": "",
        "ready": True,
        "restartCount": 40,
        "lastState": {},
        "state": {"running": {"startedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}},
    }
    change = json.dumps({"status": {"containerStatuses": [status]}})
    namespace.kubectl("patch", "pod", "web", "--subresource=status", "-p", change)
    (finding,) = _judge(namespace, "no_crash_loop").findings
    assert "restarted 40 times in pod web" == finding.violation.found


@pytest.mark.parametrize(
    "experiment",
    ["limits_in_force", "no_oom_kills", "not_throttled", "runs_as_declared", "state_in_volumes"],
)
def test_what_does_not_run_is_a_gap(scene: Scene, experiment: str) -> None:
    """Pods before their start, or between two, can't be looked into; that is said of no others."""
    gaps = scene.judge(experiment).gaps
    told = {gap.split(",")[0].rpartition("/")[2]: gap for gap in gaps if "does not run" in gap}
    assert RESTLESS | NEVER_UP >= told.keys() >= NEVER_UP
    others = [gap for gap in gaps if gap not in told.values()]
    # Nobody knows yet of who has run for too short a time.
    assert [] == [gap for gap in others if "periods only" not in gap]


def test_admission_spoils_guarantee(namespace: Namespace) -> None:
    """Guaranteed templates whose pods have another container, or lower requests, than declared."""
    whole = container(resources={"limits": {"memory": "16Mi", "cpu": "50m"}})
    extra = container("extra", env={"PORT": "81"}, resources={})
    for name, containers in (
        ("meshed", [whole, extra]),
        ("lowered", [container(memory="16Mi", cpu="50m")]),
        ("plain", [whole]),
    ):
        labels = {"app": name}
        # A ReplicaSet takes over what has its labels, as if admission had added to its own pod.
        found = pod(f"{name}-1", *containers)
        found["metadata"]["labels"] = labels
        template = {"metadata": {"labels": labels}, "spec": pod(name, whole)["spec"]}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": name}
        namespace.apply(found)
        namespace.apply(
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
        )
        namespace.wait("jsonpath={.status.replicas}=1", f"replicaset/{name}")
    violations = [finding.violation for finding in _judge(namespace, "qos_in_force").findings]
    assert {
        "QoS class Burstable in pod meshed-1": "put into the pod beside what is declared: extra",
        "QoS class Burstable in pod lowered-1": (
            "given other requests or limits than declared: app"
        ),
    } == {violation.found: violation.why for violation in violations}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_guarantee_that_is_kept(namespace: Namespace, kind: str) -> None:
    """Pods that are what their controller declares are well, Guaranteed or not."""
    for name, resources in (("whole", {"limits": {"memory": "16Mi", "cpu": "50m"}}), ("less", {})):
        labels = {"app": name}
        spec = pod(name, container(resources=resources))["spec"]
        namespace.apply(
            {
                "apiVersion": "apps/v1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            }
        )
        namespace.kubectl("rollout", "status", f"{kind}/{name}", "--timeout=60s")
    judgement = _judge(namespace, "qos_in_force")
    assert (2, [], []) == (judgement.judged, judgement.findings, judgement.gaps)


def test_exec_that_is_forbidden(namespace: Namespace, tmp_path: Path) -> None:
    """Who may read pods but not look into them is told which right is missing."""
    token = account(namespace, "viewer")
    namespace.kubectl(
        *("create", "rolebinding", "viewer", "--clusterrole=view"),
        f"--serviceaccount={namespace.name}:viewer",
    )
    namespace.apply(pod("web", container()))
    namespace.wait("condition=Ready", "pod/web")
    kubeconfig = kubeconfig_for(namespace.cluster, tmp_path, {"token": token})
    judgement = _judge(namespace, "limits_in_force", kubeconfig)
    assert (0, []) == (judgement.judged, judgement.findings)
    assert "needs the right to exec in pod" in judgement.gaps[-1]


def test_prober_image_that_can_not_be_had(namespace: Namespace) -> None:
    """Without a shell and without a prober nothing is known, and the image is named."""
    namespace.apply(pod("web", container("app", DISTROLESS)))
    namespace.wait("condition=Ready", "pod/web")
    judgement = _judge(namespace, "limits_in_force", prober="Not An Image")
    assert 0 == judgement.judged
    assert "prober image Not An Image: InvalidImageName" in judgement.gaps[-1]


def _judge(
    namespace: Namespace, experiment: str, kubeconfig: Path | None = None, prober: str = PROBER
) -> Judgement:
    path = kubeconfig or namespace.cluster.kubeconfig
    target = parse_target(f"k8s://?kubeconfig={path}&namespace={namespace.name}")
    options = LabOptions(level="probe", prober_image=prober)
    with closing(open_lab(target, Timeouts(), options)) as lab:
        model = build_model(take_inventory(target, Timeouts()))
        return find_experiment(experiment).using(lab).judge(model, {})
