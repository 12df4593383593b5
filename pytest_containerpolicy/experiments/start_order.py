"""Whether a Compose project comes up in order: each service when what it depends on is ready."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import cast

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_cli import ComposeCli, compose_of
from pytest_containerpolicy.experiments.compose_volumes import containers_with, service_labels
from pytest_containerpolicy.experiments.docker_instances import (
    container_runs,
    guests_of,
    is_ready,
)
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.lab import PROTECTED_LABEL, Lab, undo
from pytest_containerpolicy.experiments.project_starts import (
    SERVICE,
    ProjectStart,
    ServiceStart,
    StartEvents,
    daemon_time,
    services_started,
)
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

_POLL = 0.2
_SETTLE_SECONDS = 30.0
_COMPLETED = "service_completed_successfully"
_UP = ("--detach", "--no-build", "--pull", "never")
# What Compose foretells where nothing is to be done, and besides of a job that it runs again.
_AT_REST, _RUN_AGAIN = {"Running", "Waiting", "Healthy"}, {"Starting", "Started", "Exited"}


def waits_for_others(workload: Workload) -> bool:
    """Whether it declares what must be there before it starts."""
    return bool(workload.depends_on)


@experiment("disrupt", "stops and starts the whole project, once", applies=waits_for_others)
def start_order_holds(workload: Workload, lab: Lab, within: float = 120) -> Iterator[Violation]:
    """After a real start a service had waited for what it depends on, and needed no second try.

    All services must be well `within` seconds.
    """
    key = ("start of the project", workload.model.target)
    measured = lab.once(key, lambda: _recorded(workload.model, lab, within))
    own = measured.services.get(workload.name)
    if own is None or own.started is None:
        yield Violation(
            found=f"not started: {measured.problem or 'docker compose up left it out'}",
            wanted="it starts when what it depends on is ready",
            path=_path(workload),
        )
        return
    for name, condition in workload.depends_on:
        if other := measured.services.get(name):
            yield from _too_early(workload, own, other, condition)
    yield from _stumbled(workload, own, measured, within)


def measure_start(model: Model, lab: Lab, within: float = 120) -> ProjectStart:
    """Stop all services of a running Compose project and start them as `docker compose up` does.

    No container is made anew; waits `within` seconds until all are well. Raises `CannotLook` if
    they are not before, may not be disrupted, if the project's files would deploy anything else
    now, or if they or Docker Compose are missing.
    """
    docker, workloads = cast(DockerLab, lab), list(model.all(Workload))
    with ExitStack() as claims:
        for workload in workloads:
            claims.enter_context(docker.claim(workload))
        containers = [one for workload in workloads for one in docker.containers(workload)]
        _require_well(docker, containers)
        running = _services(containers)
        compose = compose_of(docker, next(one for one in workloads if one.name in running))
        _require_unchanged(compose, containers, set(_jobs(docker, compose, workloads)))
        containers.sort(key=lambda one: str(one["State"]["StartedAt"]))
        identities = [str(one["Id"]) for one in containers]
        name = compose.project.name
        left = f"project {name} may not run"
        with docker.undoing(containers_run, left, containers=identities):
            return _restarted(docker, compose, containers, within)


def _recorded(model: Model, lab: Lab, within: float) -> ProjectStart:
    measured = measure_start(model, lab, within)
    lab.record(measured)
    return measured


def _restarted(
    lab: DockerLab, compose: ComposeCli, containers: Sequence[Document], within: float
) -> ProjectStart:
    services = sorted(_services(containers))
    name, problem = compose.project.name, ""
    lab.say(f"stopping project {name} ({', '.join(services)})")
    compose.run("stop", *services, seconds=within + sum(map(_grace, containers)))
    since = daemon_time(lab)
    lab.say(f"starting project {name}")
    with StartEvents(lab, name, since) as events:
        try:
            compose.run("up", "--no-recreate", *_as_deployed(containers), seconds=within)
        except CannotLook as gap:
            problem = str(gap)
        well = _well(lab, containers, within)
    found = services_started(events.in_order(), since)
    for service in services:
        found.setdefault(service, ServiceStart(service=service)).is_well = service in well
    return ProjectStart(project=name, services=found, problem=problem)


def _well(lab: DockerLab, containers: Sequence[Document], seconds: float) -> set[str]:
    """The services all of whose containers are well, as soon as all are or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        bad = {
            one["Config"]["Labels"][SERVICE]
            for one in containers
            if (found := lab.inspect(one["Id"])) is None or not is_ready(found)
        }
        if not bad or time.monotonic() > deadline:
            return _services(containers) - bad
        time.sleep(_POLL)


