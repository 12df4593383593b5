"""Compose projects brought up with the real Docker Compose on a testbed engine."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from docker.errors import ImageNotFound

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.compose_reference import BINARY, ENVIRONMENT
from tests.testbed import Engine

STAND_IN = "testbed/pause:1"


class Project:
    """One project under a name of its own."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self.engine = engine
        self.file = file
        self.name = f"cp-{uuid.uuid4().hex[:8]}"

    def compose(self, *arguments: str, **environment: str) -> str:
        """Run `docker compose` on the project; what it prints. Its words if it fails."""
        done = subprocess.run(
            [BINARY, "-p", self.name, "-f", str(self.file), *arguments],
            capture_output=True,
            check=False,
            env={**ENVIRONMENT, "DOCKER_HOST": self.engine.url, **environment},
            text=True,
            timeout=120,
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def model(self) -> Model:
        """The model of what runs."""
        target = parse_target(f"compose://{self.name}?host={self.engine.url}")
        return build_model(target.read(Timeouts()))

    def declared(self) -> Model:
        """The model of the file."""
        return build_model(parse_target(f"compose:{self.file}").read(Timeouts()))


@contextmanager
def project(engine: Engine, file: Path) -> Iterator[Project]:
    """A project that is taken down at the end, volumes and all."""
    running = Project(engine, file)
    try:
        yield running
    finally:
        running.compose("down", "-v", "--remove-orphans", "-t", "0")


@contextmanager
def stand_ins(engine: Engine, images: set[str]) -> Iterator[None]:
    """Tag a tiny image with each name that the engine does not have."""
    with closing(engine.client()) as client:
        missing = [name for name in sorted(images) if not _has(client, name)]
        for name in missing:
            client.images.get(STAND_IN).tag(name)
        try:
            yield
        finally:
            for name in missing:
                client.images.remove(name, noprune=True)


def _has(client: object, name: str) -> bool:
    try:
        client.images.get(name)  # type: ignore[attr-defined]
    except ImageNotFound:
        return False
    return True
