"""How far rollouts are, what stands in their way, and patches, from documents of API servers."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_containerpolicy.experiments.kubernetes_reasons import (
    deadline_exceeded,
    pod_reasons,
    refusals_of,
)
from pytest_containerpolicy.experiments.kubernetes_revisions import (
    change_to,
    hindrance_to,
    patience_of,
    progress_of,
    reversal_of,
    revision_of,
    unrest_of,
    value_at,
)

ANNOTATION = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"uid": "u", "generation": 5},
    "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web"}}}},
    "status": {
        "observedGeneration": 5,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        ],
    },
}
STATEFUL_SET = {
    "kind": "StatefulSet",
    "metadata": {"uid": "u", "generation": 5},
    "spec": {"replicas": 2, "updateStrategy": {"type": "RollingUpdate"}},
    "status": {
        "observedGeneration": 5,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "currentRevision": "sts-7d74658ffb",
        "updateRevision": "sts-7d74658ffb",
    },
}
DAEMON_SET = {
    "kind": "DaemonSet",
    "metadata": {"uid": "u", "generation": 5},
    "spec": {"updateStrategy": {"type": "RollingUpdate"}},
    "status": {
        "observedGeneration": 5,
        "desiredNumberScheduled": 3,
        "updatedNumberScheduled": 3,
        "numberAvailable": 3,
    },
}
REPLICA_SET = {
    "kind": "ReplicaSet",
    "metadata": {"uid": "u", "generation": 5},
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 5, "replicas": 2, "availableReplicas": 2},
}


def _with(document: dict[str, Any], part: str, **changes: Any) -> dict[str, Any]:
    return document | {part: document[part] | changes}


@pytest.mark.parametrize("document", [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, REPLICA_SET])
def test_complete(document: dict[str, Any]) -> None:
    """All pods new and available, seen by the controller: complete, and nothing in the way."""
    assert progress_of(document).is_complete
    assert "" == hindrance_to(document)


@pytest.mark.parametrize(
    "document",
    [
        _with(DEPLOYMENT, "metadata", generation=6),
        _with(DEPLOYMENT, "status", updatedReplicas=2),
        _with(DEPLOYMENT, "status", replicas=4),
        _with(DEPLOYMENT, "status", availableReplicas=2),
        _with(STATEFUL_SET, "status", currentRevision="sts-5d4"),
        _with(STATEFUL_SET, "status", availableReplicas=1),
        _with(DAEMON_SET, "status", updatedNumberScheduled=2),
        _with(DAEMON_SET, "status", numberAvailable=2),
        _with(REPLICA_SET, "status", availableReplicas=1),
    ],
)
def test_not_complete(document: dict[str, Any]) -> None:
    """A change not seen yet, an old pod or one that is not available: not complete."""
    assert not progress_of(document).is_complete
    assert "a rollout is under way or some pods are not well" in hindrance_to(document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (_with(DEPLOYMENT, "spec", paused=True), "its rollouts are paused: kubectl rollout resume"),
        (_with(DEPLOYMENT, "spec", replicas=0), "it has no pods"),
        (
            _with(DAEMON_SET, "spec", updateStrategy={"type": "OnDelete"}),
            "its pods are replaced only when somebody deletes them (OnDelete)",
        ),
        (
            _with(STATEFUL_SET, "spec", updateStrategy={"rollingUpdate": {"partition": 1}}),
            "a staged rollout is set (partition 1)",
        ),
    ],
)
def test_hindrances(document: dict[str, Any], expected: str) -> None:
    """What can't be rolled out now is named."""
    assert expected == hindrance_to(document)


@pytest.mark.parametrize(
    "document",
    [
        _with(_with(DEPLOYMENT, "spec", paused=True), "status", updatedReplicas=0),
        _with(
            _with(STATEFUL_SET, "spec", updateStrategy={"type": "OnDelete"}),
            "status",
            currentRevision="sts-5d4",
            updatedReplicas=2,
        ),
        _with(
            _with(DAEMON_SET, "spec", updateStrategy={"type": "OnDelete"}),
            "status",
            updatedNumberScheduled=1,
        ),
    ],
)
def test_staged_and_well(document: dict[str, Any]) -> None:
    """Pods of two revisions that are there on purpose, all well, are at rest, and not complete."""
    progress = progress_of(document)
    assert (True, False) == (progress.is_well, progress.is_complete)
    assert "" == unrest_of(document)
    assert "" != hindrance_to(document)


