"""Places inside a cluster to measure from: a pod of our own, or a container beside another's."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, pod_path
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.targets.kubernetes_exec import PodProcess

LONGEST = 1800
# A pod of ours may get others beside it: meshes inject them.
PROBER = "prober"
_LOADER = "import json, sys; exec(json.loads(sys.stdin.buffer.readline()))"
_START_SECONDS = 60.0
_PULL_FAILURES = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_WAIT = ["python3", "-c", f"import time; time.sleep({LONGEST})"]
# What the Pod Security Standard `restricted` asks for, so that it may run anywhere:
# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESOURCES = {
    "requests": {"cpu": "200m", "memory": "32Mi"},
    "limits": {"cpu": "1", "memory": "128Mi"},
}


@contextmanager
def prober_pod(
    lab: KubernetesLab,
    namespace: str,
    *,
    labels: Mapping[str, str] | None = None,
    node: str = "",
) -> Iterator[str]:
    """The name of a pod whose container `PROBER` runs, as long as the block lasts.

    Raises `CannotLook` if it does not come up: no such image, no quota, no place.
    """
    name = f"containerpolicy-{secrets.token_hex(4)}"
    container = {
        "name": PROBER,
        "image": lab.options.prober_image,
        "command": _WAIT,
        "resources": RESOURCES,
        "securityContext": RESTRICTED,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LONGEST,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
        },
    }
    with lab.created(f"/api/v1/namespaces/{namespace}/pods", pod, grace=0) as created:
        lab.wait_for(lambda: _is_running(lab, created), _START_SECONDS, f"prober pod {name}")
        yield name


def start_prober(lab: KubernetesLab, namespace: str, pod: str, container: str = "") -> PodProcess:
    """The prober, started in a container with a python3. Raises `Refused`.

    It goes there by standard input: gateways before API servers refuse such long URLs.
    """
    process = lab.start(namespace, pod, ["python3", "-c", _LOADER], container=container)
    process.write_line(msgspec.json.encode(source()).decode())
    return process


def debugger(
    lab: KubernetesLab, pod: Document, beside: str, *, security: Document | None = None
) -> str:
    """The name of a container of the prober image that shares a pod's network.

    It shares the process namespace of the container `beside`, too. It ends by itself, but stays in
    the pod's spec until the pod is replaced: Kubernetes can't remove it.
    https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
    Raises `CannotLook` if it may not be, or does not start.
    """
    name = f"containerpolicy-{secrets.token_hex(4)}"
    container = {
        "name": name,
        "image": lab.options.prober_image,
        "command": _WAIT,
        "targetContainerName": beside,
        **({"securityContext": security} if security else {}),
    }
    path = pod_path(pod)
    change = {"spec": {"ephemeralContainers": [container]}}
    lab.patch(f"{path}/ephemeralcontainers", change, "strategic")
    # Whether it starts or not.
    lab.record(f"ephemeral container {name} stays listed in {path} until the pod is replaced")

    def is_running() -> bool:
        statuses = lab.get(path)["status"].get("ephemeralContainerStatuses") or ()
        return _started(lab, statuses, name)

    lab.wait_for(is_running, _START_SECONDS, f"ephemeral container {name} in {path}")
    return name


def _is_running(lab: KubernetesLab, pod: Document) -> bool:
    statuses = lab.get(pod_path(pod))["status"].get("containerStatuses") or ()
    return _started(lab, statuses, PROBER)


def _started(lab: KubernetesLab, statuses: Iterable[Document], name: str) -> bool:
    for status in (status for status in statuses if status["name"] == name):
        state = status.get("state", {})
        waiting = state.get("waiting", {})
        if waiting.get("reason") in _PULL_FAILURES:
            raise CannotLook(
                f"prober image {lab.options.prober_image}: {waiting['reason']}:"
                f" {waiting.get('message', '')}: give one with python3 that can be pulled there"
                " with --cp-prober-image"
            )
        if "terminated" in state:
            message = state["terminated"].get("message") or state["terminated"].get("reason", "")
            raise CannotLook(
                f"prober image {lab.options.prober_image} ended at once: {message}:"
                " it needs a python3"
            )
        if "running" in state:
            return True
    return False
