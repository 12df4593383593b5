"""Copies on a Docker engine: its containers, and the tasks of a Swarm that run on it."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.inside.copies import (
    SECONDS,
    Copy,
    Document,
    Place,
    keeps_running,
)
from pytest_containerpolicy.experiments.inside.processes import Process
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_exec import Output

_WANTED = ("running", "ready")
_FAILED = ("failed", "rejected")
# What it takes to follow /proc/PID/root of another user's process, and to read below it.
_CAPABILITIES = ["SYS_PTRACE", "DAC_READ_SEARCH"]


class Engines(Place):
    """The containers of one engine; of a Swarm's tasks only those of its own node are in reach."""

    # A prober container is journaled, and the journal is the caller's alone.
    workers = 1

    def __init__(self, lab: DockerLab) -> None:
        self._lab = lab
        # Connected here, as each thread would make a connection of its own.
        self._api: Any = lab.client.api

    def copies(self, workload: Workload) -> Iterator[Copy]:
        if not any(map(keeps_running, workload.containers)):
            return
        if self._lab.platform == "swarm":
            yield from self._of_service(workload)
            return
        for document in self._lab.containers(workload):
            name = document["Name"].removeprefix("/")
            yield _copy(_declared(workload, name), f"container {name}", document)

    def execute(self, copy: Copy, argv: Sequence[str]) -> Output:
        return self._lab.execute(copy.id, argv, seconds=SECONDS)

    def execute_beside(
        self, copy: Copy, source: str, words: Sequence[str], owner: Process | None = None
    ) -> Output:
        # Root that may do all of that becomes the owner by itself.
        argv = ["python3", "-c", source, *words]
        host = {"pid_mode": f"container:{copy.id}", "cap_add": _CAPABILITIES}
        with self._lab.prober("none", **host) as prober:
            return self._lab.execute(prober, argv, seconds=SECONDS)

    def has_own_processes(self, copy: Copy) -> bool:
        return copy.document["HostConfig"].get("PidMode", "") in ("", "private")

    def _of_service(self, workload: Workload) -> Iterator[Copy]:
        with daemon_errors(f"tasks of {workload.ref}"):
            here = self._api.info()["Swarm"]["NodeID"]
            service = self._api.inspect_service(workload.name)["ID"]
            tasks = self._api.tasks({"service": service})
            nodes = {node["ID"]: node["Description"]["Hostname"] for node in self._api.nodes()}
        for task in tasks:
            if task["DesiredState"] in _WANTED:
                copy = self._of_task(task, workload, here, nodes.get(task.get("NodeID"), "?"))
                yield replace(copy, failed=tuple(_failed_before(task, tasks)))

    def _of_task(self, task: Document, workload: Workload, here: str, node: str) -> Copy:
        place = task.get("Slot") or node
        name = f"task {workload.name}.{place}"
        container = (task["Status"].get("ContainerStatus") or {}).get("ContainerID", "")
        is_here = bool(container) and task.get("NodeID") == here
        document = self._lab.inspect(container) if is_here else None
        if document:
            return _copy(workload.containers[0], name, document, task)
        state = task["Status"].get("State", "")
        elsewhere = f"runs on node {node}, which this daemon can't look into"
        gone = "its container is gone" if is_here else elsewhere
        return Copy(
            container=workload.containers[0],
            name=name,
            document={"Id": container},
            status={},
            task=task,
            down=gone if state == "running" else f"does not run ({state or 'no state'})",
        )


def _failed_before(task: Document, tasks: Sequence[Document]) -> Iterator[Document]:
    """The failed tasks that held the same place, as many as the Swarm remembers."""
    key = "Slot" if task.get("Slot") else "NodeID"
    for other in tasks:
        if other.get(key) == task.get(key) and other["Status"].get("State") in _FAILED:
            yield other


def _copy(
    container: Container, name: str, document: Document, task: Document | None = None
) -> Copy:
    state = document["State"]
    is_up = state.get("Running") and not state.get("Restarting")
    return Copy(
        container=container,
        name=name,
        document=document,
        status=state,
        task=task or {},
        down="" if is_up else f"does not run ({state.get('Status', 'no state')})",
    )


def _declared(workload: Workload, name: str) -> Container:
    """The model's container of a copy: one that differs from the others has one of its own."""
    own = [container for container in workload.containers if container.name == name]
    return (own or list(workload.containers))[0]
