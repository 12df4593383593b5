"""A new version of a Swarm service that never starts, tried and taken back.

https://docs.docker.com/reference/cli/docker/service/rollback/
"""

import time
from collections.abc import Callable

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import BadRevision
from pytest_containerpolicy.experiments.swarm_rollout import require_undisturbed, waits_of
from pytest_containerpolicy.experiments.swarm_watch import (
    Outdated,
    TaskWatch,
    copied,
    find_service,
    is_up,
    require_settled,
    service_of,
    tasks_of,
    update,
    update_state,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

# Put before the service's own command: what stands there is not for a journal, and need not be.
NO_PROGRAM = "/containerpolicy/never"
_DECIDED = ("paused", "rollback_paused", "rollback_completed", "completed")
_PATIENCE = 120.0
_BACK_SECONDS = 300.0
_POLL = 0.1


def require_rehearsable(lab: DockerLab, workload: Workload) -> None:
    """Raise `CannotLook` unless an update can start now."""
    require_settled(lab, workload)


def rehearse(
    lab: DockerLab, workload: Workload, mark: Callable[[str], None], seconds: float
) -> BadRevision:
    """Have a service run a program that no image has, so that no new task starts; take it back.

    After Swarm has decided what becomes of the update it is left so for `seconds`. Raises
    `CannotLook` if Swarm does not decide, or if somebody interferes.
    """
    service = require_settled(lab, workload)
    spec = copied(service["Spec"])
    container = spec["TaskTemplate"]["ContainerSpec"]
    container["Command"] = [NO_PROGRAM, *(container.get("Command") or ())]
    what = f"{workload.ref} is to run {NO_PROGRAM}"
    with lab.undoing(version_is_back, what, service=workload.name):
        watch = TaskWatch(lab, workload.name)
        old = frozenset(watch.up)
        update(lab, service, spec)
        mark("a program that does not exist")
        trial = _Trial(lab, workload, watch, service["Spec"], spec)
        state = trial.decision()
        mark(state.replace("_", " "))
        trial.hold(seconds, len(old) if state == "rollback_completed" else None)
        revision = BadRevision(
            before=len(old),
            fewest_ready=watch.fewest_running or 0,
            stuck=next(iter(watch.errors(old)), state),
            without_ready=watch.without_running,
            stops=watch.stops(old, workload.grace_period),
            lasting=_lasting(watch.running, len(old), state),
        )
    mark("as before")
    return revision


def _lasting(running: int, before: int, state: str) -> str:
    if running >= before:
        return ""
    return f"{running} of {before} tasks run, and the update is {state.replace('_', ' ')}"


class _Trial:
    """A bad version under way."""

    def __init__(
        self,
        lab: DockerLab,
        workload: Workload,
        watch: TaskWatch,
        before: Document,
        made: Document,
    ) -> None:
        self._lab, self._workload, self._watch = lab, workload, watch
        self._before, self._made = before, made

    def decision(self) -> str:
        """What Swarm makes of the update."""
        seconds = _PATIENCE + waits_of(self._workload)
        deadline, seen = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            state = self._look()
            if state != seen:
                self._lab.say(f"bad version of {self._workload.ref}: {state}")
                seen = state
            if state in _DECIDED:
                return state
            time.sleep(_POLL)
        raise CannotLook(f"{self._workload.ref}: the update is {seen} still after {seconds:g} s")

    def hold(self, seconds: float, enough: int | None) -> None:
        """Leave it so, or until `enough` tasks run."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (enough is None or self._watch.running < enough):
            self._look()
            time.sleep(_POLL)

    def _look(self) -> str:
        self._watch.look()
        service = service_of(self._lab, self._workload)
        require_undisturbed(self._workload, service, self._made, self._before)
        return update_state(service)


@undo
def version_is_back(lab: DockerLab, service: str) -> None:
    """Take the program that does not exist out of a service; wait until all of its tasks run.

    It is taken out of the spec that Swarm would roll back to as well. A service that is gone, or
    that others gave another command, is left alone.
    """

    def is_back() -> bool:
        found = find_service(lab, service)
        if found is None:
            return True
        try:
            return not _mended(lab, found) and _is_whole(lab, found)
        except Outdated:
            return False

    lab.wait_for(is_back, _BACK_SECONDS, f"service {service} to run its own version again")


def _mended(lab: DockerLab, service: Document) -> bool:
    """Whether something was left to do."""
    state, mended = update_state(service), without_program(service["Spec"])
    previous = service.get("PreviousSpec") or {}
    if mended != service["Spec"]:
        update(lab, service, mended, rollback=mended == previous)
        return True
    if state == "rollback_started":
        return True
    if state == "rollback_paused" or without_program(previous) != previous:
        # The same spec again: it becomes the one to roll back to, and an update goes on.
        update(lab, service, mended)
        return True
    return False


def without_program(spec: Document) -> Document:
    """A service's spec without the program that does not exist."""
    mended = copied(spec)
    container = mended.get("TaskTemplate", {}).get("ContainerSpec", {})
    command = container.get("Command") or []
    if command[:1] == [NO_PROGRAM]:
        container["Command"] = command[1:]
    if command == [NO_PROGRAM]:
        del container["Command"]
    return mended


def _is_whole(lab: DockerLab, service: Document) -> bool:
    tasks = [task for task in tasks_of(lab, service["Spec"]["Name"]) if is_up(task)]
    return len(tasks) == wanted_tasks(lab, service) and update_state(service) != "updating"
