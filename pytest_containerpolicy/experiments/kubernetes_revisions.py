"""One value of a workload's pod template changed, which rolls it out, and changed back.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#updating-a-deployment
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_ready,
    workload_path,
)
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.model.workload import Workload

TEMPLATE = "/spec/template"
_DEADLINE = 600.0
_RETURN_SECONDS = 120.0
_OUTAGE_SECONDS = 20.0
_CONFLICTS = (409, 422)
_TOO_MANY = 429
_SERVER_ERRORS = range(500, 600)


class Progress(Struct, frozen=True, kw_only=True):
    """How far a rollout is, in pods, by the rules of `kubectl rollout status`."""

    wanted: int
    updated: int
    available: int
    is_complete: bool

    def __str__(self) -> str:
        return f"{self.updated} of {self.wanted} pods are new, {self.available} are available"


def progress_of(document: Document) -> Progress:
    """How far the rollout of a Deployment, StatefulSet, DaemonSet or ReplicaSet is.

    https://github.com/kubernetes/kubectl/blob/master/pkg/polymorphichelpers/rollout_status.go
    """
    spec, status = document["spec"], document.get("status", {})
    kind = document["kind"]
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated = status.get("updatedNumberScheduled", 0)
        available, existing = status.get("numberAvailable", 0), wanted
    else:
        wanted, existing = spec.get("replicas", 1), status.get("replicas", 0)
        # A ReplicaSet has no revisions: all its pods are of the one there is.
        updated = existing if kind == "ReplicaSet" else status.get("updatedReplicas", 0)
        available = status.get("availableReplicas", 0)
    seen = status.get("observedGeneration", 0) >= document["metadata"]["generation"]
    updated = updated if seen else 0
    complete = wanted == updated == available == existing
    if kind == "StatefulSet":
        complete = complete and status.get("currentRevision") == status.get("updateRevision")
    return Progress(wanted=wanted, updated=updated, available=available, is_complete=complete)


def require_steady(lab: KubernetesLab, workload: Workload) -> Document:
    """The workload as it is, with nobody rolling it out and all its pods available.

    Raises `CannotLook` otherwise: what is in motion already would be blamed for it.
    """
    document = lab.find(workload_path(workload))
    if document is None:
        raise CannotLook(f"{workload.ref} is gone since it was read")
    hindrance = hindrance_to(document)
    if hindrance:
        raise CannotLook(f"{workload.ref}: {hindrance}")
    return document


def hindrance_to(document: Document) -> str:
    """Why a workload can't be rolled out now; empty if it can."""
    spec, progress = document["spec"], progress_of(document)
    strategy = spec.get("updateStrategy", {})
    if spec.get("paused"):
        return "its rollouts are paused: kubectl rollout resume"
    if strategy.get("type") == "OnDelete":
        return "its pods are replaced only when somebody deletes them (OnDelete)"
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    if partition:
        return f"a staged rollout is set (partition {partition})"
    if not progress.wanted:
        return "it has no pods"
    if not progress.is_complete:
        return f"a rollout is under way or some pods are not well: {progress}"
    return ""


def require_unchanged(lab: KubernetesLab, workload: Workload, made: Document) -> Document:
    """The workload as it is now, with the spec that we made.

    Raises `CannotLook` if somebody else deleted, scaled or changed it meanwhile.
    """
    found = lab.find(workload_path(workload))
    if found is None or found["metadata"]["uid"] != made["metadata"]["uid"]:
        raise CannotLook(f"{workload.ref} was deleted meanwhile: its rollout can't be judged")
    before, after = made["spec"], found["spec"]
    if before.get("replicas") != after.get("replicas"):
        raise CannotLook(
            f"{workload.ref} was scaled from {before['replicas']} to {after['replicas']} pods"
            " meanwhile: its rollout can't be judged"
        )
    if before != after:
        raise CannotLook(f"{workload.ref} was changed by somebody else meanwhile")
    return found


def patience_of(document: Document) -> float:
    """How many seconds the rollout of a workload may stand still."""
    return float(document["spec"].get("progressDeadlineSeconds") or _DEADLINE)


