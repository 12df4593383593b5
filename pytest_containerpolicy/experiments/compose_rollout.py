"""A new set of containers for one service of a Compose project, the way Compose gives it one.

`recreate` is `docker compose up --force-recreate`: the old containers stop before the new ones
start. `scale` starts as many again beside them, waits until these are well, and then removes the
old ones; it needs neither a fixed name nor a fixed port.
https://docs.docker.com/reference/cli/docker/compose/up/
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Literal

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_cli import ComposeCli, compose_of
from pytest_containerpolicy.experiments.docker_instances import is_ready
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Replacement, Stop
from pytest_containerpolicy.model.workload import Workload

Method = Literal["recreate", "scale"]
_PATIENCE = 300.0
_POLL = 0.1
KILLED = 137
_SERVICE, _PROJECT = "com.docker.compose.service", "com.docker.compose.project"


def require_restartable(lab: DockerLab, workload: Workload) -> None:
    """Raise `CannotLook` unless Compose would only replace what runs, and that is well."""
    containers = lab.containers(workload)
    unwell = [c["Name"].removeprefix("/") for c in containers if not is_ready(c)]
    if unwell or not containers:
        raise CannotLook(f"{workload.ref}: {', '.join(unwell) or 'none of it'} is not well")
    compose_of(lab, workload).require_unchanged(workload.name, len(containers))


def restart(
    lab: DockerLab,
    workload: Workload,
    mark: Callable[[str], None],
    deadline: float,
    method: Method = "recreate",
) -> Replacement:
    """Replace all containers of a service and wait until the new ones are well.

    It ends, not completed, when they are not within `deadline` seconds (0: 300). Raises
    `CannotLook` if Compose can't be run or does not do it.
    """
    require_restartable(lab, workload)
    old = lab.containers(workload)
    compose = compose_of(lab, workload)
    patience = deadline or _PATIENCE
    begun, since = time.monotonic(), time.time() - 1
    names = sorted(container["Name"].removeprefix("/") for container in old)
    arguments = {"project": compose.project.name, "service": workload.name}
    former = sorted(container["Id"] for container in old)
    what = f"{workload.ref} may not have its {len(old)} containers ({', '.join(names)})"
    with (
        lab.undoing(service_runs, what, **arguments, count=len(old), old=former),
        _watched(lab, workload) as counts,
    ):
        mark(method)
        if method == "scale":
            _scale(lab, compose, workload, old, patience)
        else:
            compose.up(workload.name, len(old), "--force-recreate", seconds=patience)
        completed = _are_well(lab, workload, old, patience - (time.monotonic() - begun))
        mark("complete" if completed else "gave up")
    return Replacement(
        seconds=time.monotonic() - begun,
        copies=len(old),
        completed=completed,
        stops=tuple(_stops(lab, workload, old, since)),
        fewest_ready=min(counts.ready, default=None),
        without_ready=counts.without_ready,
        reasons=() if completed else tuple(_reasons(lab, workload)),
    )


def _scale(
    lab: DockerLab, compose: ComposeCli, workload: Workload, old: Sequence[Document], seconds: float
) -> None:
    compose.up(workload.name, 2 * len(old), "--no-recreate", seconds=seconds)
    if not _are_well(lab, workload, (), seconds, count=2 * len(old)):
        return
    for container in old:
        with daemon_errors(f"removal of container {container['Name']}"):
            lab.client.api.stop(container["Id"], timeout=int(workload.grace_period))
            lab.client.api.remove_container(container["Id"])


def _are_well(
    lab: DockerLab,
    workload: Workload,
    old: Collection[Document],
    seconds: float,
    count: int = 0,
) -> bool:
    """Whether enough containers are well within the time, none of the old ones among them."""
    former = {container["Id"] for container in old}
    deadline = time.monotonic() + max(seconds, 0)
    while True:
        found = lab.containers(workload)
        new = [c for c in found if c["Id"] not in former]
        if len(new) >= (count or len(old)) and all(map(is_ready, new)):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)


def _reasons(lab: DockerLab, workload: Workload) -> Iterator[str]:
    for container in lab.containers(workload):
        if not is_ready(container):
            state = container["State"]
            health = (state.get("Health") or {}).get("Status", "")
            name = container["Name"].removeprefix("/")
            yield f"{name} is {' and '.join(filter(None, [state['Status'], health]))}"


class _Counts:
    """How many containers were well over time."""

    def __init__(self) -> None:
        self.ready: list[int] = []
        self.without_ready = 0.0


@contextmanager
def _watched(lab: DockerLab, workload: Workload) -> Iterator[_Counts]:
    """Look at the containers again and again while Compose works."""
    counts, ended = _Counts(), Event()
    thread = Thread(target=_watch, args=(lab, workload, counts, ended), daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        ended.set()
        thread.join(_PATIENCE)


def _watch(lab: DockerLab, workload: Workload, counts: _Counts, ended: Event) -> None:
    looked = time.monotonic()
    while not ended.wait(_POLL):
        try:
            ready = sum(map(is_ready, lab.containers(workload)))
        except CannotLook:
            continue
        now = time.monotonic()
        counts.ready.append(ready)
        if ready == 0:
            counts.without_ready += now - looked
        looked = now


def _stops(
    lab: DockerLab, workload: Workload, old: Sequence[Document], since: float
) -> Iterator[Stop]:
    """How the old containers stopped: they are gone, but the daemon remembers the last events."""
    until = time.time() + 1
    filters = {"type": "container", "event": ["kill", "die"], "container": [c["Id"] for c in old]}
    with daemon_errors("events"):
        api: Any = lab.client.api
        events = list(api.events(since=since, until=until, filters=filters, decode=True))
    for container in old:
        own = [event for event in events if event["Actor"]["ID"] == container["Id"]]
        told = [event["timeNano"] for event in own if event["Action"] == "kill"]
        died = [event for event in own if event["Action"] == "die"]
        if told and died:
            seconds = (died[0]["timeNano"] - told[0]) / 1e9
            code = int(died[0]["Actor"]["Attributes"]["exitCode"])
            name = container["Name"].removeprefix("/")
            killed = code == KILLED and seconds >= workload.grace_period
            yield Stop(name=name, seconds=seconds, codes={name: code}, killed=killed)


@undo
def service_runs(
    lab: DockerLab, project: str, service: str, count: int, old: Sequence[str]
) -> None:
    """Bring a service back to as many containers as it had; surplus old ones go first."""
    api: Any = lab.client.api
    labels = [f"{_PROJECT}={project}", f"{_SERVICE}={service}"]

    def is_back() -> bool:
        with daemon_errors(f"service {service} of project {project}"):
            rows = api.containers(all=True, filters={"label": labels})
            running = [row["Id"] for row in rows if row["State"] == "running"]
            if len(running) > count:
                surplus = [one for one in running if one in old] or running
                api.remove_container(surplus[0], force=True)
                return False
            for row in rows:
                if row["State"] in ("created", "exited") and len(running) < count:
                    api.start(row["Id"])
                    return False
        return len(running) == count

    lab.wait_for(is_back, _PATIENCE, f"service {service} to have {count} containers again")
