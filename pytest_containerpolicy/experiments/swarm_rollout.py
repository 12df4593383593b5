"""A rollout on a Swarm as `docker service update --force` starts it, with its own settings.

https://docs.docker.com/reference/cli/docker/service/update/
"""

import time
from collections.abc import Callable
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Replacement
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

_PATIENCE = 300.0
_SETTLED = ("", "completed", "rollback_completed")
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
    seconds (0: 300); the service is then rolled back. Raises `CannotLook` if somebody interferes.
    """
    service = require_settled(lab, workload)
    spec = copied(service["Spec"])
    forced = int(spec["TaskTemplate"].get("ForceUpdate") or 0) + 1
    spec["TaskTemplate"]["ForceUpdate"] = forced
    what = f"{workload.ref} may be in the middle of an update"
    with lab.undoing(service_settled, what, service=workload.name, forced=forced):
        watch = TaskWatch(lab, workload.name)
        old = set(watch.lives)
        update(lab, service, spec)
        mark("update")
        followed = _follow(lab, workload, watch, old, forced, deadline or _PATIENCE)
        mark("complete" if followed.completed else "gave up")
    return followed


def _follow(
    lab: DockerLab,
    workload: Workload,
    watch: TaskWatch,
    old: set[str],
    forced: int,
    patience: float,
) -> Replacement:
    begun = moved = time.monotonic()
    seen = ""
    while True:
        watch.look()
        service = service_of(lab, workload)
        if service["Spec"]["TaskTemplate"].get("ForceUpdate") != forced:
            if update_state(service).startswith("rollback"):
                break
            raise CannotLook(f"{workload.ref} was changed by somebody else meanwhile")
        left = [life for key, life in watch.lives.items() if key in old and life.gone is None]
        state, now = update_state(service), time.monotonic()
        progress = f"{state}, {watch.running} running, {len(left)} old not gone yet"
        if progress != seen:
            seen, moved = progress, now
            lab.say(f"update of {workload.ref}: {progress}")
        if state in _STUCK or now - moved > patience or (state == "completed" and not left):
            break
        time.sleep(_POLL)
    completed = update_state(service) == "completed"
    return _replacement(workload, watch, old, time.monotonic() - begun, service, completed)


def _replacement(
    workload: Workload,
    watch: TaskWatch,
    old: set[str],
    seconds: float,
    service: Document,
    completed: bool,
) -> Replacement:
    stops = [watch.lives[key].stop(workload.grace_period) for key in sorted(old)]
    errors = {life.error for key, life in watch.lives.items() if key not in old and life.error}
    message = (service.get("UpdateStatus") or {}).get("Message", "")
    return Replacement(
        seconds=seconds,
        copies=sum(watch.lives[key].gone is not None for key in old),
        completed=completed,
        stops=tuple(stop for stop in stops if stop),
        fewest_ready=watch.fewest_running,
        without_ready=watch.without_running,
        reasons=() if completed else tuple(filter(None, [message, *sorted(errors)])),
    )


@undo
def service_settled(lab: DockerLab, service: str, forced: int) -> None:
    """Wait for the end of an update; take it back if it hangs."""
    from docker.errors import NotFound

    deadline = time.monotonic() + _PATIENCE

    def is_settled() -> bool:
        api: Any = lab.client.api
        try:
            found: Document = api.inspect_service(service)
        except NotFound:
            return True
        state = update_state(found)
        ours = found["Spec"]["TaskTemplate"].get("ForceUpdate") == forced
        if ours and (state in _STUCK or time.monotonic() > deadline):
            update(lab, found, found["Spec"], rollback=True)
            return False
        watch = TaskWatch(lab, service)
        return state in _SETTLED and watch.running == wanted_tasks(lab, found)

    lab.wait_for(is_settled, 2 * _PATIENCE, f"service {service} to be settled")