def _require_well(lab: DockerLab, containers: Sequence[Document]) -> None:
    if not containers:
        raise CannotLook("no container of the project runs")
    if missing := _services(containers) - _well(lab, containers, _SETTLE_SECONDS):
        raise CannotLook(f"{', '.join(sorted(missing))}: not well before: nothing was touched")
    own = {one["Name"].removeprefix("/") for one in containers}
    for one in containers:
        name = one["Name"].removeprefix("/")
        if others := set(guests_of(lab, one)) - own:
            raise CannotLook(
                f"container {name} lends its network to {', '.join(sorted(others))} of another"
                " project, which would lose it: nothing was touched"
            )


def _require_unchanged(
    compose: ComposeCli, containers: Sequence[Document], jobs: Collection[str]
) -> None:
    """Raise `CannotLook` if `up` would do more than start what runs, and jobs that had ended."""
    foretold = compose.foretell(*_as_deployed(containers))
    changes = [
        f"{name} ({state})"
        for name, state in foretold
        if state not in (_AT_REST | _RUN_AGAIN if name in jobs else _AT_REST)
    ]
    if changes:
        raise CannotLook(
            f"`docker compose up` would change more in project {compose.project.name} than start"
            f" it: {', '.join(changes)}: run it first, or set the variables that the project was"
            " deployed with"
        )


def _as_deployed(containers: Sequence[Document]) -> list[str]:
    """The words for `up` of their services, in as many copies as there are."""
    copies = Counter(one["Config"]["Labels"][SERVICE] for one in containers)
    scales = [word for name in copies for word in ("--scale", f"{name}={copies[name]}")]
    return [*_UP, *scales, *sorted(copies)]


def _jobs(lab: DockerLab, compose: ComposeCli, workloads: Sequence[Workload]) -> Iterator[str]:
    """The names of the containers that others wait for the end of, and that may run again.

    Once they have ended they are no workloads of the model.
    """
    awaited = {pair for workload in workloads for pair in workload.depends_on}
    for service, condition in sorted(awaited):
        if condition == _COMPLETED and lab.target.covers("service", service):
            for one in containers_with(lab, service_labels(compose.project.name, service)):
                if one["Config"]["Labels"].get(PROTECTED_LABEL) != "false":
                    yield one["Name"].removeprefix("/")


def _services(containers: Sequence[Document]) -> set[str]:
    return {one["Config"]["Labels"][SERVICE] for one in containers}


def _grace(container: Document) -> float:
    return float(container["Config"].get("StopTimeout") or 10)


@undo
def containers_run(lab: DockerLab, containers: Sequence[str]) -> None:
    """Start those containers that do not run, in the order in which they started before."""
    for container in containers:
        container_runs(lab, container)


def _too_early(
    workload: Workload, own: ServiceStart, other: ServiceStart, condition: str
) -> Iterator[Violation]:
    met, started = other.met(condition), own.started or 0
    if met is None or met > started:
        words = condition.removeprefix("service_").replace("_", " ")
        when = "never" if met is None else f"{met - started:.1f} s later"
        yield Violation(
            found=f"started before {other.service}, which was {words} {when}",
            wanted=f"{other.service} is {words} before it starts",
            path=_path(workload),
        )


def _stumbled(
    workload: Workload, own: ServiceStart, measured: ProjectStart, within: float
) -> Iterator[Violation]:
    if own.ends:
        at, code = own.ends[0]
        late = [
            f"{name} was healthy {healthy - at:.1f} s later"
            for name, _ in workload.depends_on
            if (one := measured.services.get(name))
            and (healthy := one.healthy) is not None
            and healthy > at
        ]
        yield Violation(
            found=f"ended {at - (own.started or 0):.1f} s after its start with exit code {code}",
            wanted="it starts when what it needs is ready, and stays up",
            path=_path(workload),
            why="; ".join(late),
        )
    if not own.is_well:
        yield Violation(
            found=f"not well {within:g} s after the start of the project",
            wanted="it is up, and healthy where it has a health check",
            path=_path(workload),
        )


def _path(workload: Workload) -> str:
    return f"services.{workload.name}.depends_on"
