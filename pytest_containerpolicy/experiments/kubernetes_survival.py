"""Data of a Kubernetes workload after one of its pods was deleted and replaced.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_cordon import cordoned
from pytest_containerpolicy.experiments.kubernetes_files import files_of
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_alive,
    is_ready,
    pod_path,
)
from pytest_containerpolicy.experiments.kubernetes_leftovers import remove_markers, trace
from pytest_containerpolicy.experiments.kubernetes_reasons import pod_reasons, warnings_of
from pytest_containerpolicy.experiments.kubernetes_revisions import require_rest, require_unchanged
from pytest_containerpolicy.experiments.lab import TookTooLong
from pytest_containerpolicy.experiments.markers import Marker, new_marker
from pytest_containerpolicy.experiments.survival_disks import astray, located, require_anchored
from pytest_containerpolicy.experiments.survival_markers import look, plant, require_hands, undone
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.experiments.survival_result import Reading, Recreation
from pytest_containerpolicy.model.workload import Workload


class Deletion(Struct, frozen=True):
    """A pod that is to be deleted, and the workload and the uids of its pods as they were."""

    workload: Workload
    made: Document
    pod: Document
    known: Collection[str]
    deadline: float
    move: bool
    leave_behind: bool

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def node(self) -> str:
        return str(self.pod["spec"]["nodeName"])

    def successor(self, lab: KubernetesLab) -> Document | None:
        """The pod that came in its place, a ready one if there is any."""
        fresh = [
            pod
            for pod in _alive(lab, self.workload)
            if pod["metadata"]["uid"] not in self.known
            and (self.workload.kind != "StatefulSet" or pod["metadata"]["name"] == self.name)
        ]
        return max(fresh, key=is_ready, default=None)


def recreate_pods(
    lab: KubernetesLab,
    workload: Workload,
    places: Sequence[Place],
    *,
    pods: int,
    move: bool,
    leave_behind: bool,
    deadline: float,
) -> Iterator[Recreation]:
    """Delete pods one after the other, and look at what is left in those that replace them.

    Of a StatefulSet, whose pods have claims of their own, `pods` at most; one of others. With
    `move` the old node is closed to new pods until the scheduler has chosen another. Only with
    `leave_behind` a pod is deleted that may start away from the disk that its data is on.
    """
    made = _steady(lab, workload)
    found = sorted(_alive(lab, workload), key=_ordinal)
    chosen = found[: pods if workload.kind == "StatefulSet" else 1]
    if workload.kind == "StatefulSet" and len(chosen) < len(found):
        lab.record(f"{workload.ref}: {len(chosen)} of {len(found)} pods and their claims (pods)")
    for pod in chosen:
        own, gap = _located(workload, pod, places)
        if gap and not leave_behind:
            raise CannotLook(f"{workload.ref}: {gap}: nothing was touched")
        known = frozenset(one["metadata"]["uid"] for one in lab.pods(workload))
        deletion = Deletion(workload, made, pod, known, deadline, move, leave_behind)
        marker = new_marker(lab.run)
        require_hands(files_of(lab, pod).hand, own, marker)
        left = f"marker files {marker.name} of {workload.ref} are left"
        where = trace(workload, pod, own)
        change = lab.undoing(remove_markers, left, name=marker.name, where=where)
        done = undone(change, partial(_recreate, lab, deletion, own, marker, gap))
        yield from done
        require_unchanged(lab, workload, made)
        if any(one.ready_after is None for one in done):
            return  # what is not well loses no further pod to us


def _steady(lab: KubernetesLab, workload: Workload) -> Document:
    """The workload as it is. Raises `CannotLook` unless all its pods are there and well."""
    if workload.kind == "Pod":
        owner = "an unknown controller" if workload.controlled else "no controller"
        raise CannotLook(f"{workload.ref} has {owner}: nothing is known that would replace it")
    document, pods = require_rest(lab, workload), _alive(lab, workload)
    unready = [pod["metadata"]["name"] for pod in pods if not is_ready(pod)]
    if unready or not pods:
        state = f"pod {unready[0]} is not ready" if unready else "its pods have left"
        raise CannotLook(f"{workload.ref}: nothing was touched: {state}")
    return document


def _alive(lab: KubernetesLab, workload: Workload) -> list[Document]:
    return [pod for pod in lab.pods(workload) if is_alive(pod)]


def _located(
    workload: Workload, pod: Document, places: Sequence[Place]
) -> tuple[Sequence[Place], str]:
    """The places with the disks behind a pod's claims, or why these are not known."""
    try:
        return [located(workload, pod, place) for place in places], ""
    except CannotLook as gap:
        return places, f"what is behind its claims is not known ({gap})"


