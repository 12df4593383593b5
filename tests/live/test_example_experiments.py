"""The example of experiments does what its page says, on a project of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.compose_projects import Project, project
from tests.testbed import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "05-experiments"


@pytest.fixture(scope="module")
def shop(testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The example's project, from a copy of its file with the testbed's image."""
    file = tmp_path_factory.mktemp("shop") / "compose.yaml"
    text = (EXAMPLE / "compose.yaml").read_text()
    file.write_text(text.replace("${SHOP_IMAGE:-python:3-alpine}", "testbed/python:1"))
    with project(testbed_engine, file) as running:
        running.compose("up", "--detach", "--wait")
        yield running


def _pytest(shop: Project, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cp-level=disrupt"]
    target = f"--cp-target=compose://{shop.name}?host={shop.engine.url}"
    return subprocess.run(
        [*command, target, "--cp-prober-image=testbed/python:1", *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_suite(shop: Project, tmp_path: Path) -> None:
    """Every test of the example passes, and the project is as before."""
    file = EXAMPLE / "test_shop.py"
    # From a folder of its own: the project's settings are not the example's.
    (tmp_path / file.name).write_text(file.read_text())
    before = shop.compose("ps", "--format", "{{.Service}} {{.State}} {{.Health}}")

    done = _pytest(shop, tmp_path, file.name, "--cp-select=upgrades/stops-in-time")

    assert 0 == done.returncode, done.stdout
    assert "stop of service web" in done.stdout
    assert before == shop.compose("ps", "--format", "{{.Service}} {{.State}} {{.Health}}")


def test_without_init(shop: Project, tmp_path: Path) -> None:
    """A program that runs as process 1 and does not handle SIGTERM is killed: the policy fails."""
    shop.file.write_text(shop.file.read_text().replace("init: true", "init: false"))
    shop.compose("up", "--detach", "--wait")

    done = _pytest(shop, tmp_path, "--cp-select=upgrades/stops-in-time")

    assert 1 == done.returncode, done.stdout
    assert "killed, as SIGTERM did not end it within 5 s" in done.stdout
