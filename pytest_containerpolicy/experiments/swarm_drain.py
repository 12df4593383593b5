"""A node of a Swarm drained as `docker node update --availability drain` does it, and back.

https://docs.docker.com/engine/swarm/swarm-tutorial/drain-node/
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.experiments.swarm_watch import (
    TaskWatch,
    copied,
    require_settled,
    tasks_of,
    wanted_tasks,
)
from pytest_containerpolicy.model.workload import Workload

_PATIENCE = 120.0
_POLL = 0.1


def drain(
    lab: DockerLab, workload: Workload, mark: Callable[[str], None], deadline: float
) -> Replacement:
    """Drain the node with most of a service's tasks until they run elsewhere; then activate it.

    Every task on the node moves, other services' too: that is what a drain is. Ends, not completed,
    after `deadline` seconds (0: 120). Raises `CannotLook` if it can't be done.
    """
    service = require_settled(lab, workload)
    wanted = wanted_tasks(lab, service)
    node = _node_of(lab, workload)
    _require_only_named(lab, node)
    watch = TaskWatch(lab, workload.name)
    begun = time.monotonic()
    with drained(lab, node):
        mark(f"drain {node['Description']['Hostname']}")
        old = {task["ID"] for task in _tasks_on(lab, workload.name, node["ID"])}
        completed = _moved(lab, workload, watch, old, wanted, begun + (deadline or _PATIENCE))
        seconds = time.monotonic() - begun
        mark("moved" if completed else "gave up")
    stops = [watch.lives[key].stop(workload.grace_period) for key in sorted(old)]
    errors = {life.error for key, life in watch.lives.items() if key not in old and life.error}
    return Replacement(
        seconds=seconds,
        copies=len(old),
        completed=completed,
        stops=tuple(stop for stop in stops if stop),
        fewest_ready=watch.fewest_running,
        without_ready=watch.without_running,
        reasons=() if completed else tuple(sorted(errors)),
    )


def _moved(
    lab: DockerLab,
    workload: Workload,
    watch: TaskWatch,
    old: set[str],
    wanted: int,
    deadline: float,
) -> bool:
    seen = ""
    while True:
        watch.look()
        left = sum(watch.lives[key].gone is None for key in old)
        progress = f"{watch.running} of {wanted} tasks run, {left} on the node"
        if progress != seen:
            seen = progress
            lab.say(f"drain under {workload.ref}: {progress}")
        if not left and watch.running >= wanted:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)


@contextmanager
def drained(lab: DockerLab, node: Document) -> Iterator[None]:
    """A node takes no tasks, and has none, in the block.

    Raises `CannotLook` if it is not active.
    """
    name = node["Description"]["Hostname"]
    if node["Spec"].get("Availability") != "active":
        raise CannotLook(f"node {name} is not active: nothing was touched")
    what = f"node {name} is drained"
    with lab.undoing(activate, what, node=node["ID"], run=lab.run):
        spec = copied(node["Spec"])
        spec["Labels"] = {**(spec.get("Labels") or {}), RUN_LABEL: lab.run}
        _set(lab, node, spec | {"Availability": "drain"})
        yield


@undo
def activate(lab: DockerLab, node: str, run: str) -> None:
    """Let a node that a run drained take tasks again."""
    with daemon_errors(f"node {node}"):
        api: Any = lab.client.api
        found: Document = api.inspect_node(node)
    spec = copied(found["Spec"])
    labels = spec.get("Labels") or {}
    if labels.get(RUN_LABEL) != run:
        return
    spec["Labels"] = {key: value for key, value in labels.items() if key != RUN_LABEL}
    _set(lab, found, spec | {"Availability": "active"})


def _set(lab: DockerLab, node: Document, spec: Document) -> None:
    with daemon_errors(f"update of node {node['ID']}"):
        api: Any = lab.client.api
        params = {"version": node["Version"]["Index"]}
        api.post_document(f"/nodes/{node['ID']}/update", spec, params)


def _node_of(lab: DockerLab, workload: Workload) -> Document:
    """The node with most of its tasks; the one that we measure from only if there is no other."""
    with daemon_errors("nodes of the Swarm"):
        api: Any = lab.client.api
        here = api.info()["Swarm"]["NodeID"]
        tasks = [t for t in tasks_of(lab, workload.name) if t["DesiredState"] == "running"]
        count = Counter(task["NodeID"] for task in tasks if task.get("NodeID"))
        chosen = max(count, key=lambda node: (node != here, count[node], node))
        if chosen == here:
            raise CannotLook(
                f"{workload.ref} runs only on the manager that this run measures from: name another"
                " manager in the target's URI"
            )
        node: Document = api.inspect_node(chosen)
    return node


def _require_only_named(lab: DockerLab, node: Document) -> None:
    """Raise `CannotLook` if the node has tasks of services that the URI does not name."""
    with daemon_errors("tasks"):
        api: Any = lab.client.api
        names = {service["ID"]: service["Spec"]["Name"] for service in api.services()}
        tasks = api.tasks({"node": node["ID"], "desired-state": "running"})
    found = {names.get(task["ServiceID"], task["ServiceID"]) for task in tasks}
    others = sorted(
        name
        for name in found
        if not lab.target.covers("service", name) and not name.startswith("containerpolicy-")
    )
    if others:
        raise CannotLook(
            f"node {node['Description']['Hostname']} also has tasks of {', '.join(others)}, which"
            " a drain would move: name them in the URI, too, with &workload=NAME"
        )


def _tasks_on(lab: DockerLab, service: str, node: str) -> list[Document]:
    return [
        task
        for task in tasks_of(lab, service)
        if task.get("NodeID") == node and task["Status"]["State"] == "running"
    ]
