"""Data of a Swarm service after a forced update: read on this node, judged by placement beyond.

A manager sees the containers of its own node only. A task that went to another node finds there
nothing of what is on this one's disk: a local volume of the same name is another volume.
https://docs.docker.com/engine/swarm/services/#give-a-service-access-to-volumes-or-bind-mounts
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_instances import require_well
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.docker_survival import (
    hand_of,
    remove_container_markers,
    spots_of,
)
from pytest_containerpolicy.experiments.lab import TookTooLong
from pytest_containerpolicy.experiments.markers import Hand, Marker, new_marker
from pytest_containerpolicy.experiments.survival_disks import require_anchored
from pytest_containerpolicy.experiments.survival_markers import look, plant, require_hands, undone
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.experiments.survival_result import Reading, Recreation
from pytest_containerpolicy.experiments.swarm_availability import inspect_node, paused
from pytest_containerpolicy.experiments.swarm_rollout import service_settled
from pytest_containerpolicy.experiments.swarm_watch import (
    copied,
    require_settled,
    service_of,
    task_name,
    tasks_of,
    update,
    update_state,
)
from pytest_containerpolicy.model.workload import Workload

_TASK = "com.docker.swarm.task.id"
_STUCK = ("paused", "rollback_paused", "rollback_completed")


class Replaced(Struct, frozen=True):
    """A task whose container is on this daemon, and the ids of all tasks there were before."""

    workload: Workload
    container: Document
    task: Document
    known: frozenset[str]
    deadline: float
    leave_behind: bool

    @property
    def unit(self) -> str:
        return f"task {task_name(self.workload.name, self.task)}"

    def successor(self, lab: DockerLab) -> Document | None:
        """The newest task in its place."""
        key = "Slot" if self.task.get("Slot") else "NodeID"
        found = [
            task
            for task in tasks_of(lab, self.workload.name)
            if task["ID"] not in self.known
            and task.get(key) == self.task[key]
            and task["DesiredState"] in ("ready", "running")
        ]
        return max(found, key=lambda task: str(task["CreatedAt"]), default=None)


def recreate_task(
    lab: DockerLab,
    workload: Workload,
    places: Sequence[Place],
    *,
    move: bool,
    leave_behind: bool,
    deadline: float,
) -> Iterator[Recreation]:
    """Replace all tasks by a forced update, and look for the data of one of them.

    With `move` the node takes no new tasks until the next one has a place elsewhere. Only with
    `leave_behind` a task is replaced that may start away from the disk that its data is on. Raises
    `CannotLook` if no task is on this manager, or if it went where nobody can look.
    """
    service = require_settled(lab, workload)
    replaced = _choose(lab, workload, deadline, leave_behind)
    marker = new_marker(lab.run)
    require_hands(_hands(lab, replaced.container["Id"]), places, marker)
    spots = spots_of(replaced.container, places)
    labels = [f"com.docker.swarm.service.name={workload.name}"]
    left = f"marker files {marker.name} of {workload.ref} are left"
    change = lab.undoing(
        remove_container_markers, left, labels=labels, name=marker.name, spots=spots
    )
    yield from undone(change, partial(_measure, lab, service, replaced, places, marker, move))


def _choose(lab: DockerLab, workload: Workload, deadline: float, leave_behind: bool) -> Replaced:
    tasks = {task["ID"]: task for task in tasks_of(lab, workload.name)}
    for container in lab.containers(workload):
        task = tasks.get(container["Config"]["Labels"].get(_TASK, ""))
        if task and task["DesiredState"] == "running":
            require_well(lab, container)
            return Replaced(workload, container, task, frozenset(tasks), deadline, leave_behind)
    raise CannotLook(
        f"{workload.ref} has no task on the manager that is asked, and the files of other nodes"
        " can't be seen from there: name a manager that runs one"
    )


def _measure(
    lab: DockerLab,
    service: Document,
    replaced: Replaced,
    places: Sequence[Place],
    marker: Marker,
    move: bool,
) -> Iterator[Recreation]:
    written = plant(_hands(lab, replaced.container["Id"]), places, marker)
    if not replaced.leave_behind:
        require_anchored(replaced.workload, written)
    spec = copied(service["Spec"])
    forced = int(spec["TaskTemplate"].get("ForceUpdate") or 0) + 1
    spec["TaskTemplate"]["ForceUpdate"] = forced
    lab.say(f"forcing an update of {replaced.workload.ref}")
    what = f"{replaced.workload.ref} may be in the middle of an update"
    with lab.undoing(service_settled, what, service=replaced.workload.name, forced=forced):
        began = time.monotonic()
        notes = _update(lab, service, spec, replaced, move)
        try:
            lab.wait_for(partial(_is_over, lab, replaced), replaced.deadline, replaced.unit)
            ready_after, trouble = time.monotonic() - began, ""
        except TookTooLong as late:
            ready_after, trouble = None, _trouble(lab, replaced) or str(late)
        yield _recreation(lab, replaced, (written, marker), ready_after, trouble, notes)


def _update(
    lab: DockerLab, service: Document, spec: Document, replaced: Replaced, move: bool
) -> tuple[str, ...]:
    """Start the update; returns what there is to say about the task's move."""
    if not move or replaced.workload.one_per_node:
        update(lab, service, spec)
        return ()
    with paused(lab, replaced.task["NodeID"]):
        update(lab, service, spec)
        try:
            found = lab.wait_for(partial(_placement, lab, replaced), replaced.deadline, "a node")
        except TookTooLong as late:
            return (f"can't move: {late}",)
    return (f"can't move: {found}",) if isinstance(found, str) else ()


