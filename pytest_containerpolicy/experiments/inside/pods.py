"""Copies in a Kubernetes cluster: the containers of pods."""

from collections.abc import Iterator, Sequence

import msgspec

from pytest_containerpolicy.experiments.inside.copies import (
    SECONDS,
    Copy,
    Document,
    Place,
    keeps_running,
)
from pytest_containerpolicy.experiments.inside.processes import Process
from pytest_containerpolicy.experiments.kubernetes_files import security_of
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, is_alive, pod_path
from pytest_containerpolicy.experiments.kubernetes_probers import debugger
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_exec import Output

_LOADER = "import json, sys; exec(json.loads(sys.stdin.buffer.readline()))"
_CONTAINERS = ("containers", "initContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses")


class Pods(Place):
    """The pods of a cluster."""

    def __init__(self, lab: KubernetesLab) -> None:
        self._lab = lab
        # Connected here, as each thread would make a connection of its own.
        self._connection = lab.connection

    def copies(self, workload: Workload) -> Iterator[Copy]:
        containers = list(filter(keeps_running, workload.containers))
        for pod in self._lab.pods(workload) if containers else ():
            if not is_alive(pod):
                continue
            status = pod["status"]
            statuses = {one["name"]: one for key in _STATUSES for one in status.get(key) or ()}
            for container in containers:
                own = statuses.get(container.name, {})
                yield Copy(
                    container=container,
                    name=f"pod {pod['metadata']['name']}",
                    document=pod,
                    status=own,
                    down=_why_down(own, pod, container.name),
                )

    def execute(self, copy: Copy, argv: Sequence[str]) -> Output:
        return self._execute(copy, argv, copy.container.name)

    def execute_beside(
        self, copy: Copy, source: str, words: Sequence[str], owner: Process | None = None
    ) -> Output:
        # By standard input, as gateways before API servers refuse such long URLs.
        line = msgspec.json.encode(source) + b"\n"
        argv = ["python3", "-c", _LOADER, *words]
        return self._execute(copy, argv, self._prober(copy, owner), stdin=line)

    def has_own_processes(self, copy: Copy) -> bool:
        spec = copy.document["spec"]
        return not (spec.get("shareProcessNamespace") or spec.get("hostPID"))

    def _execute(
        self, copy: Copy, argv: Sequence[str], container: str, stdin: bytes = b""
    ) -> Output:
        metadata = copy.document["metadata"]
        return self._lab.execute(
            metadata["namespace"],
            metadata["name"],
            argv,
            container=container,
            stdin=stdin,
            seconds=SECONDS,
        )

    def _prober(self, copy: Copy, owner: Process | None) -> str:
        """A prober beside a pod's container: one that runs there already, or else a new one."""
        pod, name = self._lab.get(pod_path(copy.document)), copy.container.name
        security = security_of(pod, name) | _identity(owner)
        statuses = pod["status"].get("ephemeralContainerStatuses") or ()
        running = {one["name"] for one in statuses if "running" in one.get("state", {})}
        for one in pod["spec"].get("ephemeralContainers") or ():
            is_ours = one["image"] == self._lab.options.prober_image and one["name"] in running
            is_fit = _users(one.get("securityContext") or {}) == _users(security)
            if is_ours and is_fit and one.get("targetContainerName") == name:
                return str(one["name"])
        self._lab.say(f"{copy.name}: a prober is put beside {name}")
        return debugger(self._lab, pod, name, security=security)


def _identity(owner: Process | None) -> Document:
    if owner is None:
        return {}
    return {"runAsUser": owner.user} | ({"runAsGroup": owner.group} if owner.group else {})


def _users(security: Document) -> tuple[object, ...]:
    return security.get("runAsUser"), security.get("runAsGroup")


def _why_down(status: Document, pod: Document, container: str) -> str:
    state = status.get("state") or {}
    if "running" in state:
        return ""
    spec = pod["spec"]
    if container not in {one["name"] for key in _CONTAINERS for one in spec.get(key) or ()}:
        return f"has no container {container}: it is of another revision"
    details = state.get("waiting") or state.get("terminated") or {}
    return f"does not run ({details.get('reason') or pod['status'].get('phase') or 'no status'})"
