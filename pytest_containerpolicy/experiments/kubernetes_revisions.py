"""One value of a workload's pod template changed, which rolls it out, and changed back.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#updating-a-deployment
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_ready,
    pod_path,
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
# Of a Deployment's pods, and of a StatefulSet's or a DaemonSet's.
_REVISION_LABELS = ("pod-template-hash", "controller-revision-hash")


class Progress(Struct, frozen=True, kw_only=True):
    """How far a rollout is, in pods, by the rules of `kubectl rollout status`.

    `is_well`: all pods that are wanted are available, and no others are there, be they of one
    revision or, where updates are staged, of several.
    """

    wanted: int
    updated: int
    available: int
    is_well: bool
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
    well = seen and wanted == available == existing
    complete = well and wanted == updated
    if kind == "StatefulSet":
        complete = complete and status.get("currentRevision") == status.get("updateRevision")
    return Progress(
        wanted=wanted, updated=updated, available=available, is_well=well, is_complete=complete
    )


def require_steady(lab: KubernetesLab, workload: Workload) -> Document:
    """The workload as it is, able to be rolled out, which nobody does, and all pods available.

    Raises `CannotLook` otherwise: what is in motion already would be blamed for it.
    """
    return _required(lab, workload, hindrance_to)


def require_rest(lab: KubernetesLab, workload: Workload) -> Document:
    """The workload as it is, with all its pods available, be its rollouts paused or staged.

    Raises `CannotLook` otherwise: what is in motion already would be blamed for it.
    """
    return _required(lab, workload, unrest_of)


def _required(
    lab: KubernetesLab, workload: Workload, hindrance: Callable[[Document], str]
) -> Document:
    document = lab.find(workload_path(workload))
    if document is None:
        raise CannotLook(f"{workload.ref} is gone since it was read")
    if reason := hindrance(document):
        raise CannotLook(f"{workload.ref}: {reason}")
    return document


def hindrance_to(document: Document) -> str:
    """Why a workload can't be rolled out now; empty if it can."""
    return _staging_of(document) or unrest_of(document)


def _staging_of(document: Document) -> str:
    """Why pods of several revisions may stay side by side; empty if they may not."""
    spec = document["spec"]
    strategy = spec.get("updateStrategy", {})
    if spec.get("paused"):
        return "its rollouts are paused: kubectl rollout resume"
    if strategy.get("type") == "OnDelete":
        return "its pods are replaced only when somebody deletes them (OnDelete)"
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    if partition:
        return f"a staged rollout is set (partition {partition})"
    return ""


def unrest_of(document: Document) -> str:
    """Why a workload is not at rest; empty if it is."""
    progress = progress_of(document)
    if not progress.wanted:
        return "it has no pods"
    if not (progress.is_well if _staging_of(document) else progress.is_complete):
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
    bare ReplicaSet, which does not replace its pods, and where admission changes the value.
    """
    metadata, kind = document["metadata"], document["kind"]
    if kind == "ReplicaSet":
        raise CannotLook(f"ReplicaSet {metadata['name']} has no rollout: it keeps the pods it has")
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/{kind.lower()}s/{metadata['name']}"
    before, change = value_at(document, pointer), change_to(document, pointer, value)
    _require_kept(lab, path, change)
    name = f"{kind} {metadata['namespace']}/{metadata['name']}"
    left = f"{name} has {value!r} at {pointer}, was {before!r}"
    arguments = {"path": path, "uid": metadata["uid"], "pointer": pointer, "value": value}
    arguments |= {"before": before, "keep": keep}
    arguments |= {"seconds": max(patience_of(document), _RETURN_SECONDS)}
    with lab.undoing(take_back_revision, left, **arguments):
        yield lab.patch(path, change, "json")


def _require_kept(lab: KubernetesLab, path: str, change: list[Document]) -> None:
    """Raise `CannotLook` if a value would not be stored as it is given: it could not be taken back.

    https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
    """
    pointer, value = change[-1]["path"], change[-1]["value"]
    found = value_at(lab.patch(path, change, "json", dry_run=True), pointer)
    if found != value:
        raise CannotLook(f"admission changes {value!r} to {found!r}: nothing was touched")


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
                _free_stuck(lab, document)
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


def _free_stuck(lab: KubernetesLab, document: Document) -> None:
    """Delete the pods of another revision that keep a StatefulSet from going back.

    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    wanted = _revision_wanted(document)
    for pod in _pods_of(lab, document) if wanted else ():
        metadata = pod["metadata"]
        is_other = revision_of(pod) != wanted
        if is_other and not is_ready(pod) and "deletionTimestamp" not in metadata:
            lab.delete(pod_path(pod), uid=metadata["uid"])
            lab.record(f"deleted pod {metadata['name']}: a StatefulSet waits for its broken pods")


def _revision_wanted(document: Document) -> str:
    """The revision that all pods of a StatefulSet are to have; empty if that is not known."""
    status, generation = document.get("status", {}), document["metadata"]["generation"]
    # Until its controller has seen the former value, that is our own revision.
    is_seen = status.get("observedGeneration", 0) >= generation
    if document["kind"] != "StatefulSet" or not is_seen or _staging_of(document):
        return ""
    return str(status.get("updateRevision", ""))


def _pods_of(lab: KubernetesLab, document: Document) -> list[Document]:
    path = f"/api/v1/namespaces/{document['metadata']['namespace']}/pods"
    pods = lab.items(path, document["spec"]["selector"].get("matchLabels"))
    uid = document["metadata"]["uid"]
    return [
        pod
        for pod in pods
        if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())
    ]


def revision_of(pod: Document) -> str:
    """The revision of the template that a pod was made from, whatever admission made of the pod."""
    labels = pod["metadata"].get("labels") or {}
    return str(next((labels[name] for name in _REVISION_LABELS if name in labels), ""))


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