def _placement(lab: DockerLab, replaced: Replaced) -> str | bool:
    """Whether the next task has a node, or why it gets none; false before either."""
    fresh = replaced.successor(lab)
    if fresh is None:
        return False
    return bool(fresh.get("NodeID")) or str(fresh["Status"].get("Err", ""))


def _is_over(lab: DockerLab, replaced: Replaced) -> bool:
    """Whether the update is complete. Raises `TookTooLong` if it never will be."""
    service = service_of(lab, replaced.workload)
    if update_state(service) in _STUCK:
        raise TookTooLong(str((service.get("UpdateStatus") or {}).get("Message", "")))
    fresh = replaced.successor(lab)
    is_running = fresh is not None and fresh["Status"]["State"] == "running"
    return is_running and update_state(service) == "completed"


def _trouble(lab: DockerLab, replaced: Replaced) -> str:
    fresh = replaced.successor(lab)
    status = fresh["Status"] if fresh else {}
    return f"{status.get('State')}: {status['Err']}" if status.get("Err") else ""


def _recreation(
    lab: DockerLab,
    replaced: Replaced,
    planted: tuple[Sequence[Place], Marker],
    ready_after: float | None,
    trouble: str,
    notes: tuple[str, ...],
) -> Recreation:
    fresh = replaced.successor(lab)
    before = _node_name(lab, replaced.task["NodeID"])
    after = _node_name(lab, fresh["NodeID"]) if fresh and fresh.get("NodeID") else ""
    places, marker = planted
    if after and after != before:
        readings = [_by_placement(place, before, after) for place in places]
    else:
        status = (fresh or {}).get("Status", {}).get("ContainerStatus") or {}
        hands = _hands(lab, status.get("ContainerID", ""))
        readings = list(look(hands, places, marker, running=ready_after is not None))
    return Recreation(
        unit=replaced.unit,
        how="was replaced by `service update --force`",
        ready_after=ready_after,
        node_before=before,
        node_after=after,
        readings=tuple(readings),
        trouble=trouble,
        notes=notes,
    )


def _by_placement(place: Place, before: str, after: str) -> Reading:
    """What the next task finds on another node of what is on this one's disk, or in the container.

    Raises `CannotLook` for what may be on both.
    """
    volume = place.volume
    is_local = volume.kind == "volume" and volume.lifetime == "node" and not volume.host_path
    if not is_local and volume.lifetime != "container":
        raise CannotLook(
            f"{place}: the next task is on node {after}, whose files can't be seen from {before}:"
            " name a manager that may run all of its tasks"
        )
    left_at = f"volume {volume.name} on node {before}" if is_local else ""
    return Reading(place=place, fate="lost", left_at=left_at)


def _node_name(lab: DockerLab, node: str) -> str:
    return str(inspect_node(lab, node)["Description"]["Hostname"])


def _hands(lab: DockerLab, container: str) -> Callable[[str], Hand]:
    """A task has one container: whatever is asked for is meant."""
    hand = cache(partial(hand_of, lab, container))
    return lambda _: hand()
