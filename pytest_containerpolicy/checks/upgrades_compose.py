"""Checks of how Compose starts and replaces the services of a project."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.workload import Workload


def is_recreated(workload: Workload) -> bool:
    """Whether a new version replaces its running copies, and there are any."""
    return not workload.runs_to_completion and workload.replicas != 0


@check(applies=is_recreated)
def starts_before_it_stops(workload: Workload) -> Iterator[Violation]:
    """Nobody beyond its project reaches what `docker compose up` stops before it starts anew.

    https://docs.docker.com/reference/cli/docker/compose/up/
    """
    if workload.is_served:
        yield Violation(
            found="recreated: its containers stop before the next ones start",
            wanted="a copy that serves meanwhile",
            why="its published ports refuse connections until the next container listens",
        )


def depends_on_others(workload: Workload) -> bool:
    """Whether it waits for other services before it starts."""
    return bool(workload.depends_on)


@check(applies=depends_on_others)
def waits_for_health(workload: Workload) -> Iterator[Violation]:
    """It starts when what it depends on is healthy, where that can be told.

    https://docs.docker.com/compose/how-tos/startup-order/
    """
    for name, condition in workload.depends_on:
        other = workload.model.get(Workload, name, workload.namespace)
        if other is None or condition != "service_started":
            continue
        if any(container.gate for container in other.running_containers):
            yield Violation(
                found=f"starts with {name}, whose health check nobody waits for",
                wanted="condition service_healthy",
                path=f"depends_on.{name}.condition",
            )
