"""What the files of a running Compose project declare today, if they are on this machine.

Compose labels each container with the files it was made from. What they say now, and what runs,
part ways when somebody edits a file and does not run `docker compose up`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.experiments.inside.copies import Copy
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.compose_files import ProjectReading, read_project
from pytest_containerpolicy.targets.inventory import Header, Inventory

_LABEL = "com.docker.compose."
# What is compared with what runs; the rest of a service may depend on the shell that ran Compose.
_COMPARED = ("memory_limit", "swap_limit", "cpu_limit", "pids_limit", "user", "read_only_root")
# What a variable may have been in that shell: one of these fits whatever is compared.
_GUESSES = ("7", "always", "on-failure", "true", "false")
_Containers = dict[str, Container]


class _Project(Struct, frozen=True):
    """Where a container's labels say that its project comes from."""

    name: str
    folder: str
    files: tuple[str, ...]
    variables: str

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> "_Project":
        project = f"{_LABEL}project"
        files = labels.get(f"{project}.config_files", "").split(",")
        return cls(
            labels.get(project, ""),
            labels.get(f"{project}.working_dir", ""),
            tuple(filter(None, files)),
            labels.get(f"{project}.environment_file", ""),
        )


def declared_in_files(copy: Copy, lab: Lab) -> Container | None:
    """A copy's container as the project's files declare it now.

    None where the files are not here or can't be read, where they no longer have the service, and
    where what they say of it depends on variables of the shell that Compose was run in.
    """
    labels = copy.document["Config"].get("Labels") or {}
    project, service = _Project.of(labels), labels.get(f"{_LABEL}service", "")
    readings = lab.once(project, lambda: _readings(project, lab))
    found = [services.get(service) for services in readings]
    if not found or None in found or len({_compared(one) for one in found if one}) > 1:
        return None
    return found[0]


def _readings(project: _Project, lab: Lab) -> tuple[_Containers, ...]:
    """The containers by service: with this process's variables, without any, and with others."""
    if not project.files or not all(map(os.path.isfile, project.files)):
        lab.record(f"project {project.name}: its files are not here, so they were not compared")
        return ()
    try:
        ours, plain = _read(project, os.environ), _read(project, {})
    except UsageError as error:
        lab.record(f"project {project.name}: its files were not compared: {error}")
        return ()
    guesses = ({name: guess} for name in sorted(plain.open_variables) for guess in _GUESSES)
    others = filter(None, (_guessed(project, guess) for guess in guesses))
    return tuple(map(_containers, (ours, plain, *others)))


def _guessed(project: _Project, variables: Mapping[str, str]) -> ProjectReading | None:
    """What the files say with these; None where they do not fit, as nothing compared is there."""
    try:
        return _read(project, variables)
    except UsageError:
        return None


def _read(project: _Project, environment: Mapping[str, str]) -> ProjectReading:
    default = Path(project.folder) / ".env"
    variables = project.variables or (str(default) if default.is_file() else "")
    given = {"COMPOSE_PROJECT_NAME": project.name, "COMPOSE_PROFILES": "*"}
    given |= {"COMPOSE_ENV_FILES": variables} if variables else {}
    return read_project([Path(file) for file in project.files], {**environment, **given})


def _containers(reading: ProjectReading) -> _Containers:
    header = Header(target=reading.project.name, platform="compose", live=False)
    model = build_model(Inventory(header, {"projects": [reading.project]}))
    return {workload.name: workload.containers[0] for workload in model.all(Workload)}


def _compared(container: Container) -> tuple[object, ...]:
    values = (getattr(container, name) for name in _COMPARED)
    workload = container.workload
    return (*values, workload.restart, workload.restart_attempts)
