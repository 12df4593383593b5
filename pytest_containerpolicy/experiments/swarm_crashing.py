"""The main process of a task killed on the node that is asked, so that the Swarm replaces the task.

A manager reaches the processes of its own node only.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.crashes import Crash, Sight, followed
from pytest_containerpolicy.experiments.docker_crashing import kill
from pytest_containerpolicy.experiments.docker_instances import is_ready
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.swarm_watch import (
    Outdated,
    copied,
    find_service,
    is_up,
    require_settled,
    tasks_of,
    update,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

_TASK = "com.docker.swarm.task.id"
# How long a service may be without a task on its way: a node that is lost takes its time.
_IDLE_SECONDS = 20.0
_ON_ITS_WAY = frozenset(
    ["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting"]
)
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
    """Wait until a service has its tasks again; force an update if none is on its way any more.

    A service that is gone, or that somebody scaled down, is left alone.
    """
    moved = time.monotonic()

    def is_whole() -> bool:
        nonlocal moved
        document = find_service(lab, service)
        if document is None:
            return True
        tasks = tasks_of(lab, service)
        if sum(map(is_up, tasks)) >= min(copies, _replicas(document, copies)):
            return True
        if any(map(_is_on_its_way, tasks)):
            moved = time.monotonic()
        elif time.monotonic() - moved > _IDLE_SECONDS:
            _force(lab, document)
            moved = time.monotonic()
        return False

    lab.wait_for(is_whole, _BACK_SECONDS, f"service {service} to have {copies} tasks")


def _replicas(service: Document, otherwise: int) -> int:
    return int(service["Spec"]["Mode"].get("Replicated", {}).get("Replicas", otherwise))


def _is_on_its_way(task: Document) -> bool:
    """Whether a task will run: one with a health check is `starting` until it is healthy."""
    wanted = task["DesiredState"] in ("ready", "running")
    return wanted and task["Status"]["State"] in _ON_ITS_WAY


def _force(lab: DockerLab, service: Document) -> None:
    """What a service with restart condition none needs to get a task again."""
    spec = copied(service["Spec"])
    spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1
    with suppress(Outdated):
        update(lab, service, spec)