def _ordinal(pod: Document) -> tuple[int, str]:
    name: str = pod["metadata"]["name"]
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else 0, name


def _recreate(
    lab: KubernetesLab, deletion: Deletion, places: Sequence[Place], marker: Marker, gap: str
) -> Iterator[Recreation]:
    written = plant(files_of(lab, deletion.pod).hand, places, marker)
    if not deletion.leave_behind:
        require_anchored(deletion.workload, written)
    _require_untouched(lab, deletion)
    lab.say(f"deleting pod {deletion.name} of {deletion.workload.ref}")
    began = time.monotonic()
    on_disk = astray(deletion.workload, written)
    notes = _delete(lab, deletion, must=bool(on_disk))
    try:
        fresh = lab.wait_for(lambda: _ready(lab, deletion), deletion.deadline, "the next pod")
        ready_after, trouble = time.monotonic() - began, ""
    except TookTooLong:
        fresh, ready_after = deletion.successor(lab), None
        trouble = _trouble(lab, deletion, fresh)
    recreation = Recreation(
        unit=f"pod {deletion.name}",
        how="was deleted",
        ready_after=ready_after,
        node_before=deletion.node,
        trouble=trouble,
        notes=tuple(notes),
    )
    planted = written, marker
    if fresh:
        recreation = _with_findings(lab, deletion, recreation, fresh, planted)
    doubtful = str(on_disk[0]) if on_disk else gap
    yield _with_doubt(recreation, doubtful) if doubtful else recreation


def _with_doubt(recreation: Recreation, doubtful: str) -> Recreation:
    """What is on a node's disk has outlived nothing as long as the next pod came back to it."""
    if recreation.moved or not recreation.node_after:
        return recreation
    doubt = (
        f"{doubtful}: the next pod of {recreation.unit} came to {recreation.node_before} again, so"
        " nothing shows whether it is there on any other node"
    )
    return replace(recreation, doubt="; ".join((doubt, *recreation.notes)))


def _with_findings(
    lab: KubernetesLab,
    deletion: Deletion,
    recreation: Recreation,
    fresh: Document,
    planted: tuple[Sequence[Place], Marker],
) -> Recreation:
    places, marker = planted
    running = recreation.ready_after is not None
    readings = look(files_of(lab, fresh).hand, places, marker, running=running)
    found = replace(
        recreation,
        node_after=fresh["spec"].get("nodeName", ""),
        started_after=_started_after(fresh),
        identity=tuple(_identity(deletion, fresh)),
    )
    return replace(found, readings=tuple(_with_remains(found, one) for one in readings))


def _with_remains(recreation: Recreation, reading: Reading) -> Reading:
    """What was lost because the pod moved is still on the old node."""
    host_path = reading.place.host_path
    if reading.fate == "lost" and recreation.moved and host_path:
        return replace(reading, left_at=f"{host_path} on node {recreation.node_before}")
    return reading


