"""A Compose project read from files, without running Docker Compose.

Which files, variables, profiles and name apply is decided as `docker compose` decides it.
https://docs.docker.com/compose/how-tos/environment-variables/envvars/
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.compose_canonical import FormError, Json
from pytest_containerpolicy.targets.compose_documents import Project
from pytest_containerpolicy.targets.compose_interpolation import (
    InterpolationError,
    Variables,
    substitute,
)
from pytest_containerpolicy.targets.compose_loader import (
    Loader,
    Setting,
    default_env_file,
    read_env_files,
)
from pytest_containerpolicy.targets.compose_rules import check_rules, dependencies
from pytest_containerpolicy.targets.compose_types import cast_types
from pytest_containerpolicy.targets.compose_yaml import ComposeDocument

DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_SECTIONS = ("services", "volumes", "networks")
_NOT_A_NAME = re.compile(r"[^a-z0-9_-]")


class ProjectReading(Struct, frozen=True):
    """What was read, and what a reader should know about how.

    `open_variables` are those that nothing gives a value: another environment may.
    """

    project: Project
    notes: tuple[str, ...] = ()
    open_variables: frozenset[str] = frozenset()


def read_project(paths: Sequence[Path], environment: Mapping[str, str]) -> ProjectReading:
    """The project that files, or the default files of a folder, make together.

    `environment` is the process's. Raises `UsageError` with file and line for what Compose
    would not accept.
    """
    folder = paths[0] if paths[0].is_dir() else paths[0].parent
    values = {**_env_file_values(folder, environment), **environment}
    files, notes = find_files(paths, values)
    loader = Loader()
    name = _project_name(
        [document for file in files for document in loader.read(file)], folder, values
    )
    variables = Variables({**values, "COMPOSE_PROJECT_NAME": name})
    content = loader.load(files, Setting(folder=folder, variables=variables))
    if not content:
        raise UsageError(f"{files[0]}: declares nothing")
    try:
        project = _finished(content, _profiles(values))
    except FormError as error:
        raise loader.error(error.key, str(error)) from None
    _add_origins(project, loader.documents)
    notes += _notes(variables.unset, project)
    typed = _typed({**project, "name": name}, files)
    return ProjectReading(typed, tuple(notes), frozenset(variables.without_value))


def find_files(
    paths: Sequence[Path], environment: Mapping[str, str]
) -> tuple[list[Path], list[str]]:
    """The files to read, and a note if a folder leaves a choice. Raises `UsageError`."""
    files: list[Path] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            found, more = _files_of_folder(path, environment)
            files += found
            notes += more
        elif not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        else:
            files.append(path)
    return files, notes


def _files_of_folder(folder: Path, environment: Mapping[str, str]) -> tuple[list[Path], list[str]]:
    if named := environment.get("COMPOSE_FILE"):
        separator = environment.get("COMPOSE_PATH_SEPARATOR") or ":"
        return [folder / name for name in named.split(separator)], [f"COMPOSE_FILE names {named}"]
    files: list[Path] = []
    notes: list[str] = []
    for names in (DEFAULT_FILES, _OVERRIDES):
        found = [folder / name for name in names if (folder / name).exists()]
        files += found[:1]
        if len(found) > 1:
            others = ", ".join(file.name for file in found[1:])
            notes.append(f"{found[0]} is read, as Compose does, and not {others}")
        if not files:
            raise UsageError(f"{folder}: has none of {', '.join(DEFAULT_FILES)}")
    return files, notes


def _env_file_values(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    if environment.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "t", "true"):
        return {}
    named = [Path(name) for name in environment.get("COMPOSE_ENV_FILES", "").split(",") if name]
    return read_env_files(named or default_env_file(folder), environment)


def _project_name(
    documents: Sequence[ComposeDocument], folder: Path, values: Mapping[str, str]
) -> str:
    named = values.get("COMPOSE_PROJECT_NAME")
    if named:
        if _normalised(named) != named:
            raise UsageError(
                f"COMPOSE_PROJECT_NAME={named}: a project's name has lower-case letters, digits,"
                " hyphens and underscores, and starts with a letter or digit"
            )
        return named
    name = _normalised(_declared_name(documents, values) or Path(os.path.abspath(folder)).name)  # noqa: PTH100
    if not name:
        raise UsageError(f"{documents[0].file}: no project name: add a top-level `name:`")
    return name


def _declared_name(documents: Iterable[ComposeDocument], values: Mapping[str, str]) -> str:
    declared = ""
    for document in documents:
        name = document.data.get("name") if isinstance(document.data, dict) else None
        if name and isinstance(name, str):
            try:
                declared = substitute(name, Variables(values))
            except InterpolationError as error:
                line = document.line(("name",))
                raise UsageError(f"{document.file}:{line}: name: {error}") from None
    return declared


def _normalised(name: str) -> str:
    return _NOT_A_NAME.sub("", name.lower()).lstrip("_-")


def _profiles(values: Mapping[str, str]) -> set[str]:
    return {name.strip() for name in values.get("COMPOSE_PROFILES", "").split(",")}


def _finished(content: Json, profiles: set[str]) -> Json:
    """The project with defaults and only what runs; `disabled` holds what no profile starts."""
    project: Json = {**content}
    for section in _SECTIONS:
        declared = content.get(section) or {}
        project[section] = {name: entry or {} for name, entry in declared.items()}
    cast_types(project)
    _add_default_network(project)
    everything = project["services"]
    project["disabled"] = {
        name: service
        for name, service in everything.items()
        if service.get("profiles") and not profiles & {"*", *service["profiles"]}
    }
    project["services"] = {
        name: service for name, service in everything.items() if name not in project["disabled"]
    }
    check_rules(project)
    for service in project["services"].values():
        service["depends_on"] = dependencies(service)
    _remove_unused(project)
    return project


def _add_default_network(project: Json) -> None:
    for service in project["services"].values():
        if "provider" in service or "network_mode" in service:
            continue
        service["networks"] = service.get("networks") or {"default": None}
        if "default" in service["networks"]:
            project["networks"].setdefault("default", {})


def _remove_unused(project: Json) -> None:
    services = project["services"].values()
    networks = {name for service in services for name in service.get("networks") or ()}
    volumes = {
        mount.get("source")
        for service in services
        for mount in service.get("volumes") or ()
        if mount["type"] == "volume"
    }
    for section, used in (("networks", networks), ("volumes", volumes)):
        project[section] = {name: entry for name, entry in project[section].items() if name in used}


def _add_origins(project: Json, documents: Iterable[ComposeDocument]) -> None:
    for document in documents:
        for section in _SECTIONS:
            declared = (document.data or {}).get(section)
            for name in declared if isinstance(declared, dict) else ():
                entry = project[section].get(name)
                if entry is not None and "origin" not in entry:
                    line = document.line((section, name))
                    entry["origin"] = {"file": str(document.file), "line": line}


def _notes(unset: set[str], project: Json) -> list[str]:
    notes = []
    if unset:
        notes.append(f"not set, taken as blank: {', '.join(sorted(unset))}")
    for name, service in sorted(project["disabled"].items()):
        profiles = " or ".join(service["profiles"])
        notes.append(f"service {name} is left out: profile {profiles} is not active")
    for name, service in sorted(project["services"].items()):
        if "provider" in service:
            notes.append(f"service {name} is not judged: a provider runs it, not a container")
        elif "image" not in service:
            notes.append(f"service {name} is built here: what its image declares is not known")
    return notes


def _typed(content: dict[str, Any], files: Sequence[Path]) -> Project:
    try:
        return msgspec.convert(content, Project)
    except msgspec.ValidationError as error:
        raise UsageError(f"{files[0]}: {error}") from None
