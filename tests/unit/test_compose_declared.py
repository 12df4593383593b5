"""What the files of a running Compose project say now, and when that is not certain."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from pytest_containerpolicy.experiments.inside.compose_files import declared_in_files
from pytest_containerpolicy.experiments.lab import Lab
from tests.unit.inside_readings import engine_copy

LABEL = "com.docker.compose."
COMPOSE = """
services:
  web:
    image: example/web
    mem_limit: 512m
    ports: ["${{PORT:-80}}:80"]
    volumes: ["${{DATA:-./data}}:/data"]
  worker:
    image: example/worker
    {line}
"""


class _Lab:
    """A laboratory that keeps what it is told."""

    def __init__(self) -> None:
        self.figures: list[object] = []

    def once(self, _: object, answer: object) -> object:
        return answer()  # type: ignore[operator]

    def record(self, figure: object) -> None:
        self.figures.append(figure)


def _declared(folder: Path, service: str, line: str, variables: str = "") -> int | str | None:
    """The memory limit that is certain to be declared, `?` if none is."""
    file = folder / "compose.yaml"
    file.write_text(COMPOSE.format(line=line))
    (folder / ".env").write_text(variables)
    labels = {
        f"{LABEL}project": "shop",
        f"{LABEL}service": service,
        f"{LABEL}project.config_files": str(file),
        f"{LABEL}project.working_dir": str(folder),
    }
    found = declared_in_files(engine_copy(Labels=labels), cast(Lab, _Lab()))
    return found.memory_limit if found else "?"


@pytest.mark.parametrize(
    "line",
    [
        "mem_limit: ${MEMORY:-512m}",
        "restart: ${RESTART:-no}",
        "read_only: ${READ_ONLY:-true}",
        'user: "${OWNER:-1000}"',
    ],
)
def test_a_shell_may_have_said_otherwise(tmp_path: Path, line: str) -> None:
    """A default says nothing certain of what was deployed; the other service is not concerned."""
    assert ("?", 512 * 2**20) == (
        _declared(tmp_path, "worker", line),
        _declared(tmp_path, "web", line),
    )


def test_variables_of_the_projects_own_file(tmp_path: Path) -> None:
    """What `.env` says was there for whoever deployed it."""
    line = "mem_limit: ${MEMORY:-512m}"
    assert 2**30 == _declared(tmp_path, "worker", line, "MEMORY=1g")


@pytest.mark.parametrize(
    "line",
    [
        'depends_on: {web: {condition: "${WHEN:-service_started}"}}',
        'ports: [{target: 80, published: "${PORT:-8080}"}]',
        'expose: ["${PORT:-8080}"]',
        'ports: ["${ADDRESS:-127.0.0.1}:8080:80"]',
        'network_mode: "service:${OTHER:-web}"',
    ],
)
def test_variables_of_what_is_not_compared(tmp_path: Path, line: str) -> None:
    """What they were does not matter, nor that no guess fits there."""
    assert 512 * 2**20 == _declared(tmp_path, "worker", f"mem_limit: 512m\n    {line}")


def test_variables_of_an_included_file(tmp_path: Path) -> None:
    """They are as open as those of the project's first file."""
    included = "services: {db: {image: example/db, mem_limit: '${MEMORY:-512m}'}}"
    (tmp_path / "db.yaml").write_text(included)
    assert "?" == _declared(tmp_path, "db", "mem_limit: 512m\ninclude: [db.yaml]")