def _require_untouched(lab: KubernetesLab, deletion: Deletion) -> None:
    found = lab.find(pod_path(deletion.pod))
    metadata = found["metadata"] if found else {"uid": "", "deletionTimestamp": ""}
    if metadata["uid"] != deletion.pod["metadata"]["uid"] or "deletionTimestamp" in metadata:
        raise CannotLook(f"pod {deletion.name} was deleted by somebody else meanwhile")


def _delete(lab: KubernetesLab, deletion: Deletion, *, must: bool) -> list[str]:
    """Delete the pod with its own grace period; returns what there is to say about its move.

    Raises `Refused` if it must be moved, and the node can't be closed.
    """
    path, uid = pod_path(deletion.pod), deletion.pod["metadata"]["uid"]
    if not deletion.move or deletion.workload.one_per_node:
        lab.delete(path, uid=uid)
        return ["one pod on every node: it can't move"] if deletion.move else []
    with ExitStack() as closed:
        try:
            closed.enter_context(cordoned(lab, deletion.node))
        except Refused as refusal:
            if must:
                raise
            lab.delete(path, uid=uid)
            return [f"not moved: {refusal}"]
        lab.delete(path, uid=uid)
        try:
            found = lab.wait_for(partial(_placement, lab, deletion), deletion.deadline, "a node")
        except TookTooLong as late:
            return [f"can't move: {late}"]
    return [f"can't move: {found}"] if isinstance(found, str) else []


def _placement(lab: KubernetesLab, deletion: Deletion) -> str | bool:
    """Whether the next pod has a node, or why the scheduler finds none; false before either.

    As long as the old pod is there, what it still holds may be what the next one waits for.
    """
    fresh = deletion.successor(lab)
    if fresh is None:
        require_unchanged(lab, deletion.workload, deletion.made)
        return False
    # A StatefulSet's next pod has the name of the last one.
    named = lab.find(pod_path(deletion.pod))
    is_old_there = named and named["metadata"]["uid"] == deletion.pod["metadata"]["uid"]
    if not fresh["spec"].get("nodeName") and is_old_there:
        return False
    for condition in fresh["status"].get("conditions") or ():
        if (condition["type"], condition.get("reason")) == ("PodScheduled", "Unschedulable"):
            return str(condition.get("message") or condition["reason"])
    return bool(fresh["spec"].get("nodeName"))


def _ready(lab: KubernetesLab, deletion: Deletion) -> Document | None:
    fresh = deletion.successor(lab)
    if fresh is None:
        require_unchanged(lab, deletion.workload, deletion.made)
    return fresh if fresh and is_ready(fresh) else None


def _trouble(lab: KubernetesLab, deletion: Deletion, fresh: Document | None) -> str:
    waited = f"{deletion.deadline:g} s"
    if fresh is None:
        return f"no new pod within {waited}"
    reasons = [*pod_reasons(fresh)] or [*warnings_of(lab, fresh)]
    return "; ".join(reasons) or f"pod {fresh['metadata']['name']} is not ready after {waited}"


def _started_after(pod: Document) -> float | None:
    """Seconds from a pod's placement to the start of its last container; whole ones, as told."""
    status = pod["status"]
    placed = [c for c in status.get("conditions") or () if c["type"] == "PodScheduled"]
    states = [one["state"].get("running") for one in status.get("containerStatuses") or ()]
    if not placed or not states or not all(states):
        return None
    started = max(datetime.fromisoformat(state["startedAt"]) for state in states)
    return (started - datetime.fromisoformat(placed[0]["lastTransitionTime"])).total_seconds()


def _identity(deletion: Deletion, fresh: Document) -> Iterator[str]:
    """What a StatefulSet's pod did not keep."""
    if deletion.workload.kind != "StatefulSet":
        return
    before, after = _claims(deletion.pod), _claims(fresh)
    for volume in sorted(before.keys() | after.keys()):
        if before.get(volume) != after.get(volume):
            yield f"claim of {volume}: {before.get(volume)} became {after.get(volume)}"


def _claims(pod: Document) -> dict[str, str]:
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
