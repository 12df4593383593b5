"""The restart policy that a Compose project's files declare, and the one that is in force."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import (
    Copy,
    declared_in_files,
    in_every_copy,
    keeps_running,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path


@experiment("probe", "compares it with the project's files", applies=keeps_running)
def restart_policy_in_force(container: Container, lab: Lab) -> Iterator[Violation]:
    """Its containers have the restart policy that the project's files declare now."""

    def differences(copy: Copy) -> Iterator[Violation]:
        written = declared_in_files(copy, lab)
        if written is None:
            raise CannotLook("the files of its project are not here, or say nothing certain of it")
        policy = copy.document["HostConfig"].get("RestartPolicy") or {}
        found = _words(policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0)
        wanted = _words(written.workload.restart, written.workload.restart_attempts)
        if found != wanted:
            yield Violation(
                found=f"restart policy {found}",
                wanted=f"{wanted}, as the files declare",
                path=field_path(container.workload, "restart"),
                why="the files were changed, and `docker compose up` was not run since",
            )

    yield from in_every_copy(container, lab, differences)


def _words(policy: str, attempts: int) -> str:
    """As Compose files write it: `on-failure:3`."""
    return f"{policy}:{attempts}" if attempts else policy
