"""One pod told to stop as a rollout, a drain or a scale-down does it: it is deleted.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.held_request import (
    HeldRequest,
    SlowPath,
    through_api_server,
)
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    is_alive,
    is_ready,
    pod_path,
    workload_path,
)
from pytest_containerpolicy.experiments.kubernetes_revisions import progress_of, require_rest
from pytest_containerpolicy.experiments.kubernetes_watch import Life, PodWatch
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.experiments.stops import GracefulStop
from pytest_containerpolicy.model.workload import Workload

_BACK_SECONDS = 300.0
_PATIENCE = 60.0
# What a busy node needs beyond a grace period until it has told of the end.
_NEWS_SECONDS = 120.0
_DEFAULT_GRACE = 30


def stop_pod(lab: KubernetesLab, workload: Workload, slow: SlowPath | None) -> GracefulStop:
    """Delete one pod with its own grace period and wait until its controller has replaced it.

    Raises `CannotLook` if the workload is not at rest, or if the pod's end was not seen.
    """
    seen = lab.of_any_revision(workload)
    with PodWatch(lab, seen) as watch, steady(lab, workload) as pod:
        grace = float(pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE))
        held = HeldRequest(through_api_server(lab, pod, slow), grace) if slow else None
        if held is None:
            return _stop(lab, workload, watch, pod, grace)
        with held:
            return _stop(lab, workload, watch, pod, grace, held)


def _stop(
    lab: KubernetesLab,
    workload: Workload,
    watch: PodWatch,
    pod: Document,
    grace: float,
    held: HeldRequest | None = None,
) -> GracefulStop:
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    copies = sum(is_alive(life.pod) for life in watch.lives if life.gone is None)
    lab.say(f"stopping pod {name} of {workload.ref}, which may take up to {grace:g} s")
    begun = time.monotonic()
    lab.delete(pod_path(pod), uid=uid)
    lab.wait_for(lambda: _ended(watch, uid), grace + _NEWS_SECONDS, f"pod {name} to end")
    life = next(life for life in watch.lives if life.uid == uid)
    stop, request = _stop_of(life, begun, grace), held.outcome() if held else None
    lab.wait_for(
        lambda: _ready(watch, uid) >= copies, _BACK_SECONDS, f"another pod in place of {name}"
    )
    back = time.monotonic() - begun
    return GracefulStop(str(workload.ref), grace, stop, request, back)


@contextmanager
def steady(
    lab: KubernetesLab, workload: Workload, patience: float = _PATIENCE
) -> Iterator[Document]:
    """One pod of a workload at rest; after the block, and come what may, it is at rest again.

    Of a StatefulSet it is the one that its controller would remove first. If it is not ready
    `patience` seconds after the block it is deleted.
    """
    if workload.kind == "Pod":
        raise CannotLook(f"{workload.ref} has no controller: nothing would replace it")
    document = require_rest(lab, workload)
    pods = [pod for pod in lab.pods(workload) if is_alive(pod)]
    if not pods:
        raise CannotLook(f"{workload.ref}: its pods have left")
    pod = max(pods, key=lambda pod: (len(pod["metadata"]["name"]), pod["metadata"]["name"]))
    arguments = {"path": workload_path(workload), "uid": document["metadata"]["uid"]}
    arguments |= {"pod": pod_path(pod), "pod_uid": pod["metadata"]["uid"]}
    arguments |= {"patience": patience}
    with lab.undoing(
        pods_are_back,
        f"pod {pod['metadata']['name']} of {workload.ref} may not be back",
        **arguments,
    ):
        yield pod


@undo
def pods_are_back(
    lab: KubernetesLab, path: str, uid: str, pod: str, pod_uid: str, patience: float
) -> None:
    """Wait until all pods of a workload are ready; one that does not recover is deleted.

    Its controller then makes a new one. A workload that is gone or was replaced is left alone.
    """
    given_up = time.monotonic() + patience

    def is_back() -> bool:
        document = lab.find(path)
        if document is None or document["metadata"]["uid"] != uid:
            return True
        found = lab.find(pod)
        is_ours = found is not None and found["metadata"]["uid"] == pod_uid
        if found and is_ours and not is_ready(found):
            if "deletionTimestamp" not in found["metadata"] and time.monotonic() > given_up:
                lab.delete(pod, uid=pod_uid)
            return False
        return progress_of(document).is_well

    lab.wait_for(is_back, _BACK_SECONDS, f"all pods of {path} to be ready again")


def _ended(watch: PodWatch, uid: str) -> bool:
    watch.require_sight()
    return any(life.ended or life.gone for life in watch.lives if life.uid == uid)


def _stop_of(life: Life, begun: float, grace: float) -> Stop:
    seen = (life.ended or life.gone or begun) - begun
    if life.stop and life.stop.codes:
        return replace(life.stop, seconds=_reported(life.pod, seen))
    if grace:
        raise CannotLook(f"pod {life.name} was gone before the exit codes of its containers came")
    # Without a grace period the API server forgets a pod at once, while its processes still run.
    return Stop(name=life.name, seconds=seen, codes={}, killed=True)


def _reported(pod: Document, seen: float) -> float:
    """Seconds to its end by the kubelet's own clock: its status comes up to two seconds later."""
    metadata, statuses = pod["metadata"], pod["status"].get("containerStatuses") or ()
    ends = [
        s["state"]["terminated"].get("finishedAt") for s in statuses if "terminated" in s["state"]
    ]
    if None in ends:
        return seen
    told = _time(metadata["deletionTimestamp"]) - metadata["deletionGracePeriodSeconds"]
    took = max(map(_time, ends)) - told
    return took if 0 <= took <= seen else seen


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _ready(watch: PodWatch, old: str) -> int:
    watch.require_sight()
    return sum(is_ready(life.pod) for life in watch.lives if life.gone is None and life.uid != old)
