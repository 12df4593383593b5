"""Markers in pods, removed from wherever their volumes are by then."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_files import files_of, security_of
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, pod_path
from pytest_containerpolicy.experiments.kubernetes_probers import RESOURCES
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.model.workload import Workload

_SECONDS = 120.0
_CLAIM = "persistentVolumeClaim"
_UNLINK = "import os, sys\nos.path.lexists(sys.argv[1]) and os.unlink(sys.argv[1])"


class Spot(Struct, frozen=True, kw_only=True):
    """Where a marker is: in a folder of a pod's volume, or in what ends with the pod.

    `source` is the volume's own declaration. `on_node`: it is a directory of the pod's node.
    `security` is as who it can be written to.
    """

    container: str
    path: str
    source: dict[str, Any]
    folder: str = ""
    on_node: bool = False
    ends_with_pod: bool = False
    security: dict[str, Any] = {}


class Trace(Struct, frozen=True, kw_only=True):
    """Which pod had the markers; `stable_name` is the name that its successor has, too."""

    namespace: str
    labels: dict[str, str]
    stable_name: str
    uid: str
    node: str
    spots: list[Spot]

    def mounts(self, spot: Spot, pod: Document) -> bool:
        """Whether a pod has the volume, or the directory, of a spot."""
        if spot.ends_with_pod:
            return bool(pod["metadata"]["uid"] == self.uid)
        is_successor = self.stable_name in ("", pod["metadata"]["name"])
        return is_successor and (not spot.on_node or pod["spec"].get("nodeName") == self.node)


def trace(workload: Workload, pod: Document, places: Sequence[Place]) -> dict[str, Any]:
    """What `remove_markers` needs to find the markers of a pod's places again."""
    metadata = pod["metadata"]
    found = Trace(
        namespace=workload.namespace,
        # A pod of an older revision may lack some of the present template's.
        labels=dict(workload.labels.items() & metadata["labels"].items()),
        stable_name=metadata["name"] if workload.kind == "StatefulSet" else "",
        uid=metadata["uid"],
        node=pod["spec"]["nodeName"],
        spots=[_spot(pod, place) for place in places],
    )
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document


def _spot(pod: Document, place: Place) -> Spot:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    source = {"hostPath": {"path": place.host_path}}
    if not place.host_path:
        source = {k: v for k, v in volumes.get(place.volume.name, {}).items() if k != "name"}
    return Spot(
        container=place.container,
        path=place.path,
        source=source,
        folder="" if place.host_path else place.folder,
        on_node=bool(place.host_path),
        ends_with_pod=place.volume.lifetime in ("container", "pod"),
        security=security_of(pod, place.container),
    )


@undo
def remove_markers(lab: KubernetesLab, name: str, where: dict[str, Any]) -> None:
    """Remove a marker from each of its places, where any pod or node still has them."""
    found = msgspec.convert(where, Trace)
    for spot in found.spots:
        what = f"a running pod that mounts {spot.path}, to remove {name} from it"
        lab.wait_for(partial(_is_removed, lab, found, spot, name), _SECONDS, what)


def _is_removed(lab: KubernetesLab, found: Trace, spot: Spot, name: str) -> bool:
    pods = lab.items(f"/api/v1/namespaces/{found.namespace}/pods", found.labels)
    holding = [pod for pod in pods if found.mounts(spot, pod)]
    running = [pod for pod in holding if _runs(pod, spot.container)]
    if running:
        files_of(lab, running[0]).hand(spot.container).remove(spot.path, name)
    elif not holding and not spot.ends_with_pod and _is_there(lab, found.namespace, spot):
        _remove_beside(lab, found, spot, name)
    return bool(running) or not holding


def _runs(pod: Document, container: str) -> bool:
    status = pod["status"]
    statuses = (
        *(status.get("containerStatuses") or ()),
        *(status.get("initContainerStatuses") or ()),
    )
    running = any(one["name"] == container and "running" in one["state"] for one in statuses)
    return running and "deletionTimestamp" not in pod["metadata"]


def _is_there(lab: KubernetesLab, namespace: str, spot: Spot) -> bool:
    """Whether a volume is still there; a claim may be gone with its workload."""
    claim = spot.source.get(_CLAIM)
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    return not claim or lab.find(f"{path}/{claim['claimName']}") is not None


def _remove_beside(lab: KubernetesLab, found: Trace, spot: Spot, name: str) -> None:
    """Remove a marker from a volume that no pod of the workload mounts any more.

    Raises `CannotLook` if no pod of ours may do that.
    """
    container = {
        "name": "remover",
        "image": lab.options.prober_image,
        "command": ["python3", "-c", _UNLINK, f"/left/{spot.folder}/{name}"],
        "volumeMounts": [{"name": "left", "mountPath": "/left"}],
        "securityContext": spot.security,
        "resources": RESOURCES,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"containerpolicy-{secrets.token_hex(4)}"},
        "spec": {
            **({"nodeName": found.node} if spot.on_node else {}),
            "containers": [container],
            "volumes": [{"name": "left", **spot.source}],
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
        },
    }
    what = f"a pod to remove {name} from {spot.source}"
    with lab.created(f"/api/v1/namespaces/{found.namespace}/pods", pod, grace=0) as created:
        lab.wait_for(lambda: _is_done(lab, created, what), _SECONDS, what)


def _is_done(lab: KubernetesLab, created: Document, what: str) -> bool:
    phase = lab.get(pod_path(created))["status"].get("phase")
    if phase == "Failed":
        raise CannotLook(f"{what} failed")
    return bool(phase == "Succeeded")
