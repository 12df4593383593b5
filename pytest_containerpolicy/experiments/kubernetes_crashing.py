"""The main process of a pod's container killed from beside it, so that the kubelet restarts it.

An ephemeral container shares the container's processes; nothing of the node is touched.
https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.crashes import (
    Crash,
    Sight,
    complaint,
    followed,
    killer,
)
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_alive,
    is_ready,
    pod_path,
)
from pytest_containerpolicy.experiments.kubernetes_probers import debugger
from pytest_containerpolicy.experiments.kubernetes_stopping import steady
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN

_DEFAULT = "kubectl.kubernetes.io/default-container"
_LOOP = "CrashLoopBackOff"
_BACK_SECONDS = 60.0
_PATIENCE = 5.0
_CLIENT_ERRORS = range(400, 500)
# Root, to see whatever user the program runs as, but with the right to trace and no other.
_TRACER = {
    "runAsUser": 0,
    "runAsNonRoot": False,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def crash_pod(lab: KubernetesLab, workload: Workload, within: float, stays: float) -> Crash:
    """Kill the main process of one container of one pod, and see how the pod comes back.

    Raises `CannotLook` if the workload is not at rest before, or the process can't be killed.
    """
    if loop := _in_a_loop(lab, workload, within, stays):
        return loop
    with _steady(lab, workload) as pod:
        name, container = pod["metadata"]["name"], _main(pod)
        crash = Crash(
            workload=str(workload.ref),
            instance=f"container {container['name']} of pod {name}",
            within=within,
            stays=stays,
        )
        lab.say(f"killing the main process of {crash.instance}")
        return followed(
            crash,
            lambda strike: _kill(lab, pod, container, strike),
            lambda: _look(lab, pod, container["name"]),
        )


@contextmanager
def _steady(lab: KubernetesLab, workload: Workload) -> Iterator[Document]:
    if workload.kind != "Pod":
        with steady(lab, workload, _PATIENCE) as pod:
            yield pod
        return
    ready = [pod for pod in lab.pods(workload) if is_ready(pod)]
    if not ready:
        raise CannotLook(f"{workload.ref} is not ready: nothing was touched")
    pod = ready[0]
    if pod["spec"].get("restartPolicy", "Always") == "Never":
        raise CannotLook(
            f"{workload.ref} has restartPolicy Never and no controller: a crash would be its end,"
            " and nobody could bring it back"
        )
    path, uid = pod_path(pod), pod["metadata"]["uid"]
    with lab.undoing(pod_is_ready, f"{workload.ref} may not be ready", path=path, uid=uid):
        yield pod


@undo
def pod_is_ready(lab: KubernetesLab, path: str, uid: str) -> None:
    """Wait until a pod without a controller is ready again; one that is gone is left alone."""

    def is_back() -> bool:
        pod = lab.find(path)
        return pod is None or pod["metadata"]["uid"] != uid or is_ready(pod)

    lab.wait_for(is_back, _BACK_SECONDS, f"{path} to be ready again")


def _in_a_loop(lab: KubernetesLab, workload: Workload, within: float, stays: float) -> Crash | None:
    """What needs no crash of ours to be seen: a container that crashes again and again."""
    for pod in filter(is_alive, lab.pods(workload)):
        for status in pod["status"].get("containerStatuses") or ():
            if status["state"].get("waiting", {}).get("reason") == _LOOP:
                return Crash(
                    workload=str(workload.ref),
                    instance=f"container {status['name']} of pod {pod['metadata']['name']}",
                    within=within,
                    stays=stays,
                    provoked=False,
                    state=_words(status),
                )
    return None


def _main(pod: Document) -> Document:
    """The container that is meant when a pod is meant."""
    containers: list[Document] = pod["spec"]["containers"]
    named = (pod["metadata"].get("annotations") or {}).get(_DEFAULT)
    return next((one for one in containers if one["name"] == named), containers[0])


def _kill(
    lab: KubernetesLab, pod: Document, container: Document, strike: Callable[[], None]
) -> str:
    """Kill the main process of a container; returns what kept us from it."""
    metadata, identity = pod["metadata"], _status(pod, container["name"]).get("containerID")
    if not identity:
        return "it has not started"
    try:
        beside = _beside(lab, pod, container)
    except CannotLook as gap:
        return str(gap)
    argv = ["python3", "-c", killer(), identity.rpartition("/")[2]]
    strike()
    try:
        output = lab.execute(metadata["namespace"], metadata["name"], argv, container=beside)
    except Refused as refusal:
        if refusal.status in _CLIENT_ERRORS:
            return str(refusal)
        # What kills the main process ends this container and the connection to it as well.
        return ""
    return complaint(output.code, output.err)


def _beside(lab: KubernetesLab, pod: Document, container: Document) -> str:
    """A container beside it, that may trace it: as root, or as the same user where that is barred.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    try:
        return debugger(lab, pod, container["name"], security=_TRACER)
    except Refused as refusal:
        if refusal.status != FORBIDDEN:
            raise
    return debugger(lab, pod, container["name"], security=container.get("securityContext"))


def _look(lab: KubernetesLab, pod: Document, container: str) -> Sight:
    found = lab.find(pod_path(pod))
    if found is None or found["metadata"]["uid"] != pod["metadata"]["uid"]:
        raise CannotLook(f"pod {pod['metadata']['name']} was deleted meanwhile")
    status = _status(found, container)
    return Sight(str(status.get("restartCount")), is_ready(found), _words(status))


def _status(pod: Document, container: str) -> Document:
    statuses = pod["status"].get("containerStatuses") or ()
    return next((one for one in statuses if one["name"] == container), {"state": {}})


def _words(status: Document) -> str:
    """A container's state: `CrashLoopBackOff, restarted 3 times, last exit code 1`."""
    state: dict[str, Any] = status.get("state") or {}
    kind = next(iter(state), "unknown")
    words = [
        state.get(kind, {}).get("reason") or kind,
        f"restarted {status.get('restartCount', 0)} times",
    ]
    last = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    return ", ".join([*words, f"last exit code {last['exitCode']}"] if last else words)
