"""A new set of containers for one service of a Compose project, the way Compose gives it one.

`recreate` is `docker compose up --force-recreate`: the old containers stop before the new ones
start. `scale` starts as many again beside them, waits until these are well, and then removes the
old ones. Docker's DNS names a container until its process has ended: one that takes no requests
after SIGTERM still gets some.
https://docs.docker.com/reference/cli/docker/compose/up/
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import Any, Literal

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_cli import compose_of
from pytest_containerpolicy.experiments.docker_instances import is_ready, require_well
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.replacement import Replacement, Stop
from pytest_containerpolicy.experiments.stops import KILLED
from pytest_containerpolicy.model.workload import Workload

Method = Literal["recreate", "scale"]
_PATIENCE = 300.0
_BACK_SECONDS = 120.0
_POLL = 0.1
# What Docker gives a container that says nothing of it.
_GRACE = 10


def require_restartable(lab: DockerLab, workload: Workload, method: Method = "recreate") -> None:
    """Raise `CannotLook` unless Compose would only replace what runs, and nobody lives on that."""
    containers = lab.containers(workload)
    if not containers:
        raise CannotLook(f"{workload.ref}: none of its containers runs on this daemon")
    for container in containers:
        require_well(lab, container)
    if method == "scale":
        _require_room(workload, containers)
    compose_of(lab, workload).require_unchanged(workload.name, len(containers))


def _require_room(workload: Workload, containers: Sequence[Document]) -> None:
    """Raise `CannotLook` unless there can be new containers beside the old ones."""
    found = [reason for container in containers for reason in _obstacles(container)]
    if workload.fixed_name:
        found.append(f"container_name {workload.fixed_name}")
    if found:
        raise CannotLook(
            f"{workload.ref} can't run twice: {', '.join(dict.fromkeys(found))} is for one"
            " container at a time: use method recreate"
        )


def _obstacles(container: Document) -> Iterator[str]:
    for bindings in (container["HostConfig"].get("PortBindings") or {}).values():
        for binding in bindings or ():
            # Empty and 0 are any free port, 8080-8090 one of those.
            if binding.get("HostPort", "").strip("0").isdigit():
                yield f"port {binding['HostPort']} of the host"
    for mount in container.get("Mounts") or ():
        if mount["Type"] in ("volume", "bind") and mount["RW"]:
            yield f"what it writes to {mount['Destination']}"


def restart(
    lab: DockerLab,
    workload: Workload,
    mark: Callable[[str], None],
    deadline: float,
    method: Method = "recreate",
) -> Replacement:
    """Replace all containers of a service and wait until the new ones are well.

    It ends, not completed, when they are not within `deadline` seconds (0: 300). Raises
    `CannotLook` if Compose can't be run or does not do it, or if somebody interferes.
    """
    require_restartable(lab, workload, method)
    old = lab.containers(workload)
    run = _Run(lab, workload, old, deadline or _PATIENCE, method)
    since = time.time() - 1
    with run.restored(), _watched(lab, workload) as counts:
        mark(method)
        completed = run.replace()
        mark("complete" if completed else "gave up")
        run.require_undisturbed(completed)
        reasons = () if completed else tuple(_reasons(lab, workload))
    return Replacement(
        seconds=run.seconds,
        copies=run.gone(),
        completed=completed,
        stops=tuple(_stops(lab, workload, old, since)),
        fewest_ready=min(counts.ready, default=None),
        without_ready=counts.without_ready,
        reasons=reasons,
    )


class _Run:
    """One replacement under way."""

    def __init__(
        self,
        lab: DockerLab,
        workload: Workload,
        old: Sequence[Document],
        patience: float,
        method: Method,
    ) -> None:
        self._lab, self._workload, self._compose = lab, workload, compose_of(lab, workload)
        self._old, self._patience, self._method = old, patience, method
        self._former = {container["Id"] for container in old}
        self._begun = time.monotonic()
        self.seconds = 0.0

    @contextmanager
    def restored(self) -> Iterator[None]:
        """After the block the service has its containers, come what may."""
        project, service = self._compose.project.name, self._workload.name
        rows = _rows(self._lab, project, service)
        names = sorted(map(_name, self._old))
        what = f"{self._workload.ref} may not have its {len(names)} containers ({', '.join(names)})"
        with self._lab.undoing(
            service_runs,
            what,
            project=project,
            service=service,
            count=len(self._old),
            most=len(self._old) * (2 if self._method == "scale" else 1),
            old=sorted(self._former),
            spared=sorted({row["Id"] for row in rows} - self._former),
        ):
            yield

    def replace(self) -> bool:
        """Let Compose start the new ones; whether they are well in time and the old ones gone."""
        count, scaled = len(self._old), self._method == "scale"
        option = "--no-recreate" if scaled else "--force-recreate"
        wanted = 2 * count if scaled else count
        self._compose.up(self._workload.name, wanted, option, seconds=self._patience)
        if not self._are_well(count):
            return False
        for container in self._old if scaled else ():
            with daemon_errors(f"removal of container {_name(container)}"):
                _remove(self._lab, container)
        self.seconds = time.monotonic() - self._begun
        return True

    def gone(self) -> int:
        """How many of the old ones do not run any more."""
        return len(self._former - {c["Id"] for c in self._lab.containers(self._workload)})

    def require_undisturbed(self, completed: bool) -> None:
        """Raise `CannotLook` if there are not as many containers as there were to be."""
        found = len(self._lab.containers(self._workload))
        if completed and found != len(self._old):
            raise CannotLook(
                f"{self._workload.ref} has {found} containers instead of {len(self._old)}:"
                " somebody else changed it meanwhile"
            )

    def _are_well(self, count: int) -> bool:
        """Whether so many new containers are well within the time."""
        while True:
            found = self._lab.containers(self._workload)
            new = [container for container in found if container["Id"] not in self._former]
            self.seconds = time.monotonic() - self._begun
            if len(new) >= count and all(map(is_ready, new)):
                return True
            if self.seconds > self._patience:
                return False
            time.sleep(_POLL)


def _reasons(lab: DockerLab, workload: Workload) -> Iterator[str]:
    for container in lab.containers(workload):
        if not is_ready(container):
            state = container["State"]
            health = (state.get("Health") or {}).get("Status", "")
            name = _name(container)
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
            name = _name(container)
            killed = code == KILLED and seconds >= workload.grace_period
            yield Stop(name=name, seconds=seconds, codes={name: code}, killed=killed)


@undo
def service_runs(
    lab: DockerLab,
    project: str,
    service: str,
    count: int,
    most: int,
    old: Collection[str],
    spared: Collection[str],
) -> None:
    """Bring a service back to as many well containers as it had, and leave none beside them.

    Of too many those go that are not well, then new ones; those in `spared` did not run before. A
    service that somebody took down, or scaled to more than `most`, is left alone.
    """

    def is_back() -> bool:
        rows = [row for row in _rows(lab, project, service) if row["Id"] not in spared]
        found = [found for row in rows if (found := lab.inspect(row["Id"]))]
        running = [one for one in found if one["State"]["Running"]]
        resting = [one for one in found if not one["State"]["Running"]]
        by_worth = partial(_worth, old=old)
        if not found or len(running) > most:
            return True
        if len(running) > count:
            _remove(lab, min(running, key=by_worth))
        elif resting and len(running) < count:
            lab.client.api.start(max(resting, key=by_worth)["Id"])
        elif resting:
            _remove(lab, resting[0])
        else:
            return len(running) == count and all(map(is_ready, running))
        return False

    with daemon_errors(f"service {service} of project {project}"):
        lab.wait_for(is_back, _BACK_SECONDS, f"service {service} to have {count} containers again")


def _name(container: Document) -> str:
    return str(container["Name"]).removeprefix("/")


def _worth(container: Document, old: Collection[str]) -> tuple[bool, bool]:
    return is_ready(container), container["Id"] in old


def _remove(lab: DockerLab, container: Document) -> None:
    """Stop a container as it wants to be stopped and remove it; one that is gone is fine."""
    from docker.errors import NotFound

    grace = container["Config"].get("StopTimeout")
    try:
        if container["State"]["Running"]:
            lab.client.api.stop(container["Id"], timeout=_GRACE if grace is None else grace)
        lab.client.api.remove_container(container["Id"], v=False)
    except NotFound:
        return


def _rows(lab: DockerLab, project: str, service: str) -> list[Document]:
    """All containers of a service, running or not, but those of `compose run`."""
    labels = ("project", project), ("service", service), ("oneoff", "False")
    filters = {"label": [f"com.docker.compose.{key}={value}" for key, value in labels]}
    with daemon_errors(f"service {service} of project {project}"):
        rows: list[Document] = lab.client.api.containers(all=True, filters=filters)
    return rows
