"""A rollout on a Swarm as `docker service update --force` starts it, with its own settings.

Swarm keeps one spec to roll back to: after a rollout that is the one that runs, too.
https://docs.docker.com/reference/cli/docker/service/update/
"""

import time
from collections.abc import Callable, Collection

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Replacement
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

_PATIENCE = 300.0
_STUCK = ("paused", "rollback_paused")
_POLL = 0.1


def require_restartable(lab: DockerLab, workload: Workload) -> None:
    """Raise `CannotLook` unless an update can start now."""
    require_settled(lab, workload)


def restart(
    lab: DockerLab, workload: Workload, mark: Callable[[str], None], deadline: float
) -> Replacement:
    """Replace all tasks and wait until Swarm calls the update complete and the old ones are gone.

    It ends, not completed, when Swarm pauses or rolls back, or when nothing moves for `deadline`
    seconds (0: 300) beyond what the update's own settings wait for; it is then rolled back. Raises
    `CannotLook` if somebody interferes.
    """
    service = require_settled(lab, workload)
    spec = copied(service["Spec"])
    forced = _force_of(spec) + 1
    spec["TaskTemplate"]["ForceUpdate"] = forced
    what = f"{workload.ref} may be in the middle of an update"
    with lab.undoing(service_settled, what, service=workload.name, forced=forced):
        watch = TaskWatch(lab, workload.name)
        old = frozenset(watch.up)
        update(lab, service, spec)
        mark("update")
        followed = _follow(lab, workload, watch, old, service["Spec"], spec, deadline or _PATIENCE)
        mark("complete" if followed.completed else "gave up")
        if not followed.completed:
            _give_up(lab, workload, forced)
    return followed


def waits_of(workload: Workload) -> float:
    """For how many seconds an update stands still by its own settings."""
    rollout = workload.rollout
    return rollout.settle + (rollout.monitor or 0) if rollout else 0


def require_undisturbed(
    workload: Workload, found: Document, made: Document, before: Document
) -> None:
    """Raise `CannotLook` if a service has another spec than `made`, unless Swarm rolls it back."""
    rolled_back = update_state(found).startswith("rollback") and found["Spec"] == before
    if found["Spec"] != made and not rolled_back:
        raise CannotLook(f"{workload.ref} was changed by somebody else meanwhile")


def _follow(
    lab: DockerLab,
    workload: Workload,
    watch: TaskWatch,
    old: Collection[str],
    before: Document,
    made: Document,
    deadline: float,
) -> Replacement:
    begun = moved = time.monotonic()
    patience, seen = deadline + waits_of(workload), ""
    while True:
        watch.look()
        service = service_of(lab, workload)
        require_undisturbed(workload, service, made, before)
        state, now, left = update_state(service), time.monotonic(), watch.left(old)
        progress = f"{state or 'begins'}, {watch.running} running, {left} old not gone yet"
        if progress != seen:
            seen, moved = progress, now
            lab.say(f"update of {workload.ref}: {progress}")
        is_over = (state == "completed" and not left) or state.startswith("rollback")
        if is_over or state in _STUCK or now - moved > patience:
            break
        time.sleep(_POLL)
    completed = state == "completed"
    message = (service.get("UpdateStatus") or {}).get("Message", "")
    reasons = (message, *watch.errors(old)) if not completed else ()
    return Replacement(
        seconds=time.monotonic() - begun,
        copies=len(old) - left,
        completed=completed,
        stops=watch.stops(old, workload.grace_period),
        fewest_ready=watch.fewest_running,
        without_ready=watch.without_running,
        reasons=tuple(filter(None, reasons)),
    )


def _give_up(lab: DockerLab, workload: Workload, forced: int) -> None:
    """Do not wait any longer for an update that hangs."""
    service = service_of(lab, workload)
    if not update_state(service).startswith("rollback"):
        _roll_back(lab, service, forced)


@undo
def service_settled(lab: DockerLab, service: str, forced: int) -> None:
    """Wait for the end of an update, however it ends; roll it back if it hangs or is paused.

    A service that is gone, or was updated by others since, is left alone.
    """
    patience = time.monotonic() + _PATIENCE

    def is_settled() -> bool:
        found = find_service(lab, service)
        if found is None or forced not in (_force_of(found["Spec"]), _force_of(_previous(found))):
            return True
        state = update_state(found)
        if state == "rollback_paused":
            raise CannotLook(f"the rollback of service {service} is paused: see its tasks")
        ours = _force_of(found["Spec"]) == forced and state != "completed"
        if ours and (state == "paused" or time.monotonic() > patience):
            _roll_back(lab, found, forced)
            return False
        return state not in ("updating", "rollback_started") and _is_whole(lab, found)

    lab.wait_for(is_settled, 2 * _PATIENCE, f"service {service} to be settled")


def _roll_back(lab: DockerLab, service: Document, forced: int) -> None:
    """Ask for the spec before, unless it differs in more than what was forced."""
    previous = copied(_previous(service))
    previous.setdefault("TaskTemplate", {})["ForceUpdate"] = forced
    if previous != service["Spec"]:
        raise CannotLook(
            f"service {service['Spec']['Name']} was changed by somebody else meanwhile, and its"
            f" update is {update_state(service)}: it is left so"
        )
    try:
        update(lab, service, service["Spec"], rollback=True)
    except Outdated:
        return  # Swarm wrote down how far it is: asked again at the next look


def _previous(service: Document) -> Document:
    spec: Document = service.get("PreviousSpec") or {}
    return spec


def _force_of(spec: Document) -> int:
    return int(spec.get("TaskTemplate", {}).get("ForceUpdate") or 0)


def _is_whole(lab: DockerLab, service: Document) -> bool:
    running = sum(is_up(task) for task in tasks_of(lab, service["Spec"]["Name"]))
    return running == wanted_tasks(lab, service)
