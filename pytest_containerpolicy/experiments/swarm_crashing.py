"""The main process of a task killed on the node that is asked, so that the Swarm replaces the task.

A manager reaches the processes of its own node only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.crashes import Crash, Sight, followed
from pytest_containerpolicy.experiments.docker_crashing import kill
from pytest_containerpolicy.experiments.docker_instances import is_ready
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import TookTooLong, undo
from pytest_containerpolicy.experiments.swarm_watch import (
    copied,
    require_settled,
    tasks_of,
    update,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

_TASK = "com.docker.swarm.task.id"
_PATIENCE = 10.0
_BACK_SECONDS = 300.0


def crash_task(lab: DockerLab, workload: Workload, within: float, stays: float) -> Crash:
    """Kill the main process of one task on this node, and see how it is replaced.

    Raises `CannotLook` if the service is not at rest before, or has no task on this node.
    """
    service = require_settled(lab, workload)
    container = _here(lab, workload)
    task, copies = container["Config"]["Labels"][_TASK], wanted_tasks(lab, service)
    name = container["Name"].removeprefix("/")
    crash = Crash(workload=str(workload.ref), instance=f"task {name}", within=within, stays=stays)
    lab.say(f"killing the main process of task {name}")
    with _restored(lab, workload, copies):
        return followed(
            crash,
            lambda strike: kill(lab, container["Id"], strike),
            lambda: _look(lab, workload, task, copies),
        )


@contextmanager
def _restored(lab: DockerLab, workload: Workload, copies: int) -> Iterator[None]:
    what = f"{workload.ref} may lack a task"
    with lab.undoing(service_is_whole, what, service=workload.name, copies=copies):
        yield


def _here(lab: DockerLab, workload: Workload) -> Document:
    found = [container for container in lab.containers(workload) if is_ready(container)]
    if not found:
        raise CannotLook(
            f"{workload.ref} has no task on the node that is asked, and the processes of others"
            " can't be reached: name a manager that runs one"
        )
    return found[0]


def _look(lab: DockerLab, workload: Workload, killed: str, copies: int) -> Sight:
    tasks = [task for task in tasks_of(lab, workload.name) if task["DesiredState"] == "running"]
    running = [task["ID"] for task in tasks if task["Status"]["State"] == "running"]
    ended = next((t for t in tasks_of(lab, workload.name) if t["ID"] == killed), {})
    problem = ended.get("Status", {}).get("Err", "")
    state = f"{len(running)} of {copies} tasks run" + (f", {problem}" if problem else "")
    return Sight(",".join(sorted(task["ID"] for task in tasks)), len(running) >= copies, state)


@undo
def service_is_whole(lab: DockerLab, service: str, copies: int) -> None:
    """Wait until a service has its tasks again, and force an update if it does not get them.

    A service that is gone, or that somebody scaled down, is left alone.
    """
    from docker.errors import NotFound

    def found() -> Document | None:
        api: Any = lab.client.api
        try:
            document: Document = api.inspect_service(service)
            return document
        except NotFound:
            return None

    def is_whole() -> bool:
        document = found()
        if document is None:
            return True
        running = sum(
            task["DesiredState"] == task["Status"]["State"] == "running"
            for task in tasks_of(lab, service)
        )
        wanted = int(document["Spec"]["Mode"].get("Replicated", {}).get("Replicas", copies))
        return bool(running >= min(copies, wanted))

    with daemon_errors(f"service {service}"):
        try:
            lab.wait_for(is_whole, _PATIENCE, f"the tasks of service {service}")
        except TookTooLong:
            _force(lab, found())
            lab.wait_for(is_whole, _BACK_SECONDS, f"service {service} to have {copies} tasks")


def _force(lab: DockerLab, service: Document | None) -> None:
    """What a service with restart condition none needs to get a task again."""
    if service:
        spec = copied(service["Spec"])
        spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1
        update(lab, service, spec)
