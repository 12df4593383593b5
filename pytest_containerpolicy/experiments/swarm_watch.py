"""The tasks of a Swarm service: which run, which are on their way out, and how they ended."""

import time
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.model.workload import Workload

_ENDED = ("complete", "failed", "shutdown", "rejected", "orphaned", "remove")
KILLED = 137


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
        return Stop(name=self.name, seconds=seconds, codes=codes, killed=killed)


class TaskWatch:
    """What was seen of the tasks of a service, from one look to the next."""

    def __init__(self, lab: DockerLab, service: str) -> None:
        self._lab = lab
        self._service = service
        self.lives: dict[str, Life] = {}
        self.running = 0
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
        self.running = sum(_runs(task) for task in tasks)
        fewest = self.running if self.fewest_running is None else self.fewest_running
        self.fewest_running = min(fewest, self.running)
        if self.running == 0:
            self.without_running += now - self._looked
        self._looked = now

    def _see(self, task: Document, now: float) -> None:
        name = f"{self._service}.{task.get('Slot') or task.get('NodeID', '')[:12]}"
        life = self.lives.setdefault(task["ID"], Life(task["ID"], name))
        status = task["Status"]
        if task["DesiredState"] in ("shutdown", "remove") and life.told is None:
            life.told = now
        if status["State"] in _ENDED and life.gone is None:
            life.gone = now
            life.code = (status.get("ContainerStatus") or {}).get("ExitCode")
        life.error = status.get("Err") or life.error


def tasks_of(lab: DockerLab, service: str) -> list[Document]:
    """All tasks of a service, those that ended lately included."""
    with daemon_errors(f"tasks of service {service}"):
        api: Any = lab.client.api
        tasks: list[Document] = api.tasks({"service": service})
    return tasks


def service_of(lab: DockerLab, workload: Workload) -> Document:
    """A service as the manager has it now. Raises `CannotLook`."""
    with daemon_errors(f"service {workload.name}"):
        api: Any = lab.client.api
        service: Document = api.inspect_service(workload.name)
    return service


def update(lab: DockerLab, service: Document, spec: Document, *, rollback: bool = False) -> None:
    """Give a service another spec, unless somebody else has changed it since it was read."""
    params = {"version": service["Version"]["Index"]}
    if rollback:
        params["rollback"] = "previous"
    with daemon_errors(f"update of service {spec['Name']}"):
        api: Any = lab.client.api
        api.post_document(f"/services/{service['ID']}/update", spec, params)


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
    running = sum(_runs(task) for task in tasks_of(lab, workload.name))
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


def _runs(task: Document) -> bool:
    # A task with a health check is `starting` until it is healthy.
    return bool(task["Status"]["State"] == "running" and task["DesiredState"] == "running")