@pytest.mark.parametrize(
    "document",
    [
        _with(DEPLOYMENT, "metadata", generation=6),
        _with(DEPLOYMENT, "status", replicas=4),
        _with(_with(DEPLOYMENT, "spec", paused=True), "status", availableReplicas=2),
        _with(STATEFUL_SET, "status", availableReplicas=1),
        _with(DAEMON_SET, "status", numberAvailable=2),
    ],
)
def test_not_well(document: dict[str, Any]) -> None:
    """A change not seen yet, a pod too many or one that is not available: not well."""
    assert not progress_of(document).is_well
    assert "" != unrest_of(document)


def test_rollout_between_two_pods() -> None:
    """Where nothing is staged, pods of two revisions are not at rest, even if all are well."""
    document = _with(STATEFUL_SET, "status", updatedReplicas=1)
    assert progress_of(document).is_well
    assert "a rollout is under way" in unrest_of(document)


def test_patience() -> None:
    """A rollout may stand still for its own progress deadline, or ten minutes."""
    assert 600 == patience_of(DEPLOYMENT)
    assert 8 == patience_of(_with(DEPLOYMENT, "spec", progressDeadlineSeconds=8))


def test_change_and_reversal() -> None:
    """A value that was not there is added where its parent is missing, and removed again."""
    change = change_to(DEPLOYMENT, ANNOTATION, "now")
    assert ["test", "test", "add", "add"] == [operation["op"] for operation in change]
    assert {"path": "/spec/template/metadata/annotations", "value": {}}.items() <= change[2].items()
    assert {"op": "remove", "path": ANNOTATION} == reversal_of("u", ANNOTATION, "now", None)[-1]


def test_reversal_of_a_former_value() -> None:
    """A value that was there comes back, if ours is still there."""
    tests = [{"op": "test", "path": "/metadata/uid", "value": "u"}]
    tests += [{"op": "test", "path": ANNOTATION, "value": "now"}]
    replaced = {"op": "replace", "path": ANNOTATION, "value": "then"}
    assert [*tests, replaced] == reversal_of("u", ANNOTATION, "now", "then")


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/a/b~1c", 1),
        ("/list/1/name", "two"),
        ("/list/9/name", None),
        ("/a/none/deeper", None),
    ],
)
def test_value_at(pointer: str, expected: object) -> None:
    """A JSON pointer leads through objects and lists; nothing is None."""
    document = {"a": {"b/c": 1}, "list": [{"name": "one"}, {"name": "two"}]}
    assert expected == value_at(document, pointer)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"pod-template-hash": "7d7"}, "7d7"),
        ({"app": "web", "controller-revision-hash": "sts-7d7"}, "sts-7d7"),
        (None, ""),
    ],
)
def test_revision_of_a_pod(labels: dict[str, str] | None, expected: str) -> None:
    """Each kind of controller labels its pods with their revision in its own way."""
    assert expected == revision_of({"metadata": {"labels": labels}})


def test_controller_gave_up() -> None:
    """The condition counts once the controller has seen the current spec."""
    gave_up = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    document = _with(DEPLOYMENT, "status", conditions=gave_up)
    assert deadline_exceeded(document)
    assert not deadline_exceeded(_with(document, "metadata", generation=6))
    assert not deadline_exceeded(DEPLOYMENT)


def test_refused_pods() -> None:
    """Why the controller may not create pods is told in the server's words."""
    message = 'pods "web-1" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=4'
    failure = {"type": "ReplicaFailure", "status": "True", "message": message}
    assert [message] == list(refusals_of(_with(DEPLOYMENT, "status", conditions=[failure])))


def _pod(state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    status = {"name": "app", "ready": False, "restartCount": 2, "state": state}
    status |= {"lastState": {"terminated": last} if last else {}}
    return {"metadata": {"name": "web-1"}, "status": {"containerStatuses": [status]}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (
            _pod({"waiting": {"reason": "CrashLoopBackOff"}}, {"exitCode": 1, "reason": "Error"}),
            ["pod web-1: container app ended with exit code 1 (Error), restarts 2"],
        ),
        (
            _pod({"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            ["pod web-1: ErrImagePull: not found"],
        ),
        (_pod({"waiting": {"reason": "ContainerCreating"}}), []),
        (_pod({"running": {}}), []),
    ],
)
def test_why_a_pod_does_not_run(pod: dict[str, Any], expected: list[str]) -> None:
    """A crash and a missing image are causes, a container that is being created is none."""
    assert expected == list(pod_reasons(pod))


def test_unschedulable_pod() -> None:
    """Where no node takes a pod, the scheduler says why."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    status = {"conditions": [condition | {"message": "0/3 nodes are available"}]}
    pod = {"metadata": {"name": "web-1"}, "status": status}
    assert ["pod web-1: Unschedulable: 0/3 nodes are available"] == list(pod_reasons(pod))
