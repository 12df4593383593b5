"""What the files of a running Compose project declare today, if they are on this machine.

Compose labels each container with the files it was made from. What they say now, and what runs,
part ways when somebody edits a file and does not run `docker compose up`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.experiments.inside.copies import Copy
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.compose_files import read_project
from pytest_containerpolicy.targets.compose_loader import read_env_files
from pytest_containerpolicy.targets.inventory import Header, Inventory

_LABEL = "com.docker.compose."
# What is compared with what runs; the rest of a service may depend on the shell that ran Compose.
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
# What a variable may have been when Compose was run: one of them fits wherever it stands.
_GUESSES = ("7", "7s", "always", "true", "false", "/guess")
_COMPARED = ("memory_limit", "swap_limit", "cpu_limit", "pids_limit", "user", "read_only_root")


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

    @property
    def env_files(self) -> tuple[str, ...]:
        """The files of variables that it was brought up with."""
        default = Path(self.folder) / ".env"
        named = tuple(filter(None, self.variables.split(",")))
        return named or ((str(default),) if default.is_file() else ())


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


def _readings(project: _Project, lab: Lab) -> tuple[dict[str, Container], ...]:
    """The containers by service: with this process's variables, without any, and with others."""
    if not project.files or not all(map(os.path.isfile, project.files)):
        lab.record(f"project {project.name}: its files are not here, so they were not compared")
        return ()
    try:
        readings = [_read(project, os.environ), _read(project, {})]
        for name in sorted(_open_variables(project)):
            readings += _guessed(project, name)
    except UsageError as error:
        lab.record(f"project {project.name}: its files were not compared: {error}")
        return ()
    return tuple(readings)


def _open_variables(project: _Project) -> set[str]:
    """The variables that files of a project use, and that only a shell can have set."""
    texts = (Path(file).read_text(encoding="utf-8") for file in project.files)
    used = {name for text in texts for name in _VARIABLE.findall(text)}
    return used - read_env_files([Path(file) for file in project.env_files], {}).keys()


def _guessed(project: _Project, variable: str) -> list[dict[str, Container]]:
    """What the files say if the shell had set a variable. Raises `UsageError` if nothing fits."""
    fitting = list(_fitting(project, variable))
    if not fitting:
        raise UsageError(f"what ${variable} was is not known")
    return fitting


def _fitting(project: _Project, variable: str) -> Iterator[dict[str, Container]]:
    for guess in _GUESSES:
        try:
            yield _read(project, {variable: guess})
        except UsageError:
            continue


def _read(project: _Project, environment: Mapping[str, str]) -> dict[str, Container]:
    given = {"COMPOSE_PROJECT_NAME": project.name, "COMPOSE_PROFILES": "*"}
    given |= {"COMPOSE_ENV_FILES": ",".join(files)} if (files := project.env_files) else {}
    reading = read_project([Path(file) for file in project.files], {**environment, **given})
    header = Header(target=project.name, platform="compose", live=False)
    model = build_model(Inventory(header, {"projects": [reading.project]}))
    return {workload.name: workload.containers[0] for workload in model.all(Workload)}


def _compared(container: Container) -> tuple[object, ...]:
    values = (getattr(container, name) for name in _COMPARED)
    workload = container.workload
    return (*values, workload.restart, workload.restart_attempts)
