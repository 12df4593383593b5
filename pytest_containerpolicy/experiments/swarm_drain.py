"""A node of a Swarm drained as `docker node update --availability drain` does it, and back.

Tasks stay where they moved to: Swarm does not spread them again by itself.
https://docs.docker.com/engine/swarm/swarm-tutorial/drain-node/
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.experiments.swarm_availability import drained, inspect_node
from pytest_containerpolicy.experiments.swarm_crashing import service_is_whole
from pytest_containerpolicy.experiments.swarm_watch import (
    TaskWatch,
    is_up,
    require_settled,
    service_of,
    tasks_of,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

_POLL = 0.1


class DrainPlan(Struct, frozen=True):
    """The node to drain, by host name and id; `stranded` says why a task finds no other place."""

    node: str
    identity: str
    stranded: str = ""


def plan_drain(lab: DockerLab, workload: Workload, node: str = "") -> DrainPlan:
    """Choose the node with most of a service's tasks, unless it is named; nothing is touched.

    The node that we measure from is not drained. Raises `CannotLook` if the service is not at rest,
    if there is no other node to drain, or if it has tasks of services that the URI does not name.
    """
    require_settled(lab, workload)
    if workload.one_per_node:
        raise CannotLook(f"{workload.ref} has one task per node: a drain moves none of them")
    tasks = [task for task in tasks_of(lab, workload.name) if is_up(task)]
    names = {
        identity: str(inspect_node(lab, identity)["Description"]["Hostname"])
        for identity in {task["NodeID"] for task in tasks}
    }
    here = _own_node(lab)
    count = Counter(t["NodeID"] for t in tasks if node in ("", names[t["NodeID"]]))
    if not count:
        raise CannotLook(f"{workload.ref} has no task on {node}: nothing to drain")
    chosen = max(count, key=lambda one: (one != here, count[one], one))
    if chosen == here:
        raise CannotLook(
            f"{workload.ref} would be drained from the manager that this run measures from: name"
            " another manager in the target's URI"
        )
    plan = DrainPlan(names[chosen], chosen, _stranded(workload, names[chosen]))
    if not plan.stranded:
        _require_named(lab, plan)
    return plan


def drain(
    lab: DockerLab,
    workload: Workload,
    plan: DrainPlan,
    mark: Callable[[str], None],
    patience: float,
) -> Replacement:
    """Drain a node until the service's tasks run elsewhere; then let it take tasks again.

    Every task on the node moves, other services' too: that is what a drain is. Ends, not completed,
    when nothing moves for `patience` seconds. Raises `CannotLook` if it can't be done, or if
    somebody interferes.
    """
    service = service_of(lab, workload)
    with _moving(lab, workload, plan):
        watch = TaskWatch(lab, workload.name)
        old = {t["ID"] for t in tasks_of(lab, workload.name) if _is_on(t, plan.identity)}
        before, wanted = frozenset(watch.lives), wanted_tasks(lab, service)
        begun = time.monotonic()
        with drained(lab, plan.identity):
            mark(f"drain {plan.node}")
            completed = _moved(lab, workload, watch, old, wanted, service["Spec"], patience)
            seconds = time.monotonic() - begun
            mark("moved" if completed else "gave up")
    return Replacement(
        seconds=seconds,
        copies=len(old) - watch.left(old),
        completed=completed,
        stops=watch.stops(old, workload.grace_period),
        fewest_ready=watch.fewest_running,
        without_ready=watch.without_running,
        reasons=() if completed else tuple(watch.errors(before)),
    )


def _moved(
    lab: DockerLab,
    workload: Workload,
    watch: TaskWatch,
    old: Collection[str],
    wanted: int,
    spec: Document,
    patience: float,
) -> bool:
    seen, moved = "", time.monotonic()
    while True:
        watch.look()
        if service_of(lab, workload)["Spec"] != spec:
            raise CannotLook(f"{workload.ref} was changed by somebody else meanwhile")
        left = watch.left(old)
        progress = f"{watch.running} of {wanted} tasks run, {left} on the node"
        if progress != seen:
            seen, moved = progress, time.monotonic()
            lab.say(f"drain under {workload.ref}: {progress}")
        if not left and watch.running >= wanted:
            return True
        if time.monotonic() - moved > patience:
            return False
        time.sleep(_POLL)


@contextmanager
def _moving(lab: DockerLab, workload: Workload, plan: DrainPlan) -> Iterator[None]:
    """Hold all services with tasks on a node; after the block they have all their tasks again.

    Raises `CannotLook` if one of them is held, protected or not named in the URI.
    """
    with ExitStack() as stack:
        for name in sorted(_services_on(lab, plan)):
            moved = workload.model.get(Workload, name)
            if moved is None:
                raise CannotLook(f"service {name} came to node {plan.node} meanwhile: try again")
            if moved is not workload:
                stack.enter_context(lab.claim(moved))
            if not moved.runs_to_completion and not moved.one_per_node:
                copies = wanted_tasks(lab, service_of(lab, moved))
                what = f"{moved.ref} may lack tasks that were on node {plan.node}"
                stack.enter_context(
                    lab.undoing(service_is_whole, what, service=name, copies=copies)
                )
        yield


def _require_named(lab: DockerLab, plan: DrainPlan) -> None:
    others = [n for n in sorted(_services_on(lab, plan)) if not lab.target.covers("service", n)]
    if others:
        names = "".join(f"&workload={name}" for name in others)
        raise CannotLook(
            f"node {plan.node} also has tasks of {', '.join(others)}, which a drain would move:"
            f" name them in the URI, too, with {names}"
        )


def _services_on(lab: DockerLab, plan: DrainPlan) -> set[str]:
    """The services with tasks on a node, but our own probers."""
    with daemon_errors(f"tasks on node {plan.node}"):
        api: Any = lab.client.api
        specs = {service["ID"]: service["Spec"] for service in api.services()}
        tasks = api.tasks({"node": plan.identity, "desired-state": "running"})
    found = [specs[task["ServiceID"]] for task in tasks if task["ServiceID"] in specs]
    return {s["Name"] for s in found if (s.get("Labels") or {}).get(RUN_LABEL) != lab.run}


def _stranded(workload: Workload, node: str) -> str:
    """Why no other node takes a task, empty if one does."""
    others = [other.ref.name for other in workload.eligible_nodes if other.ref.name != node]
    return "" if others else "no other active node meets its placement constraints"


def _own_node(lab: DockerLab) -> str:
    with daemon_errors("info"):
        return str(lab.client.api.info()["Swarm"]["NodeID"])


def _is_on(task: Document, node: str) -> bool:
    return task.get("NodeID") == node and is_up(task)
