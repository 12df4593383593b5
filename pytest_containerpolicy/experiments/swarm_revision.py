"""A new version of a Swarm service that never starts, given and taken back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.swarm_watch import (
    TaskWatch,
    copied,
    require_settled,
    service_of,
    update,
    update_state,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

_PATIENCE = 120.0
_NO_PROGRAM = "/containerpolicy/never"
_SETTLED = ("", "completed", "rollback_completed")
_NOTICED = ("paused", "rollback_started", "rollback_paused", "rollback_completed", "completed")


@contextmanager
def broken(
    lab: DockerLab, workload: Workload, mark: Callable[[str], None], seconds: float
) -> Iterator[str]:
    """In the block a service is to run a program that is not in its image, so that no task starts.

    Gives what Swarm made of the update: `paused`, `rollback_completed`, ...; `updating` if it has
    not decided within `seconds`. Afterwards the service is as before, unless somebody else has
    changed it meanwhile.
    """
    service = require_settled(lab, workload)
    spec = copied(service["Spec"])
    spec["TaskTemplate"]["ContainerSpec"]["Command"] = [_NO_PROGRAM]
    what = f"{workload.ref} is to run {_NO_PROGRAM}"
    with lab.undoing(version_is_back, what, service=workload.name):
        update(lab, service, spec)
        mark("broken version")
        yield _decision(lab, workload, mark, seconds)
        mark("taken back")


def _decision(
    lab: DockerLab, workload: Workload, mark: Callable[[str], None], seconds: float
) -> str:
    deadline, seen = time.monotonic() + seconds, "updating"
    while time.monotonic() < deadline:
        state = update_state(service_of(lab, workload))
        if state != seen:
            mark(state.replace("_", " "))
            lab.say(f"update of {workload.ref}: {state}")
            seen = state
        if state in _NOTICED and state != "rollback_started":
            break
        time.sleep(0.1)
    return seen


@undo
def version_is_back(lab: DockerLab, service: str) -> None:
    """Roll a service back if it is still to run what is not there; wait until all its tasks run.

    Swarm itself keeps the version before: what stands in it is not for a journal.
    """
    from docker.errors import NotFound

    def is_back() -> bool:
        api: Any = lab.client.api
        try:
            found: Document = api.inspect_service(service)
        except NotFound:
            return True
        if found["Spec"]["TaskTemplate"]["ContainerSpec"].get("Command") == [_NO_PROGRAM]:
            if update_state(found) != "rollback_started":
                update(lab, found, found["Spec"], rollback=True)
            return False
        watch = TaskWatch(lab, service)
        return update_state(found) in _SETTLED and watch.running == wanted_tasks(lab, found)

    lab.wait_for(is_back, _PATIENCE, f"service {service} to run its own version again")
