"""The tasks of a Swarm service: which run, which are on their way out, and how they ended."""

import time
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.model.workload import Workload

_ENDED = ("complete", "failed", "shutdown", "rejected", "orphaned", "remove")
KILLED = 137
_OUTDATED = "out of sequence"


class Life(Struct):
    """One task as far as it was seen: when it was told to stop, and when it had."""

    identity: str
    name: str
    told: float | None = None
    gone: float | None = None
    code: int | None = None
    error: str = ""

    def stop(self, grace: float) -> Stop | None:
        """How it stopped; None if that was not seen."""
        if self.told is None or self.gone is None:
            return None
        seconds = self.gone - self.told
        codes = {} if self.code is None else {self.name: self.code}
        killed = self.code == KILLED and seconds >= grace > 0
        return Stop(name=self.name, seconds=seconds, codes=codes, killed=killed, told=self.told)


class TaskWatch:
    """What was seen of the tasks of a service, from one look to the next."""

    def __init__(self, lab: DockerLab, service: str) -> None:
        self._lab = lab
        self._service = service
        self.lives: dict[str, Life] = {}
        self.running = 0
        self.up: set[str] = set()
        self.fewest_running: int | None = None
        self.without_running = 0.0
        self._looked = time.monotonic()
        self.look()

    def look(self) -> None:
        """Look again."""
        now = time.monotonic()
        tasks = tasks_of(self._lab, self._service)
        for task in tasks:
            self._see(task, now)
        # The manager keeps only some tasks that ended: five a slot, or as the Swarm is set.
        listed = {task["ID"] for task in tasks}
        for identity, life in self.lives.items():
            if identity not in listed and life.gone is None:
                life.gone = now
        self.up = {task["ID"] for task in tasks if is_up(task)}
        self.running = len(self.up)
        fewest = self.running if self.fewest_running is None else self.fewest_running
        self.fewest_running = min(fewest, self.running)
        if self.running == 0:
            self.without_running += now - self._looked
        self._looked = now

    def errors(self, known: Collection[str]) -> list[str]:
        """What the manager said of tasks that are not among those known."""
        return sorted({o.error for key, o in self.lives.items() if key not in known and o.error})

    def stops(self, tasks: Iterable[str], grace: float) -> tuple[Stop, ...]:
        """How some of the tasks stopped, as far as it was seen."""
        found = (self.lives[key].stop(grace) for key in sorted(tasks))
        return tuple(stop for stop in found if stop)

    def left(self, tasks: Iterable[str]) -> int:
        """How many of the tasks are not gone yet."""
        return sum(self.lives[key].gone is None for key in tasks)

    def _see(self, task: Document, now: float) -> None:
        life = self.lives.setdefault(task["ID"], Life(task["ID"], task_name(self._service, task)))
        status = task["Status"]
        if task["DesiredState"] in ("shutdown", "remove") and life.told is None:
            life.told = now
        if status["State"] in _ENDED and life.gone is None:
            life.gone = now
            life.code = (status.get("ContainerStatus") or {}).get("ExitCode")
        life.error = status.get("Err") or life.error


def task_name(service: str, task: Document) -> str:
    """What a task is called: by its slot, or by its node where every node has one."""
    return f"{service}.{task.get('Slot') or task.get('NodeID', '')[:12]}"


def is_up(task: Document) -> bool:
    """Whether a task runs and is to go on running."""
    # A task with a health check is `starting` until it is healthy.
    return bool(task["Status"]["State"] == "running" and task["DesiredState"] == "running")


def tasks_of(lab: DockerLab, service: str) -> list[Document]:
    """All tasks of a service, those that ended lately included."""
    with daemon_errors(f"tasks of service {service}"):
        api: Any = lab.client.api
        tasks: list[Document] = api.tasks({"service": service})
    return tasks


def service_of(lab: DockerLab, workload: Workload) -> Document:
    """A service as the manager has it now. Raises `CannotLook`, also if it is gone."""
    service = find_service(lab, workload.name)
    if service is None:
        raise CannotLook(f"{workload.ref} is gone: somebody removed it")
    return service


def find_service(lab: DockerLab, name: str) -> Document | None:
    """A service as the manager has it now, None if it is gone."""
    from docker.errors import NotFound

    with daemon_errors(f"service {name}"):
        api: Any = lab.client.api
        try:
            service: Document = api.inspect_service(name)
        except NotFound:
            return None
    return service


class Outdated(CannotLook):
    """A service was changed since it was read."""


def update(lab: DockerLab, service: Document, spec: Document, *, rollback: bool = False) -> None:
    """Give a service another spec, or the one before with `rollback`.

    Raises `Outdated` if somebody else, or Swarm itself, has changed it since it was read.
    """
    from docker.errors import APIError

    params = {"version": service["Version"]["Index"]}
    if rollback:
        params["rollback"] = "previous"
    with daemon_errors(f"update of service {spec['Name']}"):
        api: Any = lab.client.api
        try:
            api.post_document(f"/services/{service['ID']}/update", spec, params)
        except APIError as error:
            if _OUTDATED in str(error):
                raise Outdated(f"service {spec['Name']} is being changed by others") from None
            raise


def copied(spec: Document) -> Document:
    """A spec that may be changed."""
    copy: Document = msgspec.json.decode(msgspec.json.encode(spec))
    return copy


def update_state(service: Document) -> str:
    """`updating`, `completed`, `paused`, `rollback_completed`, ...; empty before the first."""
    return str((service.get("UpdateStatus") or {}).get("State", ""))


def require_settled(lab: DockerLab, workload: Workload) -> Document:
    """The service, all of whose tasks run.

    Raises `CannotLook` if it is being changed, or is not well.
    """
    service = service_of(lab, workload)
    state = update_state(service)
    if state in ("updating", "rollback_started", "paused", "rollback_paused"):
        raise CannotLook(f"{workload.ref} is {state}: nothing was touched")
    wanted = wanted_tasks(lab, service)
    running = sum(is_up(task) for task in tasks_of(lab, workload.name))
    if running != wanted or not wanted:
        raise CannotLook(f"{workload.ref} has {running} of {wanted} tasks: nothing was touched")
    return service


def wanted_tasks(lab: DockerLab, service: Document) -> int:
    """How many tasks a service is to have now. Raises `CannotLook` for a job."""
    mode = service["Spec"].get("Mode") or {"Replicated": {"Replicas": 1}}
    if "Replicated" in mode:
        return int(mode["Replicated"].get("Replicas", 1))
    if "Global" in mode:
        tasks = tasks_of(lab, service["Spec"]["Name"])
        return sum(task["DesiredState"] == "running" for task in tasks)
    raise CannotLook(f"service {service['Spec']['Name']} is a job: it has no rollout")