@contextmanager
def revised(
    lab: KubernetesLab,
    document: Document,
    pointer: str,
    value: str,
    *,
    keep: bool,
) -> Iterator[Document]:
    """A workload whose pod template has another value at a JSON pointer (RFC 6901).

    After the block the former value comes back, and all is waited for; with `keep` only if the
    rollout did not complete. Raises `Refused` if somebody changed the workload, `CannotLook` for a
    bare ReplicaSet, which does not replace its pods.
    """
    metadata, kind = document["metadata"], document["kind"]
    if kind == "ReplicaSet":
        raise CannotLook(f"ReplicaSet {metadata['name']} has no rollout: it keeps the pods it has")
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/{kind.lower()}s/{metadata['name']}"
    before = value_at(document, pointer)
    name = f"{kind} {metadata['namespace']}/{metadata['name']}"
    left = f"{name} has {value!r} at {pointer}, was {before!r}"
    arguments = {"path": path, "uid": metadata["uid"], "pointer": pointer, "value": value}
    arguments |= {"before": before, "keep": keep}
    arguments |= {"seconds": max(patience_of(document), _RETURN_SECONDS)}
    with lab.undoing(take_back_revision, left, **arguments):
        yield lab.patch(path, change_to(document, pointer, value), "json")


def change_to(document: Document, pointer: str, value: str) -> list[Document]:
    """The JSON patch (RFC 6902) that sets a value in a workload that nobody changed meanwhile."""
    metadata, parent = document["metadata"], pointer.rpartition("/")[0]
    tests = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/generation", "value": metadata["generation"]},
    ]
    absent = value_at(document, parent) is None
    made = [{"op": "add", "path": parent, "value": {}}] if absent else []
    return [*tests, *made, {"op": "add", "path": pointer, "value": value}]


@undo
def take_back_revision(
    lab: KubernetesLab,
    path: str,
    uid: str,
    pointer: str,
    value: str,
    before: str | None,
    keep: bool,
    seconds: float,
) -> None:
    """Put the former value back where ours still is, and wait until all pods are well.

    A completed rollout stays with `keep`: a restart leaves nothing behind that matters.
    """
    answered = time.monotonic()

    def is_back() -> bool:
        nonlocal answered
        try:
            document = lab.find(path)
            answered = time.monotonic()
            if document is None or document["metadata"]["uid"] != uid:
                return True
            found = value_at(document, pointer)
            if found == value and not (keep and progress_of(document).is_complete):
                lab.patch(path, reversal_of(uid, pointer, value, before), "json")
                return False
            if found == before:
                _free_stuck(lab, document, value)
                return progress_of(document).is_complete
            return True
        except Refused as refusal:
            if not _passes(refusal) or time.monotonic() - answered > _OUTAGE_SECONDS:
                raise
            return False

    lab.wait_for(is_back, seconds, f"{path} to be as it was")


def reversal_of(uid: str, pointer: str, value: str, before: str | None) -> list[Document]:
    """The JSON patch that puts a value back, if ours is still there."""
    tests = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": pointer, "value": value},
    ]
    if before is None:
        return [*tests, {"op": "remove", "path": pointer}]
    return [*tests, {"op": "replace", "path": pointer, "value": before}]


def _passes(refusal: Refused) -> bool:
    """Whether another try may succeed."""
    status = refusal.status
    return status in (0, _TOO_MANY, *_CONFLICTS) or status in _SERVER_ERRORS


def _free_stuck(lab: KubernetesLab, document: Document, value: str) -> None:
    """Delete the pods of our revision that keep a StatefulSet from going back.

    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    if document["kind"] != "StatefulSet":
        return
    for pod in _pods_of(lab, document):
        if carries(pod, value) and not is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            lab.delete(path, uid=metadata["uid"])
            lab.record(f"deleted pod {metadata['name']}: a StatefulSet waits for its broken pods")


def _pods_of(lab: KubernetesLab, document: Document) -> list[Document]:
    path = f"/api/v1/namespaces/{document['metadata']['namespace']}/pods"
    pods = lab.items(path, document["spec"]["selector"].get("matchLabels"))
    uid = document["metadata"]["uid"]
    return [
        pod
        for pod in pods
        if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())
    ]


def carries(pod: Document, value: str) -> bool:
    """Whether a pod was made from a template that we gave this annotation or image."""
    annotations = pod["metadata"].get("annotations") or {}
    images = (container.get("image") for container in pod["spec"]["containers"])
    return value in (*annotations.values(), *images)


def value_at(document: Document, pointer: str) -> Any:
    """What is at a JSON pointer; None where nothing is."""
    place: Any = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list):
            place = place[int(key)] if int(key) < len(place) else None
        else:
            place = (place or {}).get(key)
    return place
